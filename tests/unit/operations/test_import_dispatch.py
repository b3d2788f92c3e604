from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from adapters.sqs.sending import QueueMessage
from operations.bulk_import.dispatch import ATTEMPTS, SENDER_THREADS, Dispatcher, Parcel
from worker.errors import CliError

URL = "http://sqs/commands"


class Sqs:
    """An SQS that counts calls, and raises the `failures` in its first calls, one per call."""

    def __init__(self, *failures: Exception | None) -> None:
        self.sent: list[int] = []
        self.groups: list[str | None] = []
        self.calls = 0
        self.most_at_once = 0
        self._at_once = 0
        self._failures = list(failures)
        self._lock = threading.Lock()
        self.refused: set[int] = set()
        self.together: threading.Barrier | None = None

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        """Accept entries whose bodies are the rows' numbers."""
        with self._lock:
            self.calls += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            failure = self._failures.pop(0) if self._failures else None
        if self.together is not None:
            self.together.wait(30)
        with self._lock:
            self._at_once -= 1
            if failure is not None:
                raise failure
            rows = {entry["Id"]: int(json.loads(entry["MessageBody"])) for entry in Entries}
            bad = [key for key, row in rows.items() if row in self.refused]
            self.sent += [row for key, row in rows.items() if key not in bad]
            self.groups += [entry.get("MessageGroupId") for entry in Entries]
        return {
            "Successful": [{"Id": key, "MessageId": key} for key in rows if key not in bad],
            "Failed": [{"Id": key, "Code": "Odd", "SenderFault": True} for key in bad],
        }


def refusal(code: str, status: int) -> ClientError:
    """Create an error answer."""
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "SendMessageBatch")


ANYTHING = [
    RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a proxy's page"),
    KeyError("Successful"),
    OSError(24, "too many open files"),
]
"""Errors that botocore raises, including some that no list of its exceptions has."""
GONE = EndpointConnectionError(endpoint_url="http://sqs")


def parcels(count: int, group: str | None = None) -> Iterator[Parcel]:
    """Create rows."""
    return (Parcel(n, QueueMessage(str(n), group)) for n in range(1, count + 1))


def test_progress_moves_with_each_batch_at_a_low_rate() -> None:
    """What the queue has accepted is acknowledged before the next batch is due."""
    sqs, acknowledged, before = Sqs(), list[int](), list[int]()

    def sleep(_: float) -> None:
        expected = 10 * (len(before) + 1)
        deadline = time.monotonic() + 30
        while len(sqs.sent) < expected and time.monotonic() < deadline:
            time.sleep(0.001)
        before.append(len(acknowledged))

    slow = dispatcher(sqs, rate=10.0, clock=lambda: 0.0, sleep=sleep)
    slow.send(parcels(100), acknowledged.extend)
    assert len(acknowledged) == 100
    assert len(before) == 9
    # one batch may have been accepted whose call has not returned yet
    assert all(done >= 10 * (number - 1) for number, done in enumerate(before)), before


def dispatcher(sqs: Any, url: str = URL, **options: Any) -> Dispatcher:
    """Create a dispatcher that does not wait."""
    return Dispatcher(sqs, url, **{"sleep": lambda seconds: None, **options})


def test_every_row_goes_once_in_batches_of_ten_and_is_acknowledged() -> None:
    """Acknowledged in the caller's thread, which alone writes the journal."""
    sqs, told = Sqs(), list[int]()
    threads = set()

    def acknowledge(rows: list[int]) -> None:
        threads.add(threading.current_thread())
        told.extend(rows)

    dispatcher(sqs).send(parcels(1005), acknowledge)
    assert sorted(sqs.sent) == sorted(told) == list(range(1, 1006))
    assert sqs.calls == 101
    assert threads == {threading.current_thread()}


def test_several_batches_are_in_flight_at_once() -> None:
    """All threads send: none of these calls ends before the others have started."""
    sqs = Sqs()
    sqs.together = threading.Barrier(SENDER_THREADS)
    dispatcher(sqs).send(parcels(10 * SENDER_THREADS), lambda rows: None)
    assert sqs.most_at_once == SENDER_THREADS


def test_on_a_fifo_queue_rows_stay_in_order() -> None:
    """One batch is sent at a time, and each has its group."""
    sqs = Sqs()
    dispatcher(sqs, f"{URL}.fifo").send(parcels(95, "g"), lambda rows: None)
    assert sqs.sent == list(range(1, 96))
    assert sqs.most_at_once == 1
    assert set(sqs.groups) == {"g"}


def test_rows_are_taken_as_they_are_sent() -> None:
    """A file of any length is never in memory as a whole."""
    sqs, ahead = Sqs(), list[int]()
    taken = 0

    def counted() -> Iterator[Parcel]:
        nonlocal taken
        for parcel in parcels(2000):
            taken += 1
            yield parcel

    done = 0

    def acknowledge(rows: list[int]) -> None:
        nonlocal done
        ahead.append(taken - done)
        done += len(rows)

    dispatcher(sqs).send(counted(), acknowledge)
    assert done == 2000
    assert max(ahead) <= 2 * SENDER_THREADS * 10


@pytest.mark.parametrize(
    "failure",
    [GONE, refusal("InternalFailure", 500), refusal("ThrottlingException", 400), *ANYTHING],
    ids=lambda failure: f"{type(failure).__name__} {failure}"[:40],
)
def test_what_may_pass_is_tried_again(failure: Exception) -> None:
    """An outage of seconds does not end an import of an hour."""
    sqs, told = Sqs(*[failure] * (ATTEMPTS - 1)), list[int]()
    dispatcher(sqs, f"{URL}.fifo").send(parcels(25, "g"), told.extend)
    assert sorted(told) == list(range(1, 26))


def test_an_outage_ends_it_and_all_that_was_taken_is_acknowledged() -> None:
    """Therefore the import can resume from there."""
    sqs, told = Sqs(*[None] * 3, *[GONE] * 1000), list[int]()
    with pytest.raises(EndpointConnectionError):
        dispatcher(sqs).send(parcels(1000), told.extend)
    assert sorted(told) == sorted(sqs.sent)
    assert len(told) == 30
    assert sqs.calls <= 3 + 2 * SENDER_THREADS * ATTEMPTS


@pytest.mark.parametrize("failure", ANYTHING, ids=lambda failure: type(failure).__name__)
def test_whatever_ends_it_all_that_was_taken_is_acknowledged(failure: Exception) -> None:
    """The command line reports one error, with the name of the class."""
    sqs, told = Sqs(*[None] * 3, *[failure] * 1000), list[int]()
    with pytest.raises(CliError, match=f"sending failed: {type(failure).__name__}") as caught:
        dispatcher(sqs).send(parcels(1000), told.extend)
    assert caught.value.__cause__ is failure
    assert sorted(told) == sorted(sqs.sent)
    assert len(told) == 30


def test_what_will_not_pass_is_not_tried_again() -> None:
    """A missing permission is not retried."""
    sqs = Sqs(*[refusal("AccessDenied", 403)] * 1000)
    with pytest.raises(ClientError):
        dispatcher(sqs, f"{URL}.fifo").send(parcels(1000, "g"), lambda rows: None)
    assert sqs.calls <= 2  # one more may have been in flight


def test_a_refused_row_ends_it_and_the_others_of_its_batch_are_acknowledged() -> None:
    """They are on the queue."""
    sqs, told = Sqs(), list[int]()
    sqs.refused = {3}
    with pytest.raises(CliError, match="rejected a row: Odd"):
        dispatcher(sqs).send(parcels(10), told.extend)
    assert told == sqs.sent == [1, 2, 4, 5, 6, 7, 8, 9, 10]


def test_an_interruption_acknowledges_what_was_in_flight() -> None:
    """Ctrl-C may come while rows are read or batches are awaited."""
    sqs, told = Sqs(), list[int]()

    def interrupted() -> Iterator[Parcel]:
        yield from parcels(100)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dispatcher(sqs).send(interrupted(), told.extend)
    assert sorted(told) == sorted(sqs.sent)


def test_an_interruption_while_a_batch_is_noted_loses_none() -> None:
    """Its rows are acknowledged again, rather than not at all."""
    sqs, told = Sqs(), list[int]()

    def acknowledge(rows: list[int]) -> None:
        if not told:
            told.append(0)
            raise KeyboardInterrupt
        told.extend(rows)

    with pytest.raises(KeyboardInterrupt):
        dispatcher(sqs).send(parcels(300), acknowledge)
    assert sorted(told)[1:] == sorted(sqs.sent)


def test_a_journal_that_cannot_be_written_ends_it() -> None:
    """Sending stops soon if the journal cannot be written."""
    sqs = Sqs()

    def full(rows: list[int]) -> None:
        raise CliError("cannot write the journal")

    with pytest.raises(CliError, match="cannot write the journal"):
        dispatcher(sqs).send(parcels(10_000), full)
    assert sqs.calls <= 4 * SENDER_THREADS


def test_a_rate_spaces_the_batches() -> None:
    """Ten rows at 20 per second take 0.5 s; lost time is not made up for by a burst."""
    now, waits = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    paced = dispatcher(Sqs(), f"{URL}.fifo", rate=20.0, clock=lambda: now[0], sleep=sleep)
    paced.send(parcels(50, None), lambda rows: None)
    assert waits == [0.5] * 4
