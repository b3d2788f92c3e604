"""What the reader's cache may answer, for how long, and what it never answers."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from adapters.dynamodb import mapper
from biome_users import ReadCache, SessionRefusal, UserReader
from domain.user import Ban
from tests.builders import NOW, token, uid
from tests.persistence import new_user, session
from tests.unit.clients.reader_world import ADA, PHONE, World


@pytest.fixture
def world() -> World:
    """A world for this test only."""
    return World()


def test_only_who_asks_for_it_gets_what_is_cached(world: World) -> None:
    """A fresh read also stores its result for the callers that use the cache."""
    assert world.reader.get(ADA) == world.reader.get(ADA)
    assert world.reads == 2
    world.change(deactivated=True)
    cached, fresh = world.reader.get(ADA, cached=True), world.reader.get(ADA)
    assert cached is not None
    assert fresh is not None
    assert (cached.deactivated, fresh.deactivated) == (False, True)
    assert world.reads == 3


def test_a_cached_check_is_stale_for_the_seconds_stated_and_no_longer(world: World) -> None:
    """A ban is known after them at the latest."""
    check = world.reader.check_session
    assert check(ADA, PHONE, cached=True)
    world.change(ban=Ban("spam", None), live_sessions={})
    world.seconds = 9.9
    assert check(ADA, PHONE, cached=True)
    assert world.reads == 1
    world.seconds = 10.0
    assert check(ADA, PHONE, cached=True).refusal is SessionRefusal.USER_BANNED


def test_a_cached_session_still_expires_to_the_second(world: World) -> None:
    """Time is not cached."""
    clock = [NOW]
    reader = UserReader(client=world, cache=world.cache, clock=lambda: clock[0])
    assert reader.session_is_good(ADA, PHONE, cached=True)
    clock[0] = NOW + timedelta(days=30)
    refusal = reader.check_session(ADA, PHONE, cached=True).refusal
    assert refusal is SessionRefusal.SESSION_EXPIRED


def test_a_no_is_always_read_anew(world: World) -> None:
    """A session that has just started may continue at once, whatever was read before."""
    tablet = uid("session tablet")
    assert not world.reader.check_session(ADA, tablet, cached=True)
    live = {**world.user.live_sessions, tablet: session("tablet").expires_at}
    world.change(live_sessions=live)
    world.put(mapper.render_session(ADA, session("tablet")))
    assert world.reader.check_session(ADA, tablet, cached=True)


def test_a_session_is_not_taken_with_another_version_of_its_user(world: World) -> None:
    """So a newer version that another request has read takes effect at once."""
    assert world.reader.check_session(ADA, PHONE, cached=True)
    del world.table.items[f"USER#{ADA}", f"SESSION#{PHONE}"]
    world.change()
    world.reader.get(ADA)
    refusal = world.reader.check_session(ADA, PHONE, cached=True).refusal
    assert refusal is SessionRefusal.SESSION_NOT_FOUND


def test_what_is_forgotten_is_read_anew_even_if_a_read_was_under_way(world: World) -> None:
    """A subscriber's `forget` beats the answer of a read that began before it."""
    asked, told = threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        assert told.wait(30)

    world.table.in_order = lambda _: wait()
    reading = threading.Thread(target=lambda: world.reader.get(ADA))
    reading.start()
    assert asked.wait(30)
    world.seconds = 1.0
    world.reader.forget(ADA)
    told.set()
    reading.join(30)
    world.table.in_order = lambda _: None
    world.reader.get(ADA, cached=True)
    assert world.reads == 2


def test_a_token_is_never_checked_on_what_is_cached(world: World) -> None:
    """A check of a token reads the table, although the session is in the cache."""
    hashes = (token("phone family").value, token("phone 0").value)
    assert world.reader.check_session(ADA, PHONE)
    world.change(deactivated=True)
    refusal = world.reader.check_token(ADA, PHONE, *hashes).refusal
    assert refusal is SessionRefusal.USER_DEACTIVATED
    assert world.reads == 2


def test_the_cache_is_bounded_and_drops_what_was_used_longest_ago() -> None:
    """It counts hits, misses and evictions."""
    world = World(size=2)
    for name in ("grace", "mary"):
        world.put(mapper.render_user(new_user(name)))
    for name in ("ada", "grace", "ada", "mary", "ada", "grace"):
        assert world.reader.get(uid(name), cached=True)
    told = world.cache.statistics
    assert (told.hits, told.misses, told.evictions, told.entries) == (2, 4, 2, 2)
    assert told.hit_rate == pytest.approx(1 / 3)
    assert ReadCache().statistics.hit_rate == 0


def test_a_service_can_have_the_counts_as_metrics(world: World) -> None:
    """In its own OpenTelemetry: two checks of one session, the first of which is a read."""
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("login")
    world.cache.observe(meter)
    for _ in range(2):
        world.reader.check_session(ADA, PHONE, cached=True)
    data = reader.get_metrics_data()
    assert data is not None
    told = {
        (metric.name, *(point.attributes or {}).values()): getattr(point, "value", None)
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }
    assert told == {
        ("biome_users.cache.lookups", "hit"): 1,
        ("biome_users.cache.lookups", "miss"): 1,
        ("biome_users.cache.evictions",): 0,
        ("biome_users.cache.entries",): world.cache.statistics.entries,
    }


def test_a_check_counts_once_and_a_no_is_a_miss(world: World) -> None:
    """So the hit rate is the share of checks without a read."""
    asked = [PHONE, PHONE, PHONE, uid("session tablet"), uid("session tablet")]
    for each in asked:
        world.reader.check_session(ADA, each, cached=True)
    told = world.cache.statistics
    assert (told.hits, told.misses) == (2, 3)
    assert world.reads == told.misses


def test_without_a_cache_everything_is_read(world: World) -> None:
    """`cached=True` means then nothing."""
    reader = UserReader(client=world, clock=lambda: NOW)
    assert reader.check_session(ADA, PHONE, cached=True)
    assert reader.check_session(ADA, PHONE, cached=True)
    assert reader.get(ADA, cached=True)
    reader.forget(ADA)
    assert world.reads == 3


@pytest.mark.parametrize(("size", "seconds"), [(0, 1.0), (-1, 1.0), (1, 0.0), (1, float("nan"))])
def test_a_cache_without_bounds_is_refused(size: int, seconds: float) -> None:
    """A cache that could keep nothing is refused too."""
    with pytest.raises(ValueError, match="cache"):
        ReadCache(size, seconds)
