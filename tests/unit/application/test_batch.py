from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from structlog.testing import capture_logs

from adapters.errors import ItemRefusedError
from adapters.memory import MemoryEventPublisher, MemoryOutbox, MemoryStore, MemoryUserRepository
from application.batch import (
    FACTS_LIFETIME,
    HEALTH_CHECK_KEY,
    MAX_ATTEMPTS,
    BatchHandler,
    Ports,
)
from application.batch_policy import BatchPolicy
from application.cool_down import MAX_SECONDS, MAX_USERS, SECONDS, CoolDown
from application.disposition import (
    Ack,
    DeadLetter,
    Disposition,
    Dispositions,
    ReceivedMessage,
    Retry,
)
from application.key_ring import KeyRing
from application.messages import MessageParser, render_command
from application.observer import NULL_OBSERVER, WorkerObserver
from application.permissions import ALLOW_ALL, NOT_PERMITTED, Permissions, Producer
from application.ports import (
    Clock,
    CommandKey,
    EventMessage,
    OutboxEntry,
    PublishFailure,
    StoreUnavailableError,
    ThrottledError,
)
from application.repository import CommitReport, Conflict, LoadRequest, Snapshot, UserChange
from domain.commands import CommandEnvelope
from domain.errors import RejectionCode
from domain.events import CommandDeadLettered
from tests.builders import HASH_KEYS, NOW, PASSWORD, message, uid


class FixedClock(Clock):
    """A clock that does not move."""

    def now(self) -> datetime:
        """Return the fixed time."""
        return NOW


class Repository(MemoryUserRepository):
    """A repository in memory that counts its calls and can be made to fail."""

    def __init__(self, store: MemoryStore) -> None:
        """Create it without failures."""
        super().__init__(store)
        self.loads: list[LoadRequest] = []
        self.commits: list[Sequence[UserChange]] = []
        self.load_errors: list[Exception] = []
        self.before_commit: list[Callable[[], object]] = []
        self.commit_reports: list[CommitReport] = []

    def load(self, request: LoadRequest) -> Snapshot:
        """Fail as set, or load."""
        self.loads.append(request)
        if self.load_errors:
            raise self.load_errors.pop(0)
        return super().load(request)

    def commit(self, changes: Sequence[UserChange], now: datetime) -> CommitReport:
        """Answer as set, or commit."""
        self.commits.append(changes)
        if self.before_commit:
            self.before_commit.pop(0)()
        if self.commit_reports:
            return self.commit_reports.pop(0)
        return super().commit(changes, now)


class Publisher(MemoryEventPublisher):
    """A topic that can be unavailable."""

    down = False

    def publish(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        """Refuse everything while unavailable."""
        if self.down:
            return {m.event_id: PublishFailure("Throttled", permanent=False) for m in messages}
        return super().publish(messages)


@dataclass
class World:
    """A handler and its collaborators."""

    store: MemoryStore = field(default_factory=MemoryStore)
    slept: list[float] = field(default_factory=list)
    published_before_sleep: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Connect the parts."""
        self.repository = Repository(self.store)
        self.outbox = MemoryOutbox(self.store)
        self.publisher = Publisher()
        self.handler = self.made(FixedClock())

    def made(
        self,
        clock: Clock,
        permissions: Permissions = ALLOW_ALL,
        observer: WorkerObserver = NULL_OBSERVER,
    ) -> BatchHandler:
        """Create a handler with a clock."""
        policy = BatchPolicy(
            max_receives=12,
            outcome_lifetime=timedelta(days=90),
            command_lifetime=timedelta(days=60),
            registration_grace=timedelta(seconds=60),
            hash_keys=HASH_KEYS,
            draw=lambda _low, high: high,
            sleep=self.sleep,
        )
        ports = Ports(self.repository, self.outbox, self.publisher, clock)
        return BatchHandler(ports, MessageParser(["customer"]), policy, observer, permissions)

    def sleep(self, seconds: float) -> None:
        """Record how long a batch slept, and what was published before."""
        self.slept.append(seconds)
        self.published_before_sleep.append(self.published())

    def handle(self, *messages: ReceivedMessage) -> list[Disposition]:
        """Handle one batch."""
        return list(self.handler.handle(messages).items)

    def published(self) -> list[str]:
        """Return the short types of the published events, in order."""
        return [event.type.split(".")[2] for event in self.publisher.published]

    def entries(self) -> list[OutboxEntry]:
        """Return the entries left in the outbox."""
        return list(self.store.entries.values())


@pytest.fixture
def world() -> World:
    """A world without users."""
    return World()


def command(
    name: str,
    user: str | None,
    data: dict[str, object] | None = None,
    *,
    id: str | None = None,  # noqa: A002 - CloudEvents' word
    receives: int = 1,
    group: str | None = None,
    age: float = 600,
    source: str = "/test",
) -> ReceivedMessage:
    """Return the message of a command."""
    body = render_command(
        name,
        data or {},
        command_id=uid(id or f"{name} {user} {data}"),
        user_id=uid(user) if user else None,
        source=source,
        time=NOW - timedelta(seconds=age),
    )
    return message(body, receives=receives, group=group, age=age)


def typed(kind: str) -> str:
    """Return the body of a command with another type."""
    return json.dumps(json.loads(command("UnlockUser", "ada")["body"]) | {"type": kind})


def registration(user: str, address: str | None = None, **more: str) -> ReceivedMessage:
    """Return the message of a registration."""
    data: dict[str, object] = {
        "email": f"{address or user}@example.com",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "password_hash": PASSWORD.value,
    }
    return command("RegisterUser", user, data, id=more.get("id"), group=more.get("group"))


def test_a_batch_of_ten_users_is_one_load_one_commit_one_publication(world: World) -> None:
    """The fewest and fullest calls possible."""
    assert world.handle(*(registration(f"u{n}") for n in range(10))) == [Ack()] * 10
    assert (len(world.repository.loads), len(world.repository.commits)) == (1, 1)
    assert world.published() == ["UserRegistered"] * 10
    assert world.entries() == []


def test_a_redelivered_command_changes_and_publishes_nothing(world: World) -> None:
    """It is complete; the relay publishes its events if necessary."""
    world.handle(registration("ada"))
    assert world.handle(registration("ada")) == [Ack()]
    assert len(world.published()) == 1
    assert len(world.repository.commits) == 1


def test_a_command_id_seen_twice_in_a_batch_counts_once(world: World) -> None:
    """Both messages are acknowledged; one outcome is stored."""
    assert world.handle(registration("ada"), registration("ada")) == [Ack(), Ack()]
    assert world.published() == ["UserRegistered"]


def test_a_command_id_used_for_another_command_is_dead(world: World) -> None:
    """In the same batch and in a later one: the first command stays."""
    first = registration("ada", id="c")
    other = command("UnlockUser", "ada", id="c")
    dead = DeadLetter("CommandIdReused", "id: was used for another command")
    assert world.handle(first, other) == [Ack(), dead]
    assert world.handle(other) == [dead]
    assert world.published() == ["UserRegistered", "CommandDeadLettered", "CommandDeadLettered"]


@pytest.mark.parametrize(
    ("earlier", "reused"),
    [
        (HASH_KEYS.fingerprint, True),
        (lambda plain: plain, True),
        (lambda plain: KeyRing((b"k" * 32,)).fingerprint(plain), False),
        (lambda _: "", False),
    ],
    ids=["keyed", "of an earlier version", "of a retired key", "erased"],
)
def test_a_reused_id_is_detected_if_the_fingerprint_can_be_compared(
    world: World, earlier: Callable[[str], str], reused: bool
) -> None:
    """A redelivery is a duplicate in any case; the id decides if the key is not known."""
    first, other = registration("ada", id="c"), command("UnlockUser", "ada", id="c")
    world.handle(first)
    plain = MessageParser(["customer"]).parse(first).content_hash
    ((key, stored),) = world.store.outcomes.items()
    assert stored.fingerprint == HASH_KEYS.fingerprint(plain)
    world.store.outcomes[key] = replace(stored, fingerprint=earlier(plain))
    assert world.handle(first) == [Ack()]
    dead = DeadLetter("CommandIdReused", "id: was used for another command")
    assert world.handle(other) == [dead if reused else Ack()]
    assert world.published() == ["UserRegistered", *(["CommandDeadLettered"] if reused else [])]


def test_a_decided_command_does_not_die_with_another_that_has_its_id(world: World) -> None:
    """After it in the batch the command is retried, and known then; a second other one fails."""
    first, other = registration("ada", id="c"), command("UnlockUser", "ada", id="c")
    dead = DeadLetter("CommandIdReused", "id: was used for another command")
    assert world.handle(first) == [Ack()]
    assert world.handle(other, first, other) == [dead, Retry(2), dead]
    assert world.handle(first) == [Ack()]


def test_a_copy_with_receives_left_is_not_dead_lettered_with_one_that_has_none(
    world: World,
) -> None:
    """An unavailable store uses up only the message that was received too often."""
    world.repository.load_errors = [StoreUnavailableError("down")]
    last, fresh = registration("ada", id="c"), registration("ada", id="c")
    last["receives"] = 12
    dead, later = world.handle(last, fresh)
    assert isinstance(dead, DeadLetter)
    assert later == Retry(2)
    assert world.handle(fresh) == [Ack()]


def test_a_malformed_message_is_dead_and_the_others_go_on(world: World) -> None:
    """Its dead letter names the field and holds no secret."""
    plain = registration("eve")
    plain["body"] = plain["body"].replace(PASSWORD.value, "correct horse")
    dead, done = world.handle(plain, registration("ada"))
    assert isinstance(dead, DeadLetter)
    assert (dead.code, dead.detail.split(":")[0]) == ("InvalidField", "data.password_hash")
    assert dead.body is not None
    assert "correct horse" not in dead.body
    assert done == Ack()


def test_an_unknown_type_comes_later_and_is_dead_on_its_last_receive(world: World) -> None:
    """A producer may be deployed before the worker; secrets are removed all the same."""
    body = json.loads(command("UnlockUser", "ada")["body"])
    body |= {"type": "biome.user.HugUser.v1", "data": {"password": "correct horse"}}
    assert world.handle(message(json.dumps(body), receives=1)) == [Retry(60)]
    assert world.handle(message(json.dumps(body), receives=3)) == [Retry(240)]
    [dead] = world.handle(message(json.dumps(body), receives=12))
    assert isinstance(dead, DeadLetter)
    assert dead.code == "UnknownType"
    assert "correct horse" not in str(dead.body)


def test_a_bug_in_reading_a_message_costs_neither_the_others_nor_a_secret(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is retried, and finally dead-lettered without its body."""
    bad = message("a body")
    parse = MessageParser.parse

    def stumble(self: MessageParser, received: ReceivedMessage) -> CommandEnvelope:
        if received["body"] == "a body":
            raise KeyError(received["body"])
        return parse(self, received)

    monkeypatch.setattr(MessageParser, "parse", stumble)
    assert world.handle(bad, registration("ada")) == [Retry(2), Ack()]
    bad["receives"] = 12
    [dead] = world.handle(bad)
    assert isinstance(dead, DeadLetter)
    assert (dead.code, "a body" in str(dead.body)) == ("Unforeseen", False)


def test_what_is_stored_and_cannot_be_read_sends_its_command_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others of the batch are processed."""
    load = MemoryUserRepository.load

    def partly(self: MemoryUserRepository, request: LoadRequest) -> Snapshot:
        return replace(load(self, request), unreadable={uid("ada")})

    monkeypatch.setattr(MemoryUserRepository, "load", partly)
    assert world.handle(registration("ada"), registration("eve")) == [Retry(2), Ack()]


def test_an_unknown_user_comes_later_while_its_registration_may_be_on_its_way(
    world: World,
) -> None:
    """It is rejected afterwards: when it was received several times, over a minute."""
    assert world.handle(command("UnlockUser", "ada", age=5)) == [Retry(2)]
    assert world.handle(command("UnlockUser", "ada", age=86_400)) == [Retry(2)]
    young = command("UnlockUser", "ada", age=86_400, receives=5)
    young["first_received_at"] = NOW.timestamp() - 59
    assert world.handle(young) == [Retry(32)]
    assert world.published() == []
    young["first_received_at"] = NOW.timestamp() - 61
    assert world.handle(young) == [Ack()]
    assert world.published() == ["CommandRejected"]


def test_fifty_registrations_of_one_address_take_two_rounds(world: World) -> None:
    """One succeeds; forty-nine are rejected together."""
    settled = world.handle(*(registration(f"u{n}", "Ada" if n % 2 else "ada") for n in range(50)))
    assert settled == [Ack()] * 50
    assert len(world.repository.commits) == 2
    assert sorted(world.published()) == ["CommandRejected"] * 49 + ["UserRegistered"]


@pytest.mark.parametrize("token_hash", ["ab" * 32, "cd" * 32], ids=["right token", "wrong token"])
def test_a_reset_by_email_hides_no_session_of_its_user(world: World, token_hash: str) -> None:
    """The second read of the user replaces the first, which had read the session as well.

    Anybody can send a reset with a wrong token; it must not end the session of the user.
    """
    expires_at = "2026-11-22T10:30:00Z"
    session = {"session_id": uid("phone"), "refresh_family_hash": "01" * 32}
    login: dict[str, object] = {
        **session,
        "refresh_token_hash": "02" * 32,
        "expires_at": expires_at,
    }
    request: dict[str, object] = {
        "token_id": uid("mail"),
        "token_hash": "ab" * 32,
        "expires_at": expires_at,
    }
    exchange: dict[str, object] = {**login, "next_refresh_token_hash": "03" * 32}
    reset: dict[str, object] = {
        "email": "ada@example.com",
        "token_hash": token_hash,
        "password_hash": PASSWORD.value,
    }
    world.handle(
        registration("ada"),
        command("RequestPasswordReset", "ada", request),
        command("StartSession", "ada", {**login, "credential_version": 1, "methods": ["pwd"]}),
    )
    world.handle(
        command("RotateRefreshToken", "ada", exchange), command("ResetPassword", None, reset)
    )
    assert world.published()[3] == "RefreshTokenRotated"


def test_a_reset_by_email_finds_its_user_in_a_second_read(world: World) -> None:
    """The address is read first, then its owner; the outcome is stored under the id too."""
    world.handle(registration("ada"))
    reset = command(
        "RequestPasswordReset",
        None,
        {
            "email": "Ada@example.com",
            "token_id": uid("t"),
            "token_hash": "a" * 64,
            "expires_at": "2026-11-23T00:00:00Z",
        },
        id="reset",
    )
    assert world.handle(reset) == [Ack()]
    assert len(world.repository.loads) == 3
    assert CommandKey(None, uid("reset")) in world.store.outcomes
    assert CommandKey(uid("ada"), uid("reset")) in world.store.outcomes
    assert world.handle(reset) == [Ack()]
    assert world.published() == ["UserRegistered", "PasswordResetRequested"]


def test_a_reset_for_an_unknown_user_has_no_effect_and_is_recorded(world: World) -> None:
    """The answer must not tell whether an address exists."""
    data: dict[str, object] = {
        "email": "nobody@example.com",
        "token_id": uid("t"),
        "token_hash": "a" * 64,
        "expires_at": "2026-11-23T00:00:00Z",
    }
    assert world.handle(command("RequestPasswordReset", None, data, id="reset")) == [Ack()]
    assert world.published() == ["CommandHadNoEffect"]
    assert list(world.store.outcomes) == [CommandKey(None, uid("reset"))]


def test_a_stale_user_is_read_and_decided_again(world: World) -> None:
    """Another worker was faster; its change is kept."""
    world.handle(registration("ada"))
    rival = World(world.store)
    rename = command("UpdateProfile", "ada", {"first_name": "Augusta"}, id="rival")
    world.repository.before_commit = [lambda: rival.handle(rename)]
    assert world.handle(command("UpdateProfile", "ada", {"last_name": "King"})) == [Ack()]
    ada = world.store.users[uid("ada")]
    assert (ada.first_name, ada.last_name, ada.version) == ("Augusta", "King", 3)
    assert len(world.slept) == 1


def test_a_lasting_conflict_is_retried_later(world: World) -> None:
    """After the last attempt; the others of the batch are processed."""
    lost = CommitReport((), {0: Conflict.STALE})
    world.repository.commit_reports = [lost] * MAX_ATTEMPTS
    assert world.handle(registration("ada")) == [Retry(2)]
    assert len(world.repository.commits) == MAX_ATTEMPTS
    assert world.published() == []


def test_a_conflict_of_one_user_does_not_hold_up_the_others(world: World) -> None:
    """Committed changes are published at once."""
    rival = World(world.store)
    world.repository.before_commit = [lambda: rival.handle(registration("x", "ada"))]
    assert world.handle(registration("ada"), registration("eve")) == [Ack(), Ack()]
    assert sorted(world.published()) == ["CommandRejected", "UserRegistered"]


@pytest.mark.parametrize("error", [StoreUnavailableError("down"), KeyError("a bug")])
def test_a_store_that_cannot_be_read_sends_the_batch_back(world: World, error: Exception) -> None:
    """Throttled, unavailable, or a bug: nothing is lost."""
    world.repository.load_errors = [error] * 3  # of the batch and, after a bug, of each user alone
    assert world.handle(registration("ada"), registration("eve")) == [Retry(2), Retry(2)]
    world.repository.load_errors = []
    assert world.handle(registration("ada")) == [Ack()]


@pytest.mark.parametrize("error", [StoreUnavailableError("throttled"), ValueError("refused")])
def test_a_change_that_fails_to_commit_is_retried_alone(world: World, error: Exception) -> None:
    """The other changes of the round are committed."""
    entry = OutboxEntry("p", "s", "publish", (CommandKey(uid("eve"), uid("e")),), NOW)  # type: ignore[arg-type]
    world.repository.commit_reports = [CommitReport((entry,), {}, {0: error})]
    assert world.handle(registration("ada"), registration("eve", id="e")) == [Retry(2), Ack()]
    assert world.published() == ["UserRegistered"]


def test_what_fails_on_the_last_receive_is_dead_with_the_reason(world: World) -> None:
    """The queue would dead-letter it without a reason."""
    world.repository.load_errors = [StoreUnavailableError("down")]
    last = command("UnlockUser", "ada", receives=12)
    assert world.handle(last) == [DeadLetter("Unavailable", "the store did not answer")]


def test_a_command_is_done_whatever_the_topic_says(world: World) -> None:
    """The entry stays, for the relay."""
    world.publisher.down = True
    assert world.handle(registration("ada")) == [Ack()]
    [entry] = world.entries()
    assert [key.user_id for key in entry.commands] == [uid("ada")]


def test_a_transient_failure_sends_a_fifo_group_back_whole(world: World) -> None:
    """With one delay, so that its order is kept; other groups are processed."""
    world.repository.load_errors = [StoreUnavailableError("down")]
    old = registration("ada", group="a")
    old["receives"] = 2
    assert world.handle(old, registration("bob", group="b"), registration("eve", group="a")) == [
        Retry(4),
        Retry(2),
        Retry(4),
    ]


def test_a_fifo_group_waits_behind_a_message_that_comes_later(world: World) -> None:
    """A command for a user that may still be registered delays its group, and nothing before."""
    waiting = command("UnlockUser", "nobody", group="a")
    assert world.handle(waiting, registration("ada", group="a")) == [Retry(2), Retry(2)]
    before = registration("eve", group="a")
    assert world.handle(before, waiting, registration("ada", group="a")) == [
        Ack(),  # it was before, and waits for nothing
        Retry(2),
        Retry(2),
    ]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{nonsense", "NotJson"),
        ("[]", "NotACommand"),
        (typed("biome.user.HugUser.v1"), "UnknownType"),
        (typed("biome.user.UnlockUser.v9"), "UnknownType"),
        (typed("biome.user.UnlockUser.v1"), NOT_PERMITTED),
    ],
)
def test_a_message_that_can_never_be_decided_does_not_delay_its_fifo_group(
    world: World, body: str, code: str
) -> None:
    """Its sender could otherwise delay the ban of a user for up to 47 minutes."""
    signup = Producer("signup", ("*",), ("*",), ("*",), ("RegisterUser",))
    world.handler = world.made(FixedClock(), Permissions((signup,)))
    dead, done, other = world.handle(
        message(body, group="a"), registration("ada", group="a"), registration("bob", group="b")
    )
    assert isinstance(dead, DeadLetter)
    assert dead.code == code
    assert (done, other) == (Ack(), Ack())


def test_a_fifo_group_of_several_users_applies_in_its_order(world: World) -> None:
    """One user per round."""
    names = ["ada", "eve", "ada"]
    settled = world.handle(
        *(registration(n, id=f"{n} {i}", group="g") for i, n in enumerate(names))
    )
    assert settled == [Ack()] * 3
    assert [[c.user_id for c in changes] for changes in world.repository.commits] == [
        [uid("ada")],
        [uid("eve")],
        [uid("ada")],
    ]


def test_an_empty_batch_sees_whether_the_store_reads_and_writes(world: World) -> None:
    """This detects the end of an outage without a receive."""
    assert world.handler.handle([]) == Dispositions((), store=True)
    [request] = world.repository.loads
    assert [*request.outcomes] == [CommandKey(None, HEALTH_CHECK_KEY)]
    world.repository.load_errors = [StoreUnavailableError("down")]
    assert world.handler.handle([]) == Dispositions((), store=False)
    world.outbox.close = _throttled  # type: ignore[method-assign, assignment]
    assert world.handler.handle([]) == Dispositions((), store=False)


def _throttled(_entries: Sequence[OutboxEntry]) -> None:
    raise StoreUnavailableError("throttled")


def test_a_pointer_that_the_store_does_not_delete_now_is_the_relays(world: World) -> None:
    """The events are published: this is neither a failure to publish nor a bug."""
    world.outbox.close = _throttled  # type: ignore[method-assign, assignment]
    with capture_logs() as logs:
        settled = world.handler.handle([registration("ada")])
    assert settled == Dispositions((Ack(),), store=True, topic=True)
    assert len(world.publisher.published) == 1
    [left] = [line for line in logs if line["log_level"] != "info"]
    assert (left["event"], left["log_level"]) == ("outbox_pointer_left", "warning")


def test_a_batch_of_which_nothing_got_anywhere_reports_the_store(world: World) -> None:
    """Reads or writes, all at once or one by one."""
    error = StoreUnavailableError("down")
    world.repository.load_errors = [error]
    assert world.handler.handle([registration("ada")]).store is False
    world.repository.commit_reports = [CommitReport((), {}, {0: error, 1: error})]
    both = [registration("ada"), registration("eve")]
    assert world.handler.handle(both).store is False


def test_a_bug_or_a_refused_item_does_not_count_as_an_outage(world: World) -> None:
    """A message that triggers a bug runs alone, so it alone would decide about the store."""
    world.repository.load_errors = [KeyError("a bug")]
    assert world.handler.handle([registration("ada")]).store is None
    world.repository.commit_reports = [CommitReport((), {}, {0: ItemRefusedError("too big")})]
    assert world.handler.handle([registration("ada")]).store is None


def test_a_batch_of_which_something_got_through_reports_no_outage(world: World) -> None:
    """One user's throttled partition is no outage; neither are duplicates or invalid messages."""
    error = StoreUnavailableError("throttled")
    entry = OutboxEntry("p", "s", "publish", (CommandKey(uid("eve"), uid("e")),), NOW)  # type: ignore[arg-type]
    world.repository.commit_reports = [CommitReport((entry,), {}, {0: error})]
    both = [registration("ada"), registration("eve", id="e")]
    assert world.handler.handle(both).store is True
    done = registration("bob")
    assert world.handler.handle([done]).store is True
    assert world.handler.handle([done]).store is True
    assert world.handler.handle([message("nonsense")]).store is None


@pytest.mark.parametrize("names", [("bob", "ada"), ("ada", "bob")])
def test_what_was_known_before_does_not_hide_that_nothing_is_written(
    world: World, names: Sequence[str]
) -> None:
    """A duplicate is only read: while writes fail, it would keep the breaker closed."""
    world.handle(registration("bob"))
    world.repository.commit_reports = [CommitReport((), {}, {0: StoreUnavailableError("down")})]
    settled = world.handler.handle([registration(name) for name in names])
    assert Ack() in settled.items
    assert settled.store is False


def test_a_batch_reports_whether_the_topic_accepted_an_event(world: World) -> None:
    """If not, new commands are committed and left to the relay, so receiving must slow down."""
    world.publisher.down = True
    assert world.handler.handle([registration("ada")]).topic is False
    assert world.handler.handle([registration("ada")]).topic is None
    world.publisher.down = False
    assert world.handler.handle([registration("eve")]).topic is True


# --- isolation ------------------------------------------------------------------------------


def throttling(world: World, *names: str) -> None:
    """Make the store leave the items of these users unread."""
    load = world.repository.load

    def load_others(request: LoadRequest) -> Snapshot:
        snapshot = load(request)
        ids = {uid(name) for name in names}
        for user_id in ids:
            snapshot.users.pop(user_id, None)
        named = request.users | {key.user_id for key in request.outcomes}
        snapshot.unread.update(user_id for user_id in ids & named if user_id)
        return snapshot

    world.repository.load = load_others  # type: ignore[method-assign]


def test_a_user_with_unread_items_delays_no_other_user(world: World) -> None:
    """The others are processed at once, in one load; the store as a whole did not fail."""
    world.handle(registration("hot"), registration("ada"))
    throttling(world, "hot")
    loads = len(world.repository.loads)
    batch = [command("UnlockUser", name) for name in ("hot", "ada", "hot")]
    settlements = world.handler.handle(batch)
    assert settlements.items == (Retry(2), Ack(), Retry(2))
    assert settlements.store is True
    assert len(world.repository.loads) == loads + 1
    alone = world.handler.handle([command("UnlockUser", "hot", id="other", receives=4)])
    assert (alone.items, alone.store) == ((Retry(16),), None)


def test_a_throttled_user_costs_other_users_no_call_for_a_short_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During the cool-down their commands are retried without a call; afterwards with one."""
    now = [100.0]
    monkeypatch.setattr(world.handler, "_cool_down", CoolDown(lambda: now[0]))
    world.handle(registration("hot"), registration("ada"))
    world.repository.commit_reports = [CommitReport((), {}, {0: ThrottledError("hot")})]
    assert world.handle(command("UnlockUser", "hot")) == [Retry(2)]
    loads, commits = len(world.repository.loads), len(world.repository.commits)
    settled = world.handler.handle([command("UnlockUser", "hot", id="second", receives=2)])
    assert (settled.items, settled.store) == ((Retry(4),), None)
    assert (len(world.repository.loads), len(world.repository.commits)) == (loads, commits)
    both = [command("UnlockUser", name, id="third") for name in ("hot", "ada")]
    assert world.handle(*both) == [Retry(2), Ack()]
    assert {user for load in world.repository.loads[loads:] for user in load.users} == {uid("ada")}
    now[0] += SECONDS
    assert world.handle(command("UnlockUser", "hot", id="fourth")) == [Ack()]


def test_a_fifo_group_waits_behind_a_user_in_cool_down(world: World) -> None:
    """The command behind it must not be processed first."""
    world.handle(registration("hot"), registration("ada"))
    throttling(world, "hot")
    assert world.handle(command("UnlockUser", "hot", group="g")) == [Retry(2)]
    settled = world.handle(
        command("UnlockUser", "hot", group="g", id="again"),
        command("UnlockUser", "ada", group="g", id="behind"),
        command("UnlockUser", "ada", group="h", id="beside"),
    )
    assert settled == [Retry(2), Retry(2), Ack()]


def test_the_retry_of_a_throttled_user_is_not_before_the_end_of_the_cool_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receive before that end could only be refused, and would cost other users its work."""
    now = [100.0]
    cool_down = CoolDown(lambda: now[0])
    monkeypatch.setattr(world.handler, "_cool_down", cool_down)
    world.handle(registration("hot"))
    for _ in range(4):
        cool_down.start([uid("hot")])
        now[0] += cool_down.remaining(uid("hot"))
    throttling(world, "hot")
    assert world.handle(command("UnlockUser", "hot")) == [Retry(16)]
    now[0] += 5.5
    assert world.handle(command("UnlockUser", "hot", id="second")) == [Retry(11)]


def test_the_cool_down_doubles_while_the_user_stays_throttled() -> None:
    """The lengths are in seconds; a quiet time as long as the last one starts anew."""
    now = [0.0]
    cool_down = CoolDown(lambda: now[0])
    lengths = []
    for _ in range(7):
        cool_down.start(["hot"])
        cool_down.start(["hot"])  # another thread met the same throttling
        lengths.append(cool_down.remaining("hot"))
        now[0] += lengths[-1]
        assert cool_down.remaining("hot") == 0
    assert lengths == [1, 2, 4, 8, 16, 30, 30]
    now[0] += MAX_SECONDS
    cool_down.start(["hot"])
    assert cool_down.remaining("hot") == SECONDS


def test_the_users_in_cool_down_are_bounded() -> None:
    """Expired users are forgotten first; if none has expired, all are."""
    now = [0.0]
    cool_down = CoolDown(lambda: now[0])

    def cooling(*users: str | None) -> list[bool]:
        return [cool_down.remaining(user) > 0 for user in users]

    cool_down.start(str(number) for number in range(MAX_USERS - 1))
    now[0] = 1.75 * SECONDS
    cool_down.start(["kept", None])
    now[0] = 2.25 * SECONDS
    cool_down.start(["next"])
    assert cooling("0", "kept", "next", None) == [False, True, True, False]
    cool_down.start(str(number) for number in range(MAX_USERS - 2))
    cool_down.start(["last"])
    assert cooling("0", "kept", "last") == [False, False, True]


def test_an_address_that_stays_unread_delays_the_commands_that_need_it(world: World) -> None:
    """A registration must not be decided without it."""
    load = world.repository.load

    def load_others(request: LoadRequest) -> Snapshot:
        snapshot = load(request)
        snapshot.unread.update(address for address in request.addresses if "hot" in address)
        return snapshot

    world.repository.load = load_others  # type: ignore[method-assign]
    assert world.handle(registration("hot"), registration("ada")) == [Retry(2), Ack()]


def test_a_fifo_group_waits_behind_a_throttled_user_and_other_groups_go_on(world: World) -> None:
    """The order within a group is kept."""
    world.handle(registration("hot"), registration("ada"))
    throttling(world, "hot")
    settled = world.handle(
        command("UnlockUser", "hot", group="g"),
        command("UnlockUser", "ada", group="g", id="behind"),
        command("UnlockUser", "ada", group="h", id="beside"),
    )
    assert settled == [Retry(2), Retry(2), Ack()]


def test_throttled_writes_fail_their_user_alone_and_not_the_store(world: World) -> None:
    """A throttled user does not count as a failure of the store."""
    world.repository.commit_reports = [CommitReport((), {}, {0: ThrottledError("hot")})]
    settlements = world.handler.handle([registration("hot")])
    assert (settlements.items, settlements.store) == ((Retry(2),), None)


@pytest.mark.parametrize(
    ("names", "store"), [(("hot",), None), (("hot", "hot"), None), (("hot", "ada"), False)]
)
def test_a_throttled_load_is_the_users_if_it_named_one_and_else_the_stores(
    world: World, names: Sequence[str], store: bool | None
) -> None:
    """DynamoDB refuses the whole call if it can read none of its keys."""
    world.repository.load_errors = [ThrottledError("all keys")]
    batch = [command("UnlockUser", name, id=f"{index}") for index, name in enumerate(names)]
    settlements = world.handler.handle(batch)
    assert settlements.items == (Retry(2),) * len(names)
    assert settlements.store is store


def test_a_bug_that_one_user_brings_out_fails_that_user_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others of the batch are processed in the same delivery."""
    commit = world.repository.commit

    def stumble(changes: Sequence[UserChange], now: datetime) -> CommitReport:
        if any(change.user_id == uid("bad") for change in changes):
            raise RuntimeError("a bug")
        return commit(changes, now)

    monkeypatch.setattr(world.repository, "commit", stumble)
    names = ["ada", "bad", "eve", "bob"]
    settled = world.handle(*(registration(name) for name in names))
    assert settled == [Ack(), Retry(2), Ack(), Ack()]
    assert world.published() == ["UserRegistered"] * 3


def test_a_registration_goes_before_its_users_commands_of_the_same_batch(world: World) -> None:
    """A standard queue may deliver it last."""
    settled = world.handle(
        command("AssignRole", "ada", {"role": "customer"}, age=86_400),
        registration("eve"),
        registration("ada"),
    )
    assert settled == [Ack()] * 3
    assert world.published() == ["UserRegistered", "RoleAssigned", "UserRegistered"]


def test_facts_that_are_too_old_are_read_again_before_anything_is_committed(world: World) -> None:
    """The user may have been erased and scrubbed: the outcome would hold a fingerprint."""
    world.handle(registration("ada"))
    times = iter([NOW, NOW + FACTS_LIFETIME + timedelta(seconds=1)])
    frozen: list[object] = []

    class Frozen(Clock):
        def now(self) -> datetime:
            time = next(times, NOW + timedelta(minutes=1))
            if time > NOW and not frozen:  # the process goes on after the erasure and its scrub
                frozen.append(World(world.store).handle(command("EraseUser", "ada")))
                world.outbox.scrub(uid("ada"))
            return time

    world.handler = world.made(Frozen())
    assert world.handle(registration("ada", id="again")) == [Ack()]
    assert frozen == [[Ack()]]
    codes = [outcome.code for outcome in world.store.outcomes.values()]
    assert codes.count(RejectionCode.USER_ERASED) == 1
    assert [o.fingerprint for o in world.store.outcomes.values()] == ["", "", ""]


def test_what_is_published_is_what_is_stored(world: World) -> None:
    """Of two commands by address with one id, only one is committed."""
    by_address = [
        command(
            "RequestPasswordReset",
            None,
            {
                "email": f"{name}@example.com",
                "token_id": uid("t"),
                "token_hash": "ab" * 32,
                "expires_at": "2030-01-01T00:00:00Z",
            },
            id="one id",
            source=f"/{name}",
        )
        for name in ("one", "two")
    ]
    world.handle(*by_address)
    [stored] = world.store.outcomes.values()
    published = {
        event.command_source
        for event in world.publisher.published
        if event.type != CommandDeadLettered.type
    }
    assert published == {stored.source}


def test_what_is_committed_is_published_before_contended_commands_are_tried_again(
    world: World,
) -> None:
    """Events of other users do not wait for a contended user."""
    world.handle(registration("hot"), registration("ada"))
    rival = World(world.store)
    world.repository.before_commit = [
        lambda: rival.handle(command("BanUser", "hot", {"reason": "a"}, id="rival"))
    ]
    batch = [
        command("AssignRole", "hot", {"role": "customer"}),
        command("AssignRole", "ada", {"role": "customer"}, id="ada's"),
    ]
    assert world.handle(*batch) == [Ack(), Ack()]
    assert world.published_before_sleep == [["UserRegistered"] * 2 + ["RoleAssigned"]]
