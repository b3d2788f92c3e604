"""Second pass over a file: send rows to the queue, several batches at a time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from adapters.sqs.sending import BatchSender, QueueMessage, SendReport
from application.backoff import Backoff
from application.queue_port import FIFO_SUFFIX, MAX_BATCH
from worker.errors import CliError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

SENDER_THREADS = 8
"""Batches in flight on a standard queue. On a FIFO queue it is one, to keep the rows in order."""
ATTEMPTS = 5
BACKOFF = Backoff(1.0, 8.0)
"""Maximum calls for one batch while AWS is unavailable, and the pauses between them.

Each call makes three attempts of its own.
"""
_FORBIDDEN = 400
_SERVER_ERRORS = 500
_THROTTLED = frozenset(
    {"Throttling", "ThrottlingException", "RequestThrottled", "TooManyRequestsException"}
)


class Parcel(NamedTuple):
    """A row to send."""

    number: int
    message: QueueMessage


class Sent(NamedTuple):
    """Result of sending a batch."""

    rows: list[int]
    """Numbers of the rows that the queue has accepted."""
    error: Exception | None
    """Reason why the other rows were not sent."""


class Dispatcher:
    """Sends rows in batches of ten."""

    def __init__(
        self,
        client: SQSClient,
        queue_url: str,
        *,
        rate: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        """Create a dispatcher for a queue, with a maximum of `rate` rows per second.

        `sleep` waits some seconds; the default returns early when sending stops.
        """
        self._stop = threading.Event()
        self._sleep: Callable[[float], object] = sleep or self._stop.wait
        self._sender = BatchSender(client, queue_url, sleep=self._sleep)
        self.fifo = queue_url.endswith(FIFO_SUFFIX)
        """Whether each row needs a message group."""
        self._sender_threads = 1 if self.fifo else SENDER_THREADS
        self._rate = rate
        self._clock = clock
        self._next = clock()

    def send(self, parcels: Iterable[Parcel], acknowledge: Callable[[list[int]], object]) -> None:
        """Send all rows; stop at the first that cannot be sent.

        `acknowledge` is called in the caller's thread with the rows of every batch that the queue
        has accepted, including batches that were in flight when sending stopped or was interrupted.
        It may receive a row twice.

        Raises:
            CliError: the queue rejects a row, or the SDK fails with an error that is not from AWS.
            ClientError: a call failed as a whole (or a BotoCoreError).
        """
        in_flight: deque[Future[Sent]] = deque()
        self._stop.clear()
        with ThreadPoolExecutor(self._sender_threads, "import") as pool:
            try:
                for batch in _batches(parcels):
                    self._keep_to_rate(len(batch))
                    in_flight.append(pool.submit(self._send_batch, batch))
                    while in_flight and (
                        in_flight[0].done() or len(in_flight) >= 2 * self._sender_threads
                    ):
                        _finish_oldest(in_flight, acknowledge)
                while in_flight:
                    _finish_oldest(in_flight, acknowledge)
            except BaseException:
                self._stop.set()
                for each in [each for each in in_flight if not each.cancel()]:
                    acknowledge(each.result().rows)  # its error is ignored: one is already raised
                raise

    def _keep_to_rate(self, rows: int) -> None:
        if self._rate is None:
            return
        now = self._clock()
        self._next = max(self._next, now)
        if self._next > now:
            self._sleep(self._next - now)
        self._next += rows / self._rate

    def _send_batch(self, batch: Sequence[Parcel]) -> Sent:
        """Send one batch, and retry the rows that AWS did not accept after a transient error."""
        left, rows = list(batch), list[int]()
        for attempt in range(1, ATTEMPTS + 1):
            report = self._sender.send([parcel.message for parcel in left])
            rows += [left[place].number for place in sorted(report.message_ids)]
            left = [each for place, each in enumerate(left) if place not in report.message_ids]
            if report.code is None:
                return Sent(sorted(rows), None)
            error = _translated(report)
            if attempt == ATTEMPTS or self._stop.is_set() or not _may_pass(error):
                return Sent(sorted(rows), error)
            self._sleep(BACKOFF.delay(attempt))
        raise AssertionError("unreachable")


def _batches(parcels: Iterable[Parcel]) -> Iterator[list[Parcel]]:
    rest = iter(parcels)
    while batch := list(islice(rest, MAX_BATCH)):
        yield batch


def _finish_oldest(
    in_flight: deque[Future[Sent]], acknowledge: Callable[[list[int]], object]
) -> None:
    """Wait for the batch that was submitted first, and acknowledge its rows.

    Raises:
        Exception: the reason why a row was not sent.
    """
    rows, error = in_flight[0].result()
    acknowledge(rows)
    in_flight.popleft()  # only now, so that an interruption does not lose its rows
    if error is not None:
        raise error


def _translated(report: SendReport) -> Exception:
    """Return the exception to raise for a batch that was not sent completely."""
    if report.error is None:
        return CliError(f"SQS rejected a row: {report.code}")
    if isinstance(report.error, (BotoCoreError, ClientError)):
        return report.error
    error = CliError(f"sending failed: {report.code}")
    error.__cause__ = report.error
    return error


def _may_pass(error: Exception) -> bool:
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", _FORBIDDEN)
        return status >= _SERVER_ERRORS or error.response.get("Error", {}).get("Code") in _THROTTLED
    # without a cause, SQS rejected the row itself
    return isinstance(error, BotoCoreError) or error.__cause__ is not None
