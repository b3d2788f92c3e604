"""With two queues and more messages than a worker can handle, no queue starves or piles up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ResourceNames
from tests.e2e.system import PREFORK
from tests.e2e.worker_process import Queues, WorkerProcess, eventually, worker

SOLO = ("-P", "solo")
FLOOD = 300


@pytest.fixture
def urgent(aws_endpoint: str) -> Iterator[Queues]:
    """The queue with priority."""
    queues = Queues.create(ResourceNames.unique(), aws_endpoint, 30)
    yield queues
    queues.delete()


@contextmanager
def worker_on_both(
    queues: Queues, urgent: Queues, endpoint: str, folder: Path
) -> Iterator[WorkerProcess]:
    """Run a worker that takes one batch at a time from either queue."""
    with worker(
        queues.names,
        endpoint,
        folder,
        SOLO,
        USER_WORKER_PRIORITY_QUEUE=urgent.names.command_queue,
        USER_WORKER_BATCH_SIZE="10",
    ) as running:
        yield running


def flood(queues: Queues) -> list[str]:
    """Send more messages than a worker can handle while a test observes it."""
    return queues.send(*[{"seconds": 0.1} for _ in range(FLOOD)])


def batches_before_the_last_of(running: WorkerProcess, ids: Sequence[str]) -> int:
    """Count the batches that started before the batch with the last of these messages."""
    starts = [{m["message_id"] for m in row["messages"]} for row in running.records("start")]
    return max(place for place, batch in enumerate(starts) if batch & {*ids})


def test_the_urgent_queue_goes_first_and_the_other_does_not_starve(
    queues: Queues, urgent: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """With both queues full, most batches are urgent, and one in five is normal."""
    normal_ids, urgent_ids = flood(queues), flood(urgent)
    with worker_on_both(queues, urgent, aws_endpoint, tmp_path) as running:
        eventually(lambda: len(running.records("end")) >= 25, what="25 batches")
        first = [row["messages"][0]["message_id"] for row in running.records("start")][:25]
    normal = sum(each in normal_ids for each in first)
    assert normal + sum(each in urgent_ids for each in first) == 25
    assert 3 <= normal <= 7


def test_a_few_normal_messages_end_under_a_flood_of_urgent_ones(
    queues: Queues, urgent: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """The ten messages wait for about five batches, not for the end of the flood."""
    flood(urgent)
    with worker_on_both(queues, urgent, aws_endpoint, tmp_path) as running:
        eventually(lambda: len(running.records("end")) >= 3, what="the flood under way")
        before = len(running.records("start"))
        few = queues.send(*[{} for _ in range(10)])
        eventually(lambda: {*few} <= {*running.handled()}, what="the few")
        assert batches_before_the_last_of(running, few) - before <= 15
        assert urgent.depth()[0] > 0, "the flood goes on"


def test_a_few_urgent_messages_pass_a_flood_of_normal_ones(
    queues: Queues, urgent: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """The urgent messages wait only for the batches in progress."""
    flood(queues)
    with worker_on_both(queues, urgent, aws_endpoint, tmp_path) as running:
        eventually(lambda: len(running.records("end")) >= 3, what="the flood under way")
        before = len(running.records("start"))
        few = urgent.send(*[{} for _ in range(10)])
        eventually(lambda: {*few} <= {*running.handled()}, what="the few")
        assert batches_before_the_last_of(running, few) - before <= 8
        assert queues.depth()[0] > 0, "the flood goes on"


def test_what_is_in_flight_is_bounded_when_work_does_not_keep_up(
    queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """Two batches run, two wait and three may be in transit. The rest stays in the queue."""
    queues.send(*[{"seconds": 1} for _ in range(FLOOD)])
    ten = {"USER_WORKER_BATCH_SIZE": "10"}
    with worker(queues.names, aws_endpoint, tmp_path, PREFORK, **ten) as running:
        in_flight: list[int] = []

        def worked_off_some() -> bool:
            in_flight.append(queues.depth()[1])
            return len(running.records("end")) >= 6

        eventually(worked_off_some, what="six batches")
    assert max(in_flight) <= 70
    assert len(running.handled("start")) < FLOOD / 2, "else it shows nothing"
