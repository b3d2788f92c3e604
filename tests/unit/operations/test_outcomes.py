from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from adapters.memory import MemoryStore, MemoryUserRepository
from application.ports import CommandKey, StoreUnavailableError
from application.repository import LoadRequest, Outcome, Snapshot, UserChange
from operations import outcomes
from operations.outcomes import READING, await_outcomes, listener
from operations.progress import NO_PROGRESS, Progress
from tests.unit.cli.test_stream import REGISTERED
from tests.unit.operations.recorded_progress import RecordedProgress
from worker.connections import Aws
from worker.settings import Settings

KEY = CommandKey(REGISTERED.user_id, REGISTERED.command_id)
NEVER = CommandKey(REGISTERED.user_id, "00000000-0000-4000-8000-000000000009")


class Sleeper:
    """Records pauses instead of sleeping, and stores an outcome in its `nth` pause."""

    def __init__(self, repository: MemoryUserRepository, nth: int) -> None:
        self.pauses: list[float] = []
        self._repository = repository
        self._nth = nth

    def __call__(self, seconds: float) -> None:
        """Record the pause."""
        self.pauses.append(seconds)
        if len(self.pauses) == self._nth:
            record(self._repository, REGISTERED)


def record(repository: MemoryUserRepository, outcome: Outcome) -> None:
    """Store an outcome."""
    report = repository.commit([UserChange(outcome.user_id, (outcome,))], datetime.now(UTC))
    assert not report.conflicts
    assert not report.failures


def test_an_outcome_is_returned_as_soon_as_it_is_recorded() -> None:
    """It does not wait until the end of the time."""
    repository = MemoryUserRepository(MemoryStore())
    sleep = Sleeper(repository, nth=3)
    found = await_outcomes(repository, [KEY], 60, sleep=sleep)
    assert found[KEY].events == REGISTERED.events
    assert len(sleep.pauses) == 3


def test_the_pauses_grow_up_to_a_limit() -> None:
    """The first reads come quickly, and later ones save cost."""
    repository = MemoryUserRepository(MemoryStore())
    sleep = Sleeper(repository, nth=10)
    await_outcomes(repository, [KEY], 60, sleep=sleep)
    assert all(one <= two for one, two in pairwise(sleep.pauses))
    assert sleep.pauses[-1] == READING.cap


def test_with_no_time_it_looks_once() -> None:
    """Asking without waiting is one read."""
    repository = MemoryUserRepository(MemoryStore())
    sleep = Sleeper(repository, nth=99)
    assert await_outcomes(repository, [KEY], 0, sleep=sleep) == {}
    assert sleep.pauses == []


def test_one_of_several_keys_is_enough_if_requested() -> None:
    """A command may be stored under one of two keys."""
    repository = MemoryUserRepository(MemoryStore())
    record(repository, REGISTERED)
    sleep = Sleeper(repository, nth=99)
    found = await_outcomes(repository, [NEVER, KEY], 60, enough=1, sleep=sleep)
    assert list(found) == [KEY]


ANYTHING = [
    StoreUnavailableError("throttled"),
    RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a proxy's page"),
    KeyError("Responses"),
]
"""Errors that a read raises."""


class Failing:
    """A repository whose first reads fail."""

    def __init__(self, *failures: Exception) -> None:
        self.users = MemoryUserRepository(MemoryStore())
        self.failures = list(failures)

    def load(self, request: LoadRequest) -> Snapshot:
        """Read, or raise the next failure."""
        if self.failures:
            raise self.failures.pop(0)
        return self.users.load(request)


@pytest.mark.parametrize("error", ANYTHING, ids=lambda error: type(error).__name__)
def test_a_read_that_fails_does_not_end_the_wait(error: Exception) -> None:
    """The command was sent; the wait ends by its own timeout."""
    failing = Failing(error, error)
    record(failing.users, REGISTERED)
    found = await_outcomes(failing, [KEY], 60, sleep=lambda _: None)  # type: ignore[arg-type]
    assert list(found) == [KEY]


@pytest.mark.parametrize("error", ANYTHING, ids=lambda error: type(error).__name__)
def test_without_time_to_wait_a_failed_read_is_an_error(error: Exception) -> None:
    """No other read might succeed."""
    with pytest.raises(type(error)):
        await_outcomes(Failing(error), [KEY], 0)  # type: ignore[arg-type]


def test_a_refusal_of_aws_is_reported_at_once() -> None:
    """AWS would refuse it later too."""
    denied = ClientError({"Error": {"Code": "AccessDeniedException"}}, "BatchGetItem")
    error = StoreUnavailableError("denied")
    error.__cause__ = denied
    with pytest.raises(StoreUnavailableError):
        await_outcomes(Failing(error), [KEY], 60, sleep=lambda _: None)  # type: ignore[arg-type]


# --- listening -----------------------------------------------------------------------------


class Topic:
    """A subscription whose polls return the given results: an event, an error, or nothing."""

    def __init__(self, *coming: str | Exception | None) -> None:
        self.coming = list(coming)
        self.waits: list[int] = []
        self.wanted: object = None
        self.open = False
        self.silence: Callable[[float], None] = lambda _: None

    @contextmanager
    def subscription(self, *_: object, wanted: object, **__: object) -> Iterator[Topic]:
        """Replace `temporary_subscription`."""
        if self.coming and isinstance(self.coming[0], Exception):
            raise self.coming[0]
        self.wanted, self.open = wanted, True
        yield self
        self.open = False

    def poll(self, wait: int) -> list[str]:
        """Return the next result at once; without one, wait for the full time."""
        assert self.open
        self.waits.append(wait)
        body = self.coming.pop(0) if self.coming else None
        if isinstance(body, Exception):
            raise body
        if body is None:
            self.silence(wait)
            return []
        return [body]


ANSWER = json.dumps({"type": "biome.user.UserRegistered.v1", "causationid": KEY.command_id})
OTHER = json.dumps({"type": "biome.user.UserRegistered.v1", "causationid": NEVER.command_id})


@pytest.fixture
def time_flies(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that only waiting advances."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr("operations.outcomes.time.monotonic", lambda: now[0])
    monkeypatch.setattr("operations.outcomes.time.sleep", sleep)
    return sleep


def listened(
    monkeypatch: pytest.MonkeyPatch,
    topic: Topic,
    sleep: Callable[[float], None],
    reads: int,
    seconds: float = 600,
    *,
    progress: Progress = NO_PROGRESS,
) -> int:
    """Wait for an outcome that the nth read finds; return the number of reads."""
    known = MemoryUserRepository(MemoryStore())
    record(known, REGISTERED)
    count = 0

    class Repository:
        def load(self, request: LoadRequest) -> Snapshot:
            """Find the outcome from the nth read on."""
            nonlocal count
            count += 1
            return known.load(request) if count >= reads else Snapshot()

    topic.silence = sleep
    monkeypatch.setattr(outcomes, "temporary_subscription", topic.subscription)
    listen = listener(Aws(Settings()), [KEY.command_id], progress)
    await_outcomes(Repository(), [KEY], seconds, sleep=sleep, listen=listen)  # type: ignore[arg-type]
    return count


def test_what_is_there_in_a_moment_is_not_listened_for(
    monkeypatch: pytest.MonkeyPatch, time_flies: Callable[[float], None]
) -> None:
    """A queue and a subscription cost more than a few reads."""
    topic = Topic()
    listened(monkeypatch, topic, time_flies, reads=6)
    assert topic.wanted is None


def test_it_reads_once_more_when_it_has_begun_to_listen(
    monkeypatch: pytest.MonkeyPatch, time_flies: Callable[[float], None]
) -> None:
    """Otherwise it would miss an event published in between."""
    topic = Topic()
    listened(monkeypatch, topic, time_flies, reads=8)
    assert topic.wanted == {"causationid": [KEY.command_id]}
    assert topic.waits == []
    assert not topic.open


def test_an_answer_ends_the_silence_and_anothers_does_not(
    monkeypatch: pytest.MonkeyPatch, time_flies: Callable[[float], None]
) -> None:
    """An emulator may not filter, and anyone may publish."""
    topic = Topic(OTHER, "junk", None, None, ANSWER)
    reads = listened(monkeypatch, topic, time_flies, reads=11)
    assert (reads, topic.coming, topic.waits) == (11, [], [1, 1, 1, 2, 4])


def test_in_silence_it_reads_ever_less(
    monkeypatch: pytest.MonkeyPatch, time_flies: Callable[[float], None]
) -> None:
    """It does read: a duplicate command has no event on the topic.

    Ten minutes are forty reads.
    """
    topic = Topic()
    reads = listened(monkeypatch, topic, time_flies, reads=10_000)
    assert topic.waits[:6] == [1, 2, 4, 8, 16, 20]
    assert reads < 45


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (
            ClientError({"Error": {"Code": "AuthorizationError"}}, "Subscribe"),
            "AuthorizationError",
        ),
        (RuntimeError("refreshed credentials are still expired"), "RuntimeError"),
        (KeyError("QueueUrl"), "KeyError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_if_it_cannot_listen_it_reads_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
    time_flies: Callable[[float], None],
    error: Exception,
    code: str,
) -> None:
    """It reports this, whatever the reason."""
    topic, progress = Topic(error), RecordedProgress()
    reads = listened(monkeypatch, topic, time_flies, reads=10_000, seconds=30, progress=progress)
    assert 30 <= reads <= 40
    [note] = progress.notes
    assert f"cannot subscribe to the topic ({code})" in note


@pytest.mark.parametrize(
    "error",
    [EndpointConnectionError(endpoint_url="http://sqs"), *ANYTHING],
    ids=lambda error: type(error).__name__,
)
def test_a_poll_that_fails_is_a_silence(
    monkeypatch: pytest.MonkeyPatch, time_flies: Callable[[float], None], error: Exception
) -> None:
    """The reads continue."""
    topic = Topic(None, error, None)
    assert listened(monkeypatch, topic, time_flies, reads=12) == 12


def test_too_many_commands_for_a_filter_are_not_listened_for() -> None:
    """SNS would refuse the filter policy."""
    assert listener(Aws(Settings()), [str(i) for i in range(101)]) is None
