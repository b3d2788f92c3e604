"""How long an incomplete batch waits in the buffer; the clock is a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.transport.batching import Batch, into_batches, probe
from worker.transport.buffer import LAST_POLL, SHORTEST_PAUSE, Buffer

from .test_transport_in_flight import raw

WAIT, FULL = 0.2, 20


@dataclass
class World:
    """A buffer whose clock and wait a test sets."""

    now: float = 1000.0
    wait: float = WAIT
    limit: int = 8
    numbers: int = 0
    buffer: Buffer = field(init=False)

    def __post_init__(self) -> None:
        self.buffer = Buffer(
            lambda: self.limit, wait=lambda: self.wait, full=FULL, clock=lambda: self.now
        )

    def receive(
        self,
        count: int,
        *,
        receives: int = 1,
        group: str | None = None,
        waits_since: float | None = None,
    ) -> list[str]:
        """Put the messages of one receive; return their receipts."""
        raws = [raw(f"{self.numbers + n}", group, receives) for n in range(count)]
        self.numbers += count
        for batch in into_batches("q", raws, fifo=group is not None):
            assert self.buffer.put(batch, waits_since)
        return [each.receipt for each in raws]

    def has_room(self) -> bool:
        """Return True if a receiver would poll now."""
        return self.buffer._may_receive(False)


def _sizes(batches: Sequence[Batch | None]) -> list[int]:
    return [len(batch.messages) for batch in batches if batch is not None]


def test_without_a_wait_a_batch_starts_at_once_and_nothing_is_joined() -> None:
    """This is the default: two receives stay two tasks while two may start."""
    world = World(wait=0.0)
    world.receive(1)
    world.receive(1)
    assert world.buffer.starts_in() == 0
    assert _sizes([world.buffer.take(0), world.buffer.take(0)]) == [1, 1]
    assert world.buffer.starts_in() is None


def test_receives_within_the_wait_become_one_batch_in_their_order() -> None:
    """The batch fills while it waits, and starts when the wait ends."""
    world = World()
    receipts = world.receive(1)
    for _ in range(3):
        world.now += 0.05
        receipts += world.receive(2)
        assert world.buffer.take(0) is None
    world.now += 0.05
    batch = world.buffer.take(0)
    assert batch is not None
    assert batch.receipts == receipts
    assert world.buffer.take(0) is None


def test_the_wait_begins_with_the_first_message() -> None:
    """Later messages do not extend it."""
    world = World()
    world.receive(1)
    world.now += 0.15
    world.receive(1)
    assert world.buffer.starts_in() == pytest.approx(0.05)
    world.now += 0.05
    assert _sizes([world.buffer.take(0)]) == [2]


def test_a_full_batch_starts_at_once() -> None:
    """Also if it became full by several receives."""
    world = World()
    world.receive(10)
    assert world.buffer.take(0) is None
    world.receive(10)
    assert world.buffer.starts_in() == 0
    assert _sizes([world.buffer.take(0)]) == [20]


def test_a_batch_that_cannot_take_the_next_receive_starts_at_once() -> None:
    """Only neighbours are joined, so that nothing more can be joined to it."""
    world = World()
    world.receive(9)
    world.receive(9)
    world.receive(9)
    assert _sizes([world.buffer.take(0)]) == [18]
    assert world.buffer.take(0) is None, "the rest waits for its own time"
    world.now += WAIT
    assert _sizes([world.buffer.take(0)]) == [9]


def test_messages_that_run_apart_and_probes_do_not_wait() -> None:
    """Nothing is joined to them; a waiting batch before them starts too."""
    world = World()
    world.receive(1, receives=3)
    assert _sizes([world.buffer.take(0)]) == [1]
    assert world.buffer.put(probe("q"))
    assert _sizes([world.buffer.take(0)]) == [0]
    world.receive(1)
    world.receive(1, receives=3)
    assert _sizes([world.buffer.take(0), world.buffer.take(0)]) == [1, 1]


def test_a_wait_that_is_called_off_ends_at_once() -> None:
    """As when the breaker opens: nothing arrives any more."""
    world = World()
    world.receive(1)
    assert world.buffer.take(0) is None
    world.wait = 0.0
    assert world.buffer.starts_in() == 0
    assert _sizes([world.buffer.take(0)]) == [1]


def test_an_incomplete_batch_leaves_room_for_the_messages_that_fill_it() -> None:
    """A worker with one child may buffer two receives; a full batch is both of them."""
    world = World(limit=2)
    for _ in range(19):
        world.receive(1)
        assert world.has_room()
    world.receive(1)
    assert not world.has_room()
    assert _sizes([world.buffer.take(0)]) == [20]


def test_a_full_buffer_never_waits() -> None:
    """Receiving stops, so that the batch could not fill: it must be startable."""
    for sizes in ([10, 10], [19, 1], [5] * 4, [9] * 3, [1] * 40, [10] * 9):
        world = World(limit=2)
        for size in sizes:
            if world.has_room():
                world.receive(size)
        if not world.has_room():
            assert world.buffer.starts_in() == 0, sizes


def test_a_closed_buffer_returns_what_waited() -> None:
    """A shutdown releases it, however long it could still wait."""
    world = World()
    receipts = world.receive(3) + world.receive(2)
    assert [batch.receipts for batch in world.buffer.close()] == [receipts]
    assert not world.buffer.put(probe("q"))
    assert world.buffer.take(0) is None
    assert world.buffer.pause() == 0


def test_polls_for_a_waiting_batch_are_spaced_by_its_age() -> None:
    """Few calls fill a batch, the last one just before the wait ends; each poll takes 10 ms."""
    world = World(wait=1.0)
    world.receive(1)
    polls = []
    while (pause := world.buffer.pause()) > 0:
        world.now += pause
        polls.append(world.now - 1000)
        world.now += 0.01
    assert polls[:4] == pytest.approx([0.01, 0.04, 0.1, 0.22])
    assert polls[-1] == pytest.approx(1 - LAST_POLL)
    assert len(polls) <= 7


def test_a_pause_of_the_receiver_is_a_part_of_the_wait() -> None:
    """Messages may have arrived when it began; those that did not fit wait for the rest of it."""
    world = World()
    world.receive(10)
    world.now += 0.1
    world.receive(9)
    world.receive(9, waits_since=1000.01)
    assert _sizes([world.buffer.take(0)]) == [19]
    assert world.buffer.starts_in() == pytest.approx(0.11)
    world.receive(1, waits_since=1000.0)
    assert world.buffer.starts_in() == pytest.approx(0.11)


def test_there_is_no_pause_without_a_waiting_batch_or_in_a_burst() -> None:
    """A full poll shows that more messages may be there."""
    world = World()
    assert world.buffer.pause() == 0
    world.receive(1)
    assert world.buffer.pause() == SHORTEST_PAUSE
    world.buffer.burst(True)
    assert world.buffer.pause() == 0
    world.buffer.burst(False)
    world.receive(10)
    world.receive(9)
    assert world.buffer.pause() == 0, "it is full"


@given(
    st.lists(st.tuples(st.floats(0, 0.1), st.integers(1, 10), st.sampled_from([1, 1, 1, 1, 2, 3])))
)
def test_no_message_waits_longer_or_is_lost_or_overtaken(
    arrivals: list[tuple[float, int, int]],
) -> None:
    """For any arrivals, if a batch is taken as soon as `starts_in` says."""
    world = World(limit=10**6)
    received_at: dict[str, float] = {}
    taken: list[str] = []

    def take_until(end: float) -> None:
        while (seconds := world.buffer.starts_in()) is not None and world.now + seconds <= end:
            world.now += seconds
            batch = world.buffer.take(0)
            assert batch is not None
            assert len(batch.messages) <= FULL
            for receipt in batch.receipts:
                assert world.now - received_at[receipt] <= WAIT + 1e-6
            taken.extend(batch.receipts)
        world.now = end

    for after, count, receives in arrivals:
        take_until(world.now + after)
        for receipt in world.receive(count, receives=receives):
            received_at[receipt] = world.now
    take_until(world.now + WAIT + 1)
    assert sorted(taken, key=int) == sorted(received_at, key=int)
    if all(receives < 3 for _, _, receives in arrivals):
        assert taken == list(received_at)
