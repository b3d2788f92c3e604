from __future__ import annotations

import pytest
from celery.utils.saferepr import saferepr
from hypothesis import given
from hypothesis import strategies as st

from worker.settlement import Dead, Done, Later, Settlement, Settlements

settlements: st.SearchStrategy[Settlement] = st.one_of(
    st.just(Done()),
    st.builds(Later, st.integers(0, 43_200)),
    st.builds(Dead, st.text(), st.text(), st.none() | st.text()),
)


@given(st.lists(settlements, max_size=30))
def test_settlements_survive_the_only_way_celery_gives_them_to_the_parent(
    items: list[Settlement],
) -> None:
    """Celery cuts and quotes what it knows; an object's own repr it leaves alone."""
    given_back = saferepr(Settlements(tuple(items)), 10_000_000)
    assert Settlements.parse(given_back) == Settlements(tuple(items))


@pytest.mark.parametrize(
    "text",
    ["", "{}", '"done"', "[[]]", '[["done", 1]]', '[["later"]]', '[["later", "1"]]', '[["dead"]]'],
)
def test_what_is_no_list_of_settlements_is_refused(text: str) -> None:
    """A result cut short must not be taken for another one."""
    with pytest.raises(ValueError, match=r"settlement|Expecting"):
        Settlements.parse(text)
