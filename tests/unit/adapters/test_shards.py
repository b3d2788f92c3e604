from __future__ import annotations

from collections.abc import Callable

import pytest

from adapters.dynamodb import outbox as dynamodb
from adapters.memory import store as memory


@pytest.mark.parametrize(
    "shuffled_shards",
    [dynamodb.shuffled_shards, memory.shuffled_shards],
    ids=["dynamodb", "memory"],
)
def test_every_shard_is_looked_at_in_its_turn(
    shuffled_shards: Callable[[], Callable[[], int]],
) -> None:
    """An entry waits for at most eight passes; a random choice would have no bound."""
    choose = shuffled_shards()
    for _ in range(3):
        assert sorted(choose() for _ in range(8)) == list(range(8))


def test_relays_look_in_orders_of_their_own() -> None:
    """Otherwise relays that start together would read the same shards at once."""
    orders = {tuple(choose() for _ in range(8)) for choose in _many()}
    assert len(orders) > 1


def _many() -> list[Callable[[], int]]:
    return [dynamodb.shuffled_shards() for _ in range(20)]
