from __future__ import annotations

from itertools import pairwise
from operator import itemgetter

from hypothesis import given
from hypothesis import strategies as st

from adapters.aws.batching import MAX_CALL_BYTES, in_calls
from application.queue_port import MAX_BATCH

sizes = st.one_of(st.integers(0, 60_000), st.integers(MAX_CALL_BYTES - 2, MAX_CALL_BYTES + 2))
entries = st.lists(st.tuples(sizes, st.sampled_from("abc")), max_size=40)


@given(entries)
def test_calls_are_as_full_as_they_may_be_and_nothing_is_lost(
    rows: list[tuple[int, str]],
) -> None:
    """In order; only a call with one oversized entry exceeds the limits of SQS and SNS."""
    calls = list(in_calls(rows, itemgetter(0)))
    assert [row for call in calls for row in call] == rows
    for call in calls:
        assert 1 <= len(call) <= MAX_BATCH
        assert len(call) == 1 or sum(size for size, _ in call) <= MAX_CALL_BYTES
    for call, following in pairwise(calls):
        size = sum(size for size, _ in call) + following[0][0]
        assert len(call) == MAX_BATCH or size > MAX_CALL_BYTES


@given(entries)
def test_what_has_to_stay_apart_does(rows: list[tuple[int, str]]) -> None:
    """SQS may refuse the first of two messages of a FIFO group and accept the second."""
    calls = list(in_calls(rows, itemgetter(0), itemgetter(1)))
    assert [row for call in calls for row in call] == rows
    assert all(len({group for _, group in call}) == len(call) for call in calls)
