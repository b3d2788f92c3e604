"""With three queues, one of them flooded, the commands of the others are decided promptly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import ResourceNames
from tests.e2e.system import THREADS
from tests.e2e.worker_process import Queues, WorkerProcess, eventually, worker

FLOOD = 400
SECONDS = 0.1
"""Duration of a batch of the flood."""
FEW = 5


@pytest.fixture(params=[False, True], ids=["standard", "fifo"])
def three(request: pytest.FixtureRequest, aws_endpoint: str) -> Iterator[list[Queues]]:
    """Three command queues."""
    with ExitStack() as stack:
        made = []
        for _ in range(3):
            names = ResourceNames.unique(fifo=request.param)
            made.append(Queues.create(names, aws_endpoint, 30))
            stack.callback(made[-1].delete)
        yield made


@contextmanager
def worker_on(three: list[Queues], endpoint: str, folder: Path) -> Iterator[WorkerProcess]:
    """Run a worker with one thread on all of them."""
    more = ",".join(queues.names.command_queue for queues in three[1:])
    with worker(
        three[0].names,
        endpoint,
        folder,
        (*THREADS[:2], "-c", "1"),
        USER_WORKER_ADDITIONAL_QUEUES=more,
        USER_WORKER_BATCH_SIZE="10",
    ) as running:
        yield running


def send(queues: Queues, count: int, **order: float) -> list[str]:
    """Send messages; on a FIFO queue, each with a group of its own."""
    if not queues.names.command_queue.endswith(".fifo"):
        return queues.send(*[order] * count)
    return [sent for n in range(count) for sent in queues.send(order, group=f"{n}")]


def handle(running: WorkerProcess, *messages: list[str]) -> None:
    """Wait until all of these messages are handled."""
    ids = {each for part in messages for each in part}
    eventually(lambda: ids <= {*running.handled()}, 60, "a batch with each message")


def batches_until(running: WorkerProcess, ids: list[str], since: int) -> int:
    """Count the batches that started from one on, up to the first with one of these messages."""
    starts = [{m["message_id"] for m in row["messages"]} for row in running.records("start")]
    return next(n for n, batch in enumerate(starts[since:], 1) if batch & {*ids})


def test_a_flood_of_one_queue_delays_the_others_by_its_turn(
    three: list[Queues], aws_endpoint: str, tmp_path: Path
) -> None:
    """Whichever is flooded: the few wait for some batches of the flood, and not for its end."""
    flooded, *others = three[1], three[0], three[2]
    send(flooded, FLOOD, seconds=SECONDS)
    with worker_on(three, aws_endpoint, tmp_path) as running:
        eventually(lambda: len(running.records("end")) >= 3, what="the flood under way")
        since = len(running.records("start"))
        few = [send(queues, FEW) for queues in others]
        handle(running, *few)
        for ids in few:
            assert batches_until(running, ids, since) <= 10
        assert flooded.depth()[0] > 0, "the few did not wait for the end of the flood"


def test_a_queue_that_is_deleted_does_not_stop_the_others(
    three: list[Queues], aws_endpoint: str, tmp_path: Path
) -> None:
    """It is logged once, and the other queues are served as before."""
    gone, *others = three[1], three[0], three[2]
    with worker_on(three, aws_endpoint, tmp_path) as running:
        for queues in three:
            handle(running, send(queues, FEW))
        gone.sqs.delete_queue(QueueUrl=gone.url)
        eventually(lambda: "receiving_failed" in running.log, 60, "a failed poll")
        for queues in others:
            handle(running, send(queues, FEW))
        assert running.log.count("receiving_failed") == 1
        gone.url = gone.sqs.create_queue(
            QueueName=gone.names.command_queue,
            Attributes={"VisibilityTimeout": "30"}
            | ({"FifoQueue": "true"} if gone.url.endswith(".fifo") else {}),
        )["QueueUrl"]
        handle(running, send(gone, FEW))
