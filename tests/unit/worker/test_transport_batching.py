"""Decisions about which messages run together."""

from __future__ import annotations

import pickle

import pytest

from application.queue_port import RawMessage
from worker.transport.batching import Batch, as_task_argument, into_batches, joined, return_delay

from .test_transport_in_flight import raw


def _split(*messages: RawMessage, fifo: bool = False) -> list[list[str]]:
    batches = into_batches("q", messages, fifo=fifo)
    return [batch.receipts for batch in batches]


def test_one_receive_is_one_batch_in_its_order() -> None:
    """Ten messages, one task."""
    assert _split(*[raw(str(n)) for n in range(10)]) == [[str(n) for n in range(10)]]
    assert _split() == []


def test_from_the_third_receive_on_a_message_runs_alone() -> None:
    """The others stay together."""
    raws = [raw("a"), raw("b", receives=3), raw("c", receives=2), raw("d", receives=7)]
    assert _split(*raws) == [["a", "c"], ["b"], ["d"]]


def test_a_suspects_fifo_group_runs_alone_in_order() -> None:
    """Later messages of its group must wait for it; other groups need not."""
    raws = [raw("a1", "a", 3), raw("b1", "b"), raw("a2", "a"), raw("b2", "b")]
    assert _split(*raws, fifo=True) == [["b1", "b2"], ["a1", "a2"]]


def test_a_group_id_means_nothing_on_a_standard_queue() -> None:
    """Fair queues have group ids too."""
    assert _split(raw("a1", "a", 3), raw("a2", "a")) == [["a2"], ["a1"]]


def _batch(number: int, *messages: RawMessage) -> Batch:
    return Batch(number, "q", messages)


def test_neighbours_join_in_the_order_received() -> None:
    """One task, one order: a FIFO group keeps its order."""
    both = joined(_batch(1, raw("a1", "a"), raw("b1", "b")), _batch(2, raw("a2", "a")), 3)
    assert both is not None
    assert both.receipts == ["a1", "b1", "a2"]
    assert both.number == 1


@pytest.mark.parametrize(
    ("first", "second", "most"),
    [
        ((raw("a"), raw("b")), (raw("c"),), 2),
        ((raw("a", receives=3),), (raw("b"),), 30),
        ((raw("a"),), (raw("b", receives=3),), 30),
        ((), (raw("a"),), 30),
        ((raw("a"),), (), 30),
    ],
    ids=["too many", "suspect first", "suspect second", "probe first", "probe second"],
)
def test_what_does_not_fit_or_has_to_run_alone_joins_nothing(
    first: tuple[RawMessage, ...], second: tuple[RawMessage, ...], most: int
) -> None:
    """From the third receive on a message runs alone, and so does a probe, at any load."""
    assert joined(_batch(1, *first), _batch(2, *second), most) is None


def test_a_batch_without_a_result_is_retried_with_increasing_delays() -> None:
    """One delay for all of it."""
    assert return_delay(Batch(1, "q", (raw("a"), raw("b", receives=2)))) == 0
    delays = {return_delay(Batch(1, "q", (raw("a", receives=12),))) for _ in range(50)}
    assert min(delays) >= 1
    assert max(delays) <= 900
    assert len(delays) > 10


def test_no_repr_shows_a_body_or_a_receipt() -> None:
    """Neither that of the task's argument nor that of the batch, also when pickled for a child."""
    batch = Batch(1, "q", (raw("the-receipt", body="the-body"),))
    argument = as_task_argument(batch, fifo=False)
    assert argument[0]["body"] == "the-body"
    assert pickle.loads(pickle.dumps(argument)) == argument
    for text in (repr(argument), repr(pickle.loads(pickle.dumps(argument))), repr(batch)):
        assert "the-" not in text
