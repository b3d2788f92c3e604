"""The order in which queues are served."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from worker.transport.turns import PRIORITY_IN_A_ROW, Turns

QUEUES = ("commands", "a", "b", "c", "urgent")


def turns(*queues: str, priority: str | None = None) -> Turns:
    """Return the turns of these queues."""
    made = Turns(priority)
    for queue in queues:
        made.add(queue)
    return made


def serve(served: Turns, waiting: Counter[str], batches: int) -> list[str]:
    """Take so many batches; return their queues."""
    taken: list[str] = []
    for _ in range(batches):
        queue = next(each for each in served.order() if waiting[each])
        waiting[queue] -= 1
        served.served(queue)
        taken.append(queue)
    return taken


def test_full_queues_take_turns() -> None:
    """No queue goes before another one, however the settings order them."""
    waiting = Counter(dict.fromkeys("abc", 9))
    assert "".join(serve(turns(*"abc"), waiting, 7)) == "abcabca"


def test_a_flooded_queue_delays_the_others_by_one_batch() -> None:
    """A queue that had nothing waiting is served next."""
    flooded = turns(*"abc")
    waiting = Counter(a=99)
    assert "".join(serve(flooded, waiting, 5)) == "aaaaa"
    waiting["b"] += 2
    assert "".join(serve(flooded, waiting, 4)) == "baba"
    waiting.update("bc")
    assert "".join(serve(flooded, waiting, 4)) == "cbaa"


def test_the_priority_queue_goes_first_and_leaves_each_other_queue_a_share() -> None:
    """After four of its batches comes one of the others, which take turns."""
    waiting = Counter(dict.fromkeys("uab", 99))
    assert "".join(serve(turns(*"abu", priority="u"), waiting, 12)) == "uuuuauuuubuu"


def test_a_batch_need_not_wait_for_four_that_went_before_it() -> None:
    """The priority queue alone uses up its row; a batch that arrives then is served at once."""
    served = turns(*"au", priority="u")
    waiting = Counter(u=99)
    serve(served, waiting, 6)
    waiting["a"] += 1
    assert "".join(serve(served, waiting, 3)) == "auu"


def test_a_priority_queue_that_is_not_served_changes_nothing() -> None:
    """Celery's -Q may leave it out."""
    waiting = Counter(dict.fromkeys("ab", 9))
    assert "".join(serve(turns(*"ab", priority="u"), waiting, 4)) == "abab"


@given(
    arrivals=st.lists(st.lists(st.sampled_from(QUEUES), max_size=6), max_size=40),
    priority=st.sampled_from([None, "urgent"]),
)
def test_no_batch_waits_for_more_than_a_turn_of_each_other_queue(
    arrivals: list[list[str]], priority: str | None
) -> None:
    """In any order of arrival, the first waiting batch of a queue is served within a bound."""
    served = turns(*QUEUES, priority=priority)
    waiting: Counter[str] = Counter()
    waited: Counter[str] = Counter()
    others = len(QUEUES) - 1 if priority is None else len(QUEUES) - 2
    bound = others if priority is None else others + PRIORITY_IN_A_ROW * (others + 1)
    for arrived in [*arrivals, *[[]] * 200]:
        waiting.update(arrived)
        if not waiting.total():
            continue
        (queue,) = serve(served, waiting, 1)
        waited = Counter({q: waited[q] + 1 for q in QUEUES if waiting[q] and q != queue})
        late = {q: n for q, n in waited.items() if q != priority and n > bound}
        assert late == {}
        if priority is not None:
            assert waited[priority] <= 1
    assert waiting.total() == 0
