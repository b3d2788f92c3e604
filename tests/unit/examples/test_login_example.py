"""The login service example checks one hash for every login, so that all take equally long."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.dynamodb import mapper
from biome_users import Command, LoginReader, MailedTokens
from biome_users.commands import (
    ChangePassword,
    EnableTwoFactor,
    RecordLoginFailure,
    ResetPassword,
    RevokeOtherSessions,
    RevokeSession,
    RotateRefreshToken,
    StartSession,
)
from biome_users.second_factor import totp_code
from biome_users.testing import FakeUserTable
from domain.commands import COMMANDS
from domain.errors import RejectionCode
from domain.user import Ban, TwoFactor, User
from tests.builders import PASSWORD, uid
from tests.persistence import new_user
from tests.unit.examples.loading import EXAMPLES, load

SOON = datetime.now(UTC) + timedelta(hours=1)
RIGHT = "the password"
MODULE = load("login_service")
PASSWORDS = load("passwords")
SECOND_FACTOR = load("second_factor")
SECRET = b"the secret of an app"
CIPHER = SECOND_FACTOR.SecretCipher(bytes(32))


class CountingHasher:
    """Replaces argon2, and counts the checks."""

    def __init__(self) -> None:
        self.checked: list[str] = []

    def verify(self, password_hash: str, password: str) -> bool:
        """Match what the user's password is."""
        self.checked.append(password_hash)
        if password == RIGHT:
            return True
        raise PASSWORDS.VerificationError


class Sent:
    """Keeps the classes of the commands, and stores an outcome for each if it has a code."""

    def __init__(self) -> None:
        self.commands: list[type] = []
        self.table = FakeUserTable()
        self.codes: dict[type, RejectionCode | None] = {}

    def send(self, command: Any, *, user_id: str, **_: object) -> str:
        """Keep its class, and decide it as the test says."""
        kind = type(command)
        command_id = f"command {len(self.commands)}"
        self.commands.append(kind)
        if kind in self.codes:
            code = self.codes[kind]
            self.table.add_outcome(user_id, uid(command_id), None if code is None else code.value)
        return uid(command_id)


def with_second_factor() -> User:
    """Create a user who has enabled the second factor."""
    user = new_user("ada")
    factor = TwoFactor(CIPHER.encrypt(SECRET, user.user_id), ())
    return replace(user, two_factor_enabled=True, last_totp_step=7, two_factor=factor)


USERS: dict[str, User | None] = {
    "known": new_user("ada"),
    "unknown": None,
    "locked": replace(new_user("ada"), locked_until=SOON),
    "banned": replace(new_user("ada"), ban=Ban("spam", None)),
    "deactivated": replace(new_user("ada"), deactivated=True),
    "with a second factor": with_second_factor(),
    "without a password": replace(new_user("ada"), password_hash=None),
}
RIGHT_ANSWERS = {
    "known": (503, [StartSession]),  # no worker decides it
    "unknown": (401, []),
    "locked": (401, []),
    "banned": (403, []),
    "deactivated": (403, []),
    "with a second factor": (401, []),
    "without a password": (401, [RecordLoginFailure]),
}


class Service:
    """A service whose table holds one user, or none."""

    def __init__(self, made: Any) -> None:
        self._made = made

    def login(self, *given: str, **factor: str) -> tuple[int, dict[str, Any]]:
        """Log in; return the answer, also to a login that is refused."""
        answer: tuple[int, dict[str, Any]]
        answer = MODULE.answer_of(lambda: self._made.login(*given, **factor))
        return answer


def service_of(
    user: User | None, *, timeout: float = 0.0, cipher: Any = CIPHER
) -> tuple[Service, CountingHasher, Sent]:
    """Create a service that waits for the worker as long as `timeout`."""
    hasher, sent = CountingHasher(), Sent()
    if user is not None:
        assert user.email is not None
        items: list[Any] = [
            mapper.render_user(user),
            mapper.render_address(user.email, user.user_id),
        ]
        if user.two_factor is not None:
            items.append(mapper.render_two_factor(user.user_id, user.two_factor))
        sent.table.items |= {(item["pk"]["S"], item["sk"]["S"]): item for item in items}
    reader, tokens = LoginReader(client=sent.table), MailedTokens(bytes(32))
    limits = {"timeout": timeout, "wrong_after": 0.0}
    made = MODULE.LoginService(reader, sent, cipher, tokens, **limits)
    made._passwords._hasher = hasher
    return Service(made), hasher, sent


@pytest.fixture(scope="module", autouse=True)
def _one_hash() -> Any:
    """Avoid the creation of a dummy hash of 64 MiB for each service."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PASSWORDS.PasswordHasher, "hash", lambda *_: "$argon2id$dummy")
        yield


@pytest.mark.parametrize("password", [RIGHT, "not the password"])
@pytest.mark.parametrize("who", USERS)
def test_one_hash_is_checked_whoever_asks(who: str, password: str) -> None:
    """It is the user's own hash, or a dummy, so that the duration reveals nothing."""
    user = USERS[who]
    service, hasher, _ = service_of(user)
    service.login("ada@example.com", password)
    dummy = user is None or user.password_hash is None
    assert hasher.checked == ["$argon2id$dummy" if dummy else PASSWORD.value]


@pytest.mark.parametrize("who", USERS)
def test_a_correct_password_is_accepted_unless_another_rule_forbids_it(who: str) -> None:
    """A password that happens to match the dummy is not accepted."""
    service, _, sent = service_of(USERS[who])
    status, _ = service.login("ada@example.com", RIGHT)
    assert (status, sent.commands) == RIGHT_ANSWERS[who]


@pytest.mark.parametrize("who", USERS)
def test_a_wrong_password_gets_one_answer_and_counts_unless_in_a_lock(who: str) -> None:
    """Nothing of the user shows, not even that there is one."""
    service, _, sent = service_of(USERS[who])
    assert service.login("ada@example.com", "not the password") == MODULE.WRONG
    counts = who not in {"unknown", "locked"}
    assert sent.commands == ([RecordLoginFailure] if counts else [])


# --- what the worker decides ---------------------------------------------------------------

AWAITED: list[type[Command]] = [
    ChangePassword,
    EnableTwoFactor,
    ResetPassword,
    RevokeOtherSessions,
    RevokeSession,
    RotateRefreshToken,
    StartSession,
]
"""The commands for whose outcome the service waits."""


def test_every_rejection_has_an_answer_in_both_services() -> None:
    """A code without one would get the answer that trying again may help."""
    codes = {code.value for kind in AWAITED for code in COMMANDS[kind.contract.type].rejections}
    new_id = RejectionCode.SESSION_ALREADY_EXISTS.value  # trying again creates another id
    assert codes - {new_id} <= MODULE.REJECTIONS.keys()
    table = (
        (EXAMPLES / "node/login.mjs").read_text().split("const REJECTIONS = {")[1].split("\n};")[0]
    )
    assert re.findall(r"^  (\w+):", table, re.MULTILINE) == list(MODULE.REJECTIONS)


@pytest.mark.parametrize("code", [None, *RejectionCode])
def test_a_token_is_returned_only_if_the_session_was_started(code: RejectionCode | None) -> None:
    """The person gets no token, and sees neither a lock nor a replay."""
    service, _, sent = service_of(new_user("ada"), timeout=5.0)
    sent.codes = {StartSession: code}
    status, answer = service.login("ada@example.com", RIGHT)
    assert (status == 200) == ("refresh_token" in answer) == (code is None)
    if code is not None:
        assert (status, answer) == MODULE.REJECTIONS.get(code.value, MODULE.LATER)


@pytest.mark.parametrize(
    ("ahead", "accepted"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)]
)
def test_a_code_of_the_present_step_or_a_neighbour_is_accepted(
    monkeypatch: pytest.MonkeyPatch,
    ahead: int,
    accepted: bool,
) -> None:
    """A wrong one is recorded for the stage of the second factor."""
    service, _, sent = service_of(with_second_factor(), timeout=5.0)
    sent.codes = {StartSession: None}
    monkeypatch.setattr(time, "time", lambda: 1_111_111_109.0)
    code = totp_code(SECRET, 1_111_111_109 // 30 + ahead)
    status, _ = service.login("ada@example.com", RIGHT, code=code)
    assert (status, sent.commands) == (
        (200, [StartSession]) if accepted else (401, [RecordLoginFailure])
    )


def test_a_used_step_is_refused_before_the_worker_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step that was used, and every earlier one, count as wrong."""
    service, _, sent = service_of(with_second_factor())
    monkeypatch.setattr(time, "time", lambda: 7 * 30.0)
    for step in (6, 7):
        code = totp_code(SECRET, step)
        assert service.login("ada@example.com", RIGHT, code=code) == MODULE.WRONG_CODE
    assert sent.commands == [RecordLoginFailure] * 2


def test_a_secret_that_cannot_be_decrypted_admits_no_one() -> None:
    """A wrong key is a fault of the deployment, and not of the request."""
    other = SECOND_FACTOR.SecretCipher(b"another key of thirty-two bytes!")
    service, _, sent = service_of(with_second_factor(), cipher=other)
    with pytest.raises(SECOND_FACTOR.DecryptionError):
        service.login("ada@example.com", RIGHT, code="123456")
    assert sent.commands == []


@pytest.mark.parametrize("key", [None, "", "A" * 42 + "==", "!" * 44, "A" * 44, "ä" * 44])
def test_a_key_that_is_missing_or_invalid_ends_the_program(
    monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    """The line names the variable and does not repeat its value."""
    monkeypatch.delenv("TOKEN_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("TOKEN_KEY", key)
    with pytest.raises(SystemExit, match="TOKEN_KEY must contain 32 bytes") as raised:
        MODULE.read_key("TOKEN_KEY")
    assert not key or key not in str(raised.value)
