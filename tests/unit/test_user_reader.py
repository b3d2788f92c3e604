"""The reader of other services: what it refuses, what it caches, what it shows."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dynamodb import Backoff, DynamoDBUserRepository, mapper
from adapters.dynamodb.formats import USER_FORMAT
from domain.errors import InvalidValueError, RejectedError
from domain.model import Ban, Session, User
from domain.ports import StoreUnavailableError
from tests.builders import NOW, PASSWORD, token, uid
from tests.persistence import new_user, session
from tests.reliability.in_process_dynamodb import InProcessDynamoDB
from tests.unit.adapters.wire import Wire, answer, error
from user_client import ReadCache, SessionRefusal, UnreadableError, UserReader, UserView
from user_client.reader import why_not

ADA, PHONE = uid("ada"), uid("session phone")
AT_ONCE = Backoff(tries=3, sleep=lambda _: None)


class World:
    """A table in this process with Ada and her phone's session, a cache, and clocks by hand."""

    def __init__(self, size: int = 100, seconds: float = 10.0) -> None:
        self.table = InProcessDynamoDB()
        self.reads = 0
        self.seconds = 0.0
        self.cache = ReadCache(size, seconds, clock=lambda: self.seconds)
        client: Any = self
        self.reader = UserReader(
            repository=DynamoDBUserRepository(client, "users", AT_ONCE),
            cache=self.cache,
            clock=lambda: NOW,
        )
        self.user = replace(new_user("ada"), session_epoch=1)
        self.put(mapper.render_user(self.user))
        self.put(mapper.render_session(ADA, session("phone")))

    def batch_get_item(self, **request: Any) -> Any:
        """Count the calls."""
        self.reads += 1
        return self.table.batch_get_item(**request)

    def put(self, item: Any) -> None:
        """Store an item as it is."""
        self.table.items[item["pk"]["S"], item["sk"]["S"]] = item

    def change(self, **fields: Any) -> None:
        """Store another version of Ada."""
        self.user = replace(self.user, version=self.user.version + 1, **fields)
        self.put(mapper.render_user(self.user))

    def item(self, sort: str) -> Any:
        """Give one of Ada's items, to be damaged."""
        return self.table.items[f"USER#{ADA}", sort]


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
    (f"SESSION#{PHONE}", "schema", {"N": "2"}),
    (f"SESSION#{PHONE}", "expires_at", {"S": "never"}),
    (f"SESSION#{PHONE}", "refresh_token_hash", None),
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


def test_an_older_format_is_brought_up_to_date(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the upcasts of the worker's own mapper."""
    now = USER_FORMAT
    later = replace(
        now, number=2, upcasts={1: lambda item: {**item, "first_name": {"S": "Augusta"}}}
    )
    monkeypatch.setattr(mapper.parse_user, "__defaults__", (later,))
    view = world.reader.get(ADA)
    assert view is not None
    assert view.first_name == "Augusta"


@pytest.mark.parametrize("given", ["", "ada", f"{ADA} ", f"USER#{ADA}", ADA + "\n", "é" * 36])
def test_what_is_no_id_is_refused_before_any_call(world: World, given: str) -> None:
    """And not repeated in the error."""
    calls = (
        lambda: world.reader.get(given),
        lambda: world.reader.get_many([ADA, given]),
        lambda: world.reader.check_session(given, PHONE),
        lambda: world.reader.check_session(ADA, given),
        lambda: world.reader.forget(given),
    )
    for call in calls:
        with pytest.raises(InvalidValueError, match="must be a UUID"):
            call()
    assert world.reads == 0


@pytest.mark.parametrize("given", ["", "0" * 63, "0" * 65, "g" * 64, "a-token"])
def test_what_is_no_hash_is_refused_before_any_call(world: World, given: str) -> None:
    """A token itself, above all."""
    for call in (
        lambda: world.reader.by_refresh_token(given),
        lambda: world.reader.check_session(ADA, PHONE, given),
    ):
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            call()
    assert world.reads == 0


@pytest.mark.parametrize("given", ["", "ada", "ada@", "@example.com", "a@b", "a b@example.com"])
def test_what_is_no_address_is_refused(world: World, given: str) -> None:
    """As the worker refuses it."""
    with pytest.raises(InvalidValueError):
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
    reader = UserReader(repository=DynamoDBUserRepository(wire.client, "users", AT_ONCE))
    assert reader.get_many([ADA, uid("grace")]).keys() == {ADA, uid("grace")}
    assert wire.requests[1]["RequestItems"]["users"] == left["users"]


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("code", ["ThrottlingException", "AccessDeniedException"])
def test_a_table_that_does_not_answer_is_an_error(code: str) -> None:
    """Not a no: the caller has to know the one from the other."""
    wire = Wire(rest=lambda: error(code))
    reader = UserReader(client=wire.client)
    with pytest.raises(StoreUnavailableError, match=code):
        reader.check_session(ADA, PHONE)


def test_a_hundred_users_are_one_call_and_more_are_more(world: World) -> None:
    """However often one is named; a cache answers its part."""
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
    check = world.reader.check_session(ADA, PHONE, token("phone 0").value)
    assert check.good
    text = repr(check) + repr(world.reader.get(ADA))
    assert ADA in text
    assert world.user.email is not None
    personal = (PASSWORD.value, world.user.email.value, "Ada", "Lovelace", "phone 0")
    hashes = (token("phone 0").value, token("phone 0").stored)
    assert not any(each in text for each in (*personal, *hashes))


times = st.sampled_from([NOW - timedelta(1), NOW, NOW + timedelta(1)])
bans = st.none() | st.builds(Ban, st.just("spam"), st.none() | times)
users = st.builds(
    lambda **fields: replace(new_user("ada"), **fields),
    ban=bans,
    locked_until=st.none() | times,
    deactivated=st.booleans(),
    session_epoch=st.integers(0, 2),
)


@given(users)
def test_the_view_lets_in_whom_the_worker_lets_in(user: User) -> None:
    """And gives the code that StartSession would be rejected with."""
    refusal = UserView.of(user).login_refusal(NOW)
    try:
        user.start_session(PHONE, token("phone 0"), NOW + timedelta(1), NOW)
        decided = None
    except RejectedError as error:
        decided = error.code.value
    assert (refusal and refusal.value) == decided


def test_the_erased_may_not_log_in() -> None:
    """Before anything else that is known of them."""
    view = UserView.of(replace(new_user("ada"), erased=True, ban=Ban("spam", None)))
    assert view.login_refusal(NOW) == "UserErased"
    assert why_not(view, session("phone"), None, NOW) is SessionRefusal.USER_ERASED


@given(users, st.integers(0, 2), times)
def test_a_session_is_good_only_where_a_rotation_would_be_accepted(
    user: User, epoch: int, expires_at: Any
) -> None:
    """The reader and the worker decide alike on the same state."""
    found = Session(PHONE, token("phone 1").stored, (), epoch, expires_at)
    user.sessions = {PHONE: found}
    refusal = why_not(UserView.of(user), found, token("phone 1"), NOW)
    shut_out = user.is_banned(NOW) or user.deactivated
    try:
        user.rotate_refresh_token(
            PHONE, token("phone 1"), token("phone 2"), NOW + timedelta(1), NOW
        )
        rotates = True
    except RejectedError:
        rotates = False
    assert (refusal is None) == (rotates and not shut_out)


# --- the cache -----------------------------------------------------------------------------


def test_only_who_asks_for_it_gets_what_is_cached(world: World) -> None:
    """And what was read afresh is there for those who do."""
    assert world.reader.get(ADA) == world.reader.get(ADA)
    assert world.reads == 2
    world.change(deactivated=True)
    cached, fresh = world.reader.get(ADA, cached=True), world.reader.get(ADA)
    assert cached is not None
    assert fresh is not None
    assert (cached.deactivated, fresh.deactivated) == (False, True)
    assert world.reads == 3


def test_a_cached_check_is_stale_for_the_seconds_stated_and_no_longer(world: World) -> None:
    """A ban is known after them at the latest."""
    check = world.reader.check_session
    assert check(ADA, PHONE, cached=True)
    world.change(ban=Ban("spam", None), session_epoch=2)
    world.seconds = 9.9
    assert check(ADA, PHONE, cached=True)
    assert world.reads == 1
    world.seconds = 10.0
    assert check(ADA, PHONE, cached=True).refusal is SessionRefusal.USER_BANNED


def test_a_cached_session_still_expires_to_the_second(world: World) -> None:
    """Time is not cached."""
    clock = [NOW]
    repository = DynamoDBUserRepository(world, "users", AT_ONCE)  # type: ignore[arg-type]
    reader = UserReader(repository=repository, cache=world.cache, clock=lambda: clock[0])
    assert reader.session_is_good(ADA, PHONE, cached=True)
    clock[0] = NOW + timedelta(days=30)
    refusal = reader.check_session(ADA, PHONE, cached=True).refusal
    assert refusal is SessionRefusal.SESSION_EXPIRED


def test_a_no_is_always_read_anew(world: World) -> None:
    """A session that has just begun may go on at once, whatever was asked before."""
    tablet = uid("session tablet")
    assert not world.reader.check_session(ADA, tablet, cached=True)
    world.change()
    world.put(mapper.render_session(ADA, session("tablet")))
    assert world.reader.check_session(ADA, tablet, cached=True)


def test_a_session_is_not_taken_with_another_version_of_its_user(world: World) -> None:
    """So what another request learnt of the user counts at once."""
    assert world.reader.check_session(ADA, PHONE, cached=True)
    del world.table.items[f"USER#{ADA}", f"SESSION#{PHONE}"]
    world.change()
    world.reader.get(ADA)
    refusal = world.reader.check_session(ADA, PHONE, cached=True).refusal
    assert refusal is SessionRefusal.SESSION_NOT_FOUND


def test_what_is_forgotten_is_read_anew_even_if_a_read_was_under_way(world: World) -> None:
    """A subscriber's `forget` beats the answer of a read that began before it."""
    asked, told = threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        assert told.wait(30)

    world.table.in_order = lambda _: wait()
    reading = threading.Thread(target=lambda: world.reader.get(ADA))
    reading.start()
    assert asked.wait(30)
    world.seconds = 1.0
    world.reader.forget(ADA)
    told.set()
    reading.join(30)
    world.table.in_order = lambda _: None
    world.reader.get(ADA, cached=True)
    assert world.reads == 2


def test_a_token_is_never_checked_on_what_is_cached(world: World) -> None:
    """To ask for both is a mistake, and said to be one."""
    with pytest.raises(ValueError, match="cached"):
        world.reader.check_session(ADA, PHONE, token("phone 0").value, cached=True)


def test_the_cache_is_bounded_and_drops_what_was_used_longest_ago() -> None:
    """And counts what it did."""
    world = World(size=2)
    for name in ("grace", "mary"):
        world.put(mapper.render_user(new_user(name)))
    for name in ("ada", "grace", "ada", "mary", "ada", "grace"):
        assert world.reader.get(uid(name), cached=True)
    told = world.cache.statistics
    assert (told.hits, told.misses, told.evictions, told.entries) == (2, 4, 2, 2)
    assert told.hit_rate == pytest.approx(1 / 3)
    assert ReadCache().statistics.hit_rate == 0


def test_a_check_counts_once_and_a_no_is_a_miss(world: World) -> None:
    """So that the hit rate is the share of checks that cost no read."""
    asked = [PHONE, PHONE, PHONE, uid("session tablet"), uid("session tablet")]
    for each in asked:
        world.reader.check_session(ADA, each, cached=True)
    told = world.cache.statistics
    assert (told.hits, told.misses) == (2, 3)
    assert world.reads == told.misses


def test_without_a_cache_everything_is_read(world: World) -> None:
    """`cached=True` means then nothing."""
    repository = DynamoDBUserRepository(world, "users", AT_ONCE)  # type: ignore[arg-type]
    reader = UserReader(repository=repository, clock=lambda: NOW)
    assert reader.check_session(ADA, PHONE, cached=True)
    assert reader.check_session(ADA, PHONE, cached=True)
    assert reader.get(ADA, cached=True)
    reader.forget(ADA)
    assert world.reads == 3


@pytest.mark.parametrize(("size", "seconds"), [(0, 1.0), (-1, 1.0), (1, 0.0), (1, float("nan"))])
def test_a_cache_without_bounds_is_refused(size: int, seconds: float) -> None:
    """Nor one that could keep nothing."""
    with pytest.raises(ValueError, match="cache"):
        ReadCache(size, seconds)
