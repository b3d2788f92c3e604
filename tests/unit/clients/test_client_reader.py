"""The reader of other services: what it refuses, what it caches, what it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from adapters.dynamodb import mapper, records
from biome_users import (
    LoginReader,
    OutcomeView,
    SecondFactorView,
    SessionRefusal,
    UnavailableError,
    UnreadableError,
    UserReader,
)
from biome_users._items import StoredSession, parse_user
from biome_users.reader import REFRESH_LEEWAY, session_refusal, token_refusal
from domain.errors import RejectedError, RejectionCode
from domain.policy import DEFAULT_POLICY
from domain.sessions import RefreshToken, Session
from domain.user import Ban, SecondFactor, TwoFactor, User
from tests.builders import NOW, PASSWORD, token, uid
from tests.persistence import new_user, outcome, session
from tests.unit.adapters.wire import Wire, answer, error
from tests.unit.clients.reader_world import ADA, PHONE, World


@pytest.fixture
def world() -> World:
    """A world of its own."""
    return World()


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for botocore's back-off."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))


# --- what cannot be read -------------------------------------------------------------------

DAMAGES: list[tuple[str, str, Any]] = [
    ("USER", "schema", {"N": "2"}),
    ("USER", "schema", None),
    ("USER", "version", {"S": "1"}),
    ("USER", "locked_until", {"S": "tomorrow"}),
    ("USER", "ban", {"S": "spam"}),
    (f"SESSION#{PHONE}", "schema", {"N": "3"}),
    (f"SESSION#{PHONE}", "expires_at", {"S": "never"}),
    (f"SESSION#{PHONE}", "refresh_family_hash", None),
]


@pytest.mark.parametrize(("sort", "attribute", "value"), DAMAGES)
def test_what_cannot_be_read_is_an_error_and_never_good(
    world: World, sort: str, attribute: str, value: Any
) -> None:
    """A later format and a damaged item alike; the error repeats no value."""
    damaged = dict(world.item(sort))
    damaged.pop(attribute, None)
    if value is not None:
        damaged[attribute] = value
    world.put(damaged)
    with pytest.raises(UnreadableError) as raised:
        world.reader.check_session(ADA, PHONE, cached=True)
    if sort == "USER":
        with pytest.raises(UnreadableError, match=f"user item, attribute {attribute}: "):
            world.reader.get(ADA)
    assert not any(text in str(raised.value) for text in (ADA, "tomorrow", "spam"))


def test_a_login_service_reads_the_second_factor(world: World) -> None:
    """The encrypted secret and the last used step, in one call; the secret is in no repr."""
    assert world.reader.second_factor(ADA) is None
    world.change(two_factor_enabled=True, last_totp_step=7)
    world.put(mapper.render_two_factor(ADA, TwoFactor("some-ciphertext", (), revision=1)))
    world.reads = 0

    view = world.reader.second_factor(ADA)

    assert view == SecondFactorView("some-ciphertext", 7)
    assert "some-ciphertext" not in repr(view)
    assert world.reads == 1
    assert world.reader.second_factor(uid("nobody known")) is None


@pytest.mark.parametrize("code", [None, RejectionCode.SECOND_FACTOR_REPLAYED])
def test_a_service_reads_how_its_command_ended(world: World, code: RejectionCode | None) -> None:
    """`None` means that the command is not decided yet; each read is one call."""
    command = uid("login")
    assert world.reader.outcome(ADA, command) is None
    world.put(records.render_outcome(outcome("login", "ada", code=code, version=3)))
    world.reads = 0

    view = world.reader.outcome(ADA, command)

    assert view is not None
    assert view == OutcomeView(command, None if code is None else code.value, 3)
    assert view.accepted == (code is None)
    assert world.reads == 1
    assert world.reader.outcome(uid("bob"), command) is None


def test_an_outcome_that_cannot_be_read_is_an_error(world: World) -> None:
    """It is neither an acceptance nor a rejection."""
    damaged = records.render_outcome(outcome("login", "ada"))
    world.put({**damaged, "status": {"S": "perhaps"}})
    with pytest.raises(UnreadableError):
        world.reader.outcome(ADA, uid("login"))


@pytest.mark.parametrize("given", ["", "ada", f"{ADA} ", f"USER#{ADA}", ADA + "\n", "é" * 36])
def test_an_invalid_id_is_refused_before_any_call(world: World, given: str) -> None:
    """The error does not repeat it."""
    calls = (
        lambda: world.reader.get(given),
        lambda: world.reader.get_many([ADA, given]),
        lambda: world.reader.check_session(given, PHONE),
        lambda: world.reader.check_session(ADA, given),
        lambda: world.reader.sessions(given),
        lambda: world.reader.forget(given),
        lambda: world.reader.second_factor(given),
        lambda: world.reader.outcome(given, ADA),
        lambda: world.reader.outcome(ADA, given),
    )
    for call in calls:
        with pytest.raises(ValueError, match="must be a UUID"):
            call()
    assert world.reads == 0


@pytest.mark.parametrize("given", ["", "0" * 63, "0" * 65, "g" * 64, "a-token"])
def test_an_invalid_hash_is_refused_before_any_call(world: World, given: str) -> None:
    """A token itself, above all."""
    for call in (
        lambda: world.reader.by_refresh_token(given, "0" * 64),
        lambda: world.reader.by_refresh_token("0" * 64, given),
        lambda: world.reader.check_token(ADA, PHONE, given, "0" * 64),
        lambda: world.reader.check_token(ADA, PHONE, "0" * 64, given),
    ):
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            call()
    assert world.reads == 0


@pytest.mark.parametrize("given", ["", "ada", "ada@", "@example.com", "a@b", "a b@example.com"])
def test_an_invalid_address_is_refused(world: World, given: str) -> None:
    """The worker refuses it too."""
    with pytest.raises(ValueError, match="must be an e-mail address"):
        world.reader.by_email(given)


@pytest.mark.usefixtures("no_backoff")
def test_what_dynamodb_leaves_unread_is_asked_for_again() -> None:
    """A throttled half of a batch is no user who does not exist."""
    ada, grace = (mapper.render_user(new_user(name)) for name in ("ada", "grace"))
    left = {"users": {"Keys": [{"pk": grace["pk"], "sk": grace["sk"]}], "ConsistentRead": True}}
    wire = Wire(
        answer({"Responses": {"users": [ada]}, "UnprocessedKeys": left}),
        answer({"Responses": {"users": [grace]}, "UnprocessedKeys": {}}),
    )
    reader = LoginReader(client=wire.client)
    assert reader.get_many([ADA, uid("grace")]).keys() == {ADA, uid("grace")}
    assert wire.requests[1]["RequestItems"]["users"] == left["users"]


def test_a_session_of_another_family_is_not_found() -> None:
    """The index lags: its result is confirmed by a consistent read."""
    other = replace(session("phone", revision=2), refresh_family_hash=token("other").stored)
    stored = mapper.render_session(ADA, other)
    named = {"pk": stored["pk"], "sk": stored["sk"]}
    wire = Wire(
        answer({"Items": [named], "Count": 1}),
        answer({"Responses": {"users": [stored, mapper.render_user(new_user("ada"))]}}),
    )
    reader = LoginReader(client=wire.client)
    family = token("phone family").value
    assert reader.by_refresh_token(family, token("phone 0").value) is None
    assert wire.requests[1]["RequestItems"]["users"]["ConsistentRead"] is True


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("code", ["ThrottlingException", "AccessDeniedException"])
def test_a_table_that_does_not_answer_is_an_error(code: str) -> None:
    """It is not a negative answer, because the caller must distinguish the two."""
    wire = Wire(rest=lambda: error(code))
    reader = UserReader(client=wire.client)
    with pytest.raises(UnavailableError, match=code):
        reader.check_session(ADA, PHONE)


ANYTHING = [
    RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a proxy's page"),
    KeyError("Responses"),
    TypeError("no dict"),
    OSError(24, "too many open files"),
]
"""Errors that botocore raises, including some that no list of its exceptions has."""
READS: list[Callable[[LoginReader], object]] = [
    lambda reader: reader.get(ADA),
    lambda reader: reader.get_many([ADA]),
    lambda reader: reader.by_email("ada@example.com"),
    lambda reader: reader.by_refresh_token(token("f").value, token("t").value),
    lambda reader: reader.sessions(ADA),
    lambda reader: reader.check_session(ADA, PHONE),
    lambda reader: reader.session_is_good(ADA, PHONE),
    lambda reader: reader.check_token(ADA, PHONE, token("f").value, token("t").value),
    lambda reader: reader.second_factor(ADA),
    lambda reader: reader.outcome(ADA, PHONE),
]


@pytest.mark.parametrize("failure", ANYTHING, ids=lambda failure: type(failure).__name__)
def test_whatever_the_sdk_raises_is_the_error_that_is_promised(failure: Exception) -> None:
    """The original error is the cause, and its text is not repeated."""
    client = Mock()
    for name in ("batch_get_item", "query", "get_item"):
        getattr(client, name).side_effect = failure
    client.exceptions.ClientError = ClientError
    reader = LoginReader(client=client)
    for read in READS:
        with pytest.raises(UnavailableError, match=type(failure).__name__) as caught:
            read(reader)
        assert caught.value.__cause__ is failure


def test_a_hundred_users_are_one_call_and_more_are_more(world: World) -> None:
    """Repeated ids count once; cached users need no call."""
    wanted = [uid(f"user{n}") for n in range(250)]
    for n in range(250):
        world.put(mapper.render_user(new_user(f"user{n}")))
    assert list(world.reader.get_many([*wanted, *wanted])) == wanted
    assert world.reads == 3
    assert len(world.reader.get_many(wanted[:100])) == 100
    assert world.reads == 4
    world.reader.get_many(wanted[:100], cached=True)
    assert world.reads == 4


# --- what is shown -------------------------------------------------------------------------


def test_nothing_secret_or_personal_is_in_a_repr(world: World) -> None:
    """A view may end up in a log."""
    hashes = (token("phone family").value, token("phone 0").value)
    check = world.reader.check_token(ADA, PHONE, *hashes)
    assert check.good
    text = repr(check) + repr(world.reader.get(ADA)) + repr(world.reader.sessions(ADA))
    assert ADA in text
    assert world.user.email is not None
    personal = (PASSWORD.value, world.user.email.value, "Ada", "Lovelace", "phone 0")
    stored = (token("phone family").stored, token("phone 0").stored[:32])
    assert not any(each in text for each in (*personal, *hashes, *stored))


times = st.sampled_from([NOW - timedelta(1), NOW, NOW + timedelta(1)])
bans = st.none() | st.builds(Ban, st.just("spam"), st.none() | times)
users = st.builds(
    lambda **fields: replace(new_user("ada"), **fields),
    ban=bans,
    locked_until=st.none() | times,
    deactivated=st.booleans(),
)


@given(users)
def test_the_view_allows_the_logins_that_the_worker_allows(user: User) -> None:
    """Its code is the one with which StartSession would be rejected."""
    refusal = parse_user(mapper.render_user(user)).login_refusal(NOW)
    try:
        login = session("phone")
        version = user.credential_version
        user.start_session(login, version, SecondFactor(), NOW, DEFAULT_POLICY)
        decided = None
    except RejectedError as error:
        decided = error.code.value
    assert (refusal and refusal.value) == decided


def test_the_erased_may_not_log_in() -> None:
    """Before anything else that is known of them."""
    erased = replace(new_user("ada"), erased=True, ban=Ban("spam", None))
    view = parse_user(mapper.render_user(erased))
    assert view.login_refusal(NOW) == "UserErased"
    assert session_refusal(view, stored(session("phone")), NOW) is SessionRefusal.USER_ERASED


def stored(value: Session) -> StoredSession:
    """Return what the client reads of a session that the worker has stored."""
    return StoredSession.parse(mapper.render_session(ADA, value), credentials=True)


@given(
    users,
    st.booleans(),
    times,
    st.tuples(st.sampled_from(["phone family", "other family"]), st.integers(0, 2)),
    st.sampled_from([0, 9, 10]),
)
def test_a_session_is_good_only_where_a_rotation_would_be_accepted(
    user: User, listed: bool, expires_at: Any, shown: tuple[str, int], seconds: int
) -> None:
    """The reader and the worker decide alike on the same state."""
    replaced_at = NOW - timedelta(seconds=seconds)
    found = replace(session("phone", used=1), expires_at=expires_at, replaced_at=replaced_at)
    user.sessions = {PHONE: found}
    user.live_sessions = {PHONE: expires_at} if listed else {}
    presented = RefreshToken(token(shown[0]), token(f"phone {shown[1]}"))
    view, kept = parse_user(mapper.render_user(user)), stored(found)
    hashes = presented.family.value, presented.part.value
    refusal = session_refusal(view, kept, NOW)
    refusal = refusal or token_refusal(kept, *hashes, NOW, REFRESH_LEEWAY)
    shut_out = user.is_banned(NOW) or user.deactivated
    try:
        user.rotate_refresh_token(
            PHONE,
            presented,
            token("phone 3"),
            NOW + timedelta(1),
            now=NOW,
            policy=DEFAULT_POLICY,
        )
        rotates = True
    except RejectedError:
        rotates = False
    assert (refusal is None) == (rotates and not shut_out)
