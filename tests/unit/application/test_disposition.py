from __future__ import annotations

import pytest
from celery.utils.saferepr import saferepr
from hypothesis import given
from hypothesis import strategies as st

from application.disposition import Ack, DeadLetter, Disposition, Dispositions, Retry

settlements: st.SearchStrategy[Disposition] = st.one_of(
    st.just(Ack()),
    st.builds(Retry, st.integers(0, 43_200)),
    st.builds(
        DeadLetter,
        st.text(),
        st.text(),
        st.none() | st.text(),
        st.booleans(),
        st.none() | st.text(),
    ),
)


maybe: st.SearchStrategy[bool | None] = st.sampled_from([None, True, False])


@given(st.lists(settlements, max_size=30), maybe, maybe)
def test_settlements_survive_the_only_way_celery_gives_them_to_the_parent(
    items: list[Disposition], store: bool | None, topic: bool | None
) -> None:
    """Celery shortens and quotes known types; it does not change an object's own repr."""
    result = Dispositions(tuple(items), store, topic)
    assert Dispositions.parse(saferepr(result, 10_000_000)) == result


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '"done"',
        "[]",
        "[[]]",
        "[null]",
        "[null, null]",
        "[null, null, {}]",
        '["x", null, []]',
        "[null, 1, []]",
        '[null, null, [["done", 1]]]',
        '[null, null, [["later"]]]',
        '[null, null, [["later", "1"]]]',
        '[null, null, [["dead"]]]',
    ],
)
def test_an_invalid_list_of_settlements_is_refused(text: str) -> None:
    """A truncated result must not be read as another one."""
    with pytest.raises(ValueError, match=r"disposition|Expecting"):
        Dispositions.parse(text)
