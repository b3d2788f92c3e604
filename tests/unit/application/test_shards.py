from __future__ import annotations

from application.outbox import SHARDS, shuffled_shards


def test_every_shard_is_looked_at_in_its_turn() -> None:
    """An entry waits for at most eight passes; a random choice would have no bound."""
    choose = shuffled_shards()
    for _ in range(3):
        assert sorted(choose() for _ in range(SHARDS)) == list(range(SHARDS))


def test_relays_look_in_orders_of_their_own() -> None:
    """Otherwise relays that start together would read the same shards at once."""
    relays = [shuffled_shards() for _ in range(20)]
    orders = {tuple(choose() for _ in range(SHARDS)) for choose in relays}
    assert len(orders) > 1
