"""Tests of the harness: it detects each broken guarantee of the worker.

A test that cannot fail proves nothing. Each case breaks the worker in one place, in a way in which
such workers are often broken, and the harness has to detect it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from adapters.dynamodb import DynamoDBOutbox, change, mapper
from adapters.dynamodb.reads import key_of
from adapters.sns.publisher import SnsPublisher
from application import batch, rounds
from application.disposition import Ack, Dispositions
from application.messages import events
from application.outbox import ScrubPage
from application.ports import StoreUnavailableError
from domain.policy import UserPolicy
from domain.user import User
from tests.reliability.scenarios import ten_users
from tests.reliability.schedules import Schedule
from tests.reliability.test_crash_at_every_step import BATCHES, after_history, run, single_faults
from tests.reliability.test_interleavings import RACES, every_run

Break = Callable[[pytest.MonkeyPatch], None]
ENOUGH = 600
"""Schedules to try before a mutant counts as undetected. Most are found in far fewer."""
FEW = 60
"""Schedules to try before the races."""


def _decides_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(change, "_outcomes", _without_condition(change._outcomes))


def _without_condition(render: Callable[..., None]) -> Callable[..., None]:
    def rendered(write: Any, table: str, change: Any) -> None:
        render(write, table, change)
        for action in write.actions:
            action["Put"].pop("ConditionExpression", None)

    return rendered


def _ignores_versions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(change, "_user", _without_condition(change._user))


def _takes_taken_addresses(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(change, "_addresses", _addresses_without_condition)


def _addresses_without_condition(write: Any, table: str, user_id: str, changed: Any) -> None:
    if changed.claimed is not None:
        item = mapper.render_address(changed.claimed, user_id)
        write.actions.append({"Put": {"TableName": table, "Item": item}})
        write.conflicts.append(None)
        write.keys.add(key_of(item))


def _closes_before_it_publishes(patch: pytest.MonkeyPatch) -> None:
    publish = batch._Batch._publish

    def closes_first(self: Any, announcements: Any = ()) -> None:
        with suppress(StoreUnavailableError):
            self._ports.outbox.close([entry for entry, _ in self._unpublished])
        publish(self, announcements)

    patch.setattr(batch._Batch, "_publish", closes_first)


def _closes_what_failed(patch: pytest.MonkeyPatch) -> None:
    publish = SnsPublisher.publish
    patch.setattr(SnsPublisher, "publish", lambda *a: publish(*a) and {})


def _makes_new_event_ids(patch: pytest.MonkeyPatch) -> None:
    ids = iter(range(10**9))
    patch.setattr(events, "event_id", lambda *_: f"event {next(ids)}")


def _settles_what_failed(patch: pytest.MonkeyPatch) -> None:
    handle = batch.BatchHandler.handle

    def all_done(self: Any, messages: Any) -> Dispositions:
        return Dispositions(tuple(Ack() for _ in handle(self, messages).items))

    patch.setattr(batch.BatchHandler, "handle", all_done)


def _forgets_the_outbox(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("application.relay.Relay.run_once", lambda _: 0)


def _believes_torn_reads(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rounds._Decider, "_is_inconsistent", lambda *_: False)


def _lets_commands_overtake(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rounds._Decider, "_must_wait", lambda *_: False)


def _skips_the_scrub(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DynamoDBOutbox, "scrub", lambda *_: ScrubPage())


def _locks_too_early(patch: pytest.MonkeyPatch) -> None:
    record, early = User.record_login_failure, UserPolicy(failures_before_lock=1)
    patch.setattr(
        User, "record_login_failure", lambda user, stage, now, _: record(user, stage, now, early)
    )


@pytest.mark.parametrize(
    "broken",
    [
        _decides_twice,
        _ignores_versions,
        _takes_taken_addresses,
        _closes_before_it_publishes,
        _closes_what_failed,
        _makes_new_event_ids,
        _settles_what_failed,
        _forgets_the_outbox,
        _believes_torn_reads,
        _lets_commands_overtake,
        _skips_the_scrub,
        _locks_too_early,
    ],
    ids=lambda broken: broken.__name__.strip("_").replace("_", " "),
)
def test_a_worker_that_does_so_is_found_out(
    broken: Break, monkeypatch: pytest.MonkeyPatch, alarms: list[Any]
) -> None:
    """Detected by an invariant, by the order, by work left over or by an unexpected error."""
    for scenario in BATCHES:
        after_history(scenario.name)
    broken(monkeypatch)
    if not any(_noticed(attempt) or alarms for attempt in _attempts()):
        pytest.fail("nobody noticed")
    alarms.clear()


def _attempts() -> Iterator[Callable[[], object]]:
    """Yield a part of what the other tests here do, cheapest first.

    A few schedules find most mutants. The races find belief in torn reads, which the first 600
    schedules do not, and take as long as 500 of them.
    """
    yield from (partial(run, scenario, {}) for scenario in BATCHES)
    yield from (Schedule(seed).run for seed in range(FEW))
    yield from (partial(every_run, race) for race in RACES.values())
    yield from (Schedule(seed).run for seed in range(FEW, ENOUGH))


def _noticed(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except AssertionError:
        return True
    return False


def test_every_fault_takes_place_in_some_run() -> None:
    """A crash is followed by a new process."""
    faults = dict(single_faults(run(ten_users(), {})))
    for number, fault in faults.items():
        assert fault in {made for _, made in run(ten_users(), {number: fault}).calls}
