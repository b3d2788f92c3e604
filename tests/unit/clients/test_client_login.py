"""`biome_users.LoginFlow`: the steps of a login that tests/unit/examples does not cover."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from biome_users import (
    LoginFlow,
    LoginReader,
    NoAnswerError,
    RefreshToken,
    RefusedError,
    SessionRefusedError,
    UnavailableError,
)
from biome_users.commands import (
    RecordLoginFailure,
    RevokeSession,
    RotateRefreshToken,
    StartSession,
    UpgradePasswordHash,
)
from biome_users.second_factor import new_recovery_codes, recovery_code_hash
from biome_users.testing import FakeUserCommands, FakeUserTable

EMAIL = "ada@example.com"
RIGHT = "the password"
HASH = "$argon2id$of the password"


class Deciding(FakeUserCommands):
    """Keeps commands, and stores an outcome for each unless `silent`."""

    def __init__(self, table: FakeUserTable) -> None:
        super().__init__()
        self._table = table
        self.code: str | None = None
        self.silent = False

    def send(self, command: Any, **envelope: Any) -> str:
        """Keep a command and decide it."""
        command_id = super().send(command, **envelope)
        if not self.silent:
            self._table.add_outcome(str(envelope["user_id"]), command_id, self.code)
        return command_id


class Passwords:
    """Compares with one password."""

    def hash(self, password: str) -> str:
        """Return a text that looks like a hash."""
        return "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo"

    def verify(self, password_hash: str | None, password: str) -> bool:
        """Return True for the right password of a known hash."""
        return password_hash == HASH and password == RIGHT


class World:
    """A flow, and a table with one user who has a session."""

    def __init__(self, **attributes: Any) -> None:
        self.table = FakeUserTable()
        self.commands = Deciding(self.table)
        self.ada = self.table.add_user(
            EMAIL, **{"password_hash": HASH, "credential_version": 3, **attributes}
        )
        self.token = RefreshToken.new(self.ada)
        self.table.add_session(self.token)
        self.flow = LoginFlow(
            LoginReader(client=self.table),
            self.commands,
            Passwords(),
            lambda ciphertext, _: ciphertext.encode(),
            timeout=0.2,
            wrong_after=0.0,
        )

    def sent(self) -> list[type]:
        """Return the classes of the commands, in order."""
        return [type(command) for command in self.commands.commands()]


def refusal_of(action: Any) -> str:
    """Run what must be refused; return the code."""
    with pytest.raises(RefusedError) as refused:
        action()
    return refused.value.code


def test_a_login_starts_a_session_of_its_lifetime() -> None:
    """The command has the hashes of the token, and the credential version that was checked."""
    world = World()
    login = world.flow.log_in(EMAIL, RIGHT)
    (start,) = world.commands.commands(StartSession)
    assert isinstance(start, StartSession)
    fields = {name: getattr(start, name) for name in login.token.fields()}
    assert fields == login.token.fields()
    assert (start.credential_version, start.methods) == (3, ["pwd"])
    assert login.expires_at - datetime.now(UTC) > timedelta(days=29)
    (request,) = world.commands.sent
    assert request.expires_at is not None  # a login that waits for an hour must not start a session


def test_the_hash_of_another_system_is_replaced_after_the_login() -> None:
    """Only then is the password known to be right."""
    world = World(password_hash_legacy=True)
    world.flow.log_in(EMAIL, RIGHT)
    assert world.sent() == [StartSession, UpgradePasswordHash]


@pytest.mark.parametrize("email", ["nobody@example.com", "not an address", EMAIL])
def test_a_wrong_login_is_answered_after_a_fixed_time(
    monkeypatch: pytest.MonkeyPatch, email: str
) -> None:
    """The time that is left is waited for, whatever was wrong."""
    world = World()
    world.flow._wrong_after = 5.0
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    assert refusal_of(lambda: world.flow.log_in(email, "wrong")) == "WrongEmailOrPassword"
    assert waited == [5.0]


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("CredentialStale", "WrongEmailOrPassword"),
        ("UserLocked", "WrongEmailOrPassword"),
        ("SecondFactorReplayed", "WrongCode"),
        ("CodeInvalid", "WrongCode"),
        ("UserBanned", "UserBanned"),
        ("SomethingNew", "SomethingNew"),
    ],
)
def test_the_worker_s_reason_is_shown_as_the_person_may_see_it(code: str, shown: str) -> None:
    """A lock during the login must not reveal that the password was right."""
    world = World()
    world.commands.code = code
    assert refusal_of(lambda: world.flow.log_in(EMAIL, RIGHT)) == shown


def test_a_recovery_code_is_left_to_the_worker() -> None:
    """It is accepted instead of a one-time password."""
    world = World()
    world.table.add_second_factor(world.ada, "secret")
    (code, *_) = new_recovery_codes()
    assert refusal_of(lambda: world.flow.log_in(EMAIL, RIGHT)) == "SecondFactorRequired"
    world.flow.log_in(EMAIL, RIGHT, recovery_code=code.upper())
    (start,) = world.commands.commands(StartSession)
    assert isinstance(start, StartSession)
    assert start.recovery_code_hash == recovery_code_hash(code)
    assert start.methods == ["pwd", "mfa"]


@pytest.mark.parametrize("factor", [{"code": "12345"}, {"code": ""}, {"recovery_code": "x"}])
def test_what_cannot_be_a_code_is_an_error_of_the_request(factor: dict[str, str]) -> None:
    """Neither a password is checked nor a failure recorded."""
    world = World()
    with pytest.raises(ValueError, match=r"one-time password|recovery code"):
        world.flow.log_in(EMAIL, "wrong", **factor)
    assert world.sent() == []


def test_a_token_is_exchanged_for_the_next_one() -> None:
    """The session stays the same."""
    world = World()
    following = world.flow.refresh(world.token).token
    (rotate,) = world.commands.commands(RotateRefreshToken)
    assert isinstance(rotate, RotateRefreshToken)
    assert rotate.next_refresh_token_hash == following.refresh_token_hash
    assert (following.session_id, following.family) == (world.token.session_id, world.token.family)


def test_a_reused_token_is_reported_to_the_worker_and_refused() -> None:
    """The worker ends the session; the caller gets no token."""
    world = World()
    with pytest.raises(SessionRefusedError, match="RefreshTokenReused"):
        world.flow.refresh(world.token.next())
    assert world.sent() == [RotateRefreshToken]


def test_a_session_that_may_not_continue_is_refused_without_a_command() -> None:
    """The flow refuses every change that needs the session."""
    world = World(ban={"reason": "spam"})
    for action in (
        lambda: world.flow.check(world.token),
        lambda: world.flow.refresh(world.token),
        lambda: world.flow.authenticate(world.token, RIGHT),
    ):
        assert refusal_of(action) == "UserBanned"
    assert world.sent() == []


def test_a_stolen_session_does_not_replace_the_password() -> None:
    """A wrong password counts as a failure, as at a login."""
    world = World()
    assert world.flow.authenticate(world.token, RIGHT).user_id == world.ada
    wrong = refusal_of(lambda: world.flow.authenticate(world.token, "wrong"))
    assert (wrong, world.sent()) == ("WrongEmailOrPassword", [RecordLoginFailure])


def test_a_command_without_an_outcome_is_an_error() -> None:
    """It may still be accepted later; that is not a refusal."""
    world = World()
    world.commands.silent = True
    revoke = RevokeSession(session_id=world.token.fields()["session_id"])
    with pytest.raises(NoAnswerError, match=r"no outcome in 0\.2 s"):
        world.flow.decide(revoke, world.ada)
    world.commands.silent, world.commands.code = False, "SessionNotFound"
    assert refusal_of(lambda: world.flow.decide(revoke, world.ada)) == "SessionNotFound"


@pytest.mark.parametrize("code", ["RefreshTokenReused", "SessionNotFound", "UserBanned"])
def test_a_session_that_ends_during_a_refresh_is_refused_as_a_session(code: str) -> None:
    """The token was valid when it was checked, and the worker rejected its command."""
    world = World()
    world.commands.code = code
    with pytest.raises(SessionRefusedError, match=code):
        world.flow.refresh(world.token)


def test_a_failed_read_does_not_end_the_wait_for_an_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command was sent: without its outcome, the next token would be lost."""
    world = World()
    get, failures = world.table.batch_get_item, [True]

    def fail_once(**request: Any) -> Any:
        if world.sent() and failures:
            failures.pop()
            raise UnavailableError("throttled")
        return get(**request)

    monkeypatch.setattr(world.table, "batch_get_item", fail_once)
    world.flow.refresh(world.token)
    assert failures == []
