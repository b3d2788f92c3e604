"""Formats change over two releases, and workers of both releases lose nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dynamodb import mapper, records
from adapters.dynamodb.formats import (
    ADDRESS_FORMAT,
    BANNED_FORMAT,
    OUTCOME_FORMAT,
    POINTER_FORMAT,
    SESSION_FORMAT,
    TWO_FACTOR_FORMAT,
    USER_FORMAT,
    ItemFormat,
)
from adapters.errors import MalformedItemError
from application.ports import JobKind, OutboxEntry
from tests.builders import NOW, email, uid
from tests.persistence import BANNED, new_user, outcome, session, two_factor

Item = dict[str, Any]


def with_mood(item: Item) -> Item:
    """Upcast a format without a mood."""
    return {**item, "mood": {"S": "calm"}}


def without_mood(item: Item) -> Item:
    """Downcast to it."""
    return {name: value for name, value in item.items() if name != "mood"}


def with_body(item: Item) -> Item:
    """Upcast a format in which the body was called text."""
    return {**without_text(item), "body": item["text"]}


def with_text(item: Item) -> Item:
    """Downcast to it."""
    rest = {name: value for name, value in item.items() if name != "body"}
    return {**rest, "text": item["body"]}


def without_text(item: Item) -> Item:
    """Remove the attribute that has a new name."""
    return {name: value for name, value in item.items() if name != "text"}


OLD = ItemFormat("note", 1)
EXPANDED = ItemFormat("note", 2, {1: with_mood}, {2: without_mood})
NEXT = replace(EXPANDED, downcasts={})
THREE = ItemFormat("note", 3, {1: with_mood, 2: with_body}, {3: with_text, 2: without_mood})


def parse(item: Item, item_format: ItemFormat) -> tuple[str, str | None]:
    """Parse body and mood; the mood `calm` is not stored."""
    read = item_format.read(item)
    if item_format.number == 1:
        return read.text("text"), None
    body = read.text("body" if item_format.number == 3 else "text")
    return body, read.optional_text("mood") or "calm"


def note(mood: str | None = None, number: int = 2, body: str = "hello") -> Item:
    """Return a note as the mapper of a release renders it."""
    item = {"schema": {"N": str(number)}, "body" if number == 3 else "text": {"S": body}}
    return item if mood is None else {**item, "mood": {"S": mood}}


@pytest.mark.parametrize(
    ("item_format", "writes"),
    [(OLD, 1), (EXPANDED, 1), (NEXT, 2), (THREE, 1), (replace(THREE, downcasts={3: with_text}), 2)],
)
def test_a_release_writes_the_format_that_its_downcasts_lead_to(
    item_format: ItemFormat, writes: int
) -> None:
    """Without downcasts it writes the newest format that it knows."""
    assert item_format.writes == writes


@pytest.mark.parametrize(
    ("number", "upcasts", "downcasts"),
    [(2, {}, {2: dict}), (3, {1: dict, 2: dict}, {2: dict}), (2, {1: dict}, {2: dict, 3: dict})],
)
def test_a_downcast_that_would_never_be_taken_is_refused(
    number: int, upcasts: Any, downcasts: Any
) -> None:
    """At its definition, before an item is written that the older release cannot read."""
    with pytest.raises(ValueError, match="note items: a downcast"):
        ItemFormat("note", number, upcasts, downcasts)


@pytest.mark.parametrize("mood", [None, "calm"])
def test_an_item_that_fits_the_older_format_is_written_in_it(mood: str | None) -> None:
    """So the previous release can read it, however the default is rendered."""
    stored = EXPANDED.written(note(mood), parse)
    assert stored == note(number=1)
    assert parse(stored, OLD) == ("hello", None)


def test_an_item_that_does_not_fit_the_older_format_is_written_in_the_newer() -> None:
    """A release that knows a new attribute never drops it, whichever release stored it."""
    merry = note("merry")
    assert EXPANDED.written(merry, parse) == merry
    assert NEXT.written(note(), parse) == note()


def test_a_downcast_that_does_not_suit_an_item_loses_nothing() -> None:
    """It fails, or its result cannot be parsed: the item is written in the newer format."""
    unsuited: list[Callable[[Any], Any]] = [
        lambda item: item["no such"],
        lambda _: {},
        lambda _: {"text": {"N": "1"}},
    ]
    for downcast in unsuited:
        careless = replace(EXPANDED, downcasts={2: downcast})
        assert careless.written(note(), parse) == note()


@given(st.sampled_from([None, "calm", "merry"]), st.text())
def test_what_is_written_reads_as_what_was_meant(mood: str | None, body: str) -> None:
    """Over two steps too; in the oldest format possible that is still written."""
    meant = note(mood, 3, body)
    stored = THREE.written(meant, parse)
    assert parse(stored, THREE) == parse(meant, THREE)
    assert stored["schema"]["N"] == ("2" if mood == "merry" else "1")


def test_each_release_reads_what_the_one_beside_it_writes() -> None:
    """Old with expanded, and expanded with next, understand each other; old and next do not."""
    by_old, by_expanded, by_next = note(number=1), EXPANDED.written(note(), parse), note("merry")
    for item, reader in [
        (by_old, EXPANDED),
        (by_expanded, OLD),
        (by_expanded, NEXT),
        (by_next, EXPANDED),
    ]:
        assert parse(item, reader)[0] == "hello"
    with pytest.raises(MalformedItemError, match="is of a later format than 1"):
        parse(by_next, OLD)


def test_an_item_is_brought_up_no_further_than_asked() -> None:
    """An item that is newer already is unchanged."""
    assert THREE.upcast(note(number=1), 2) == note("calm")
    above = note("merry", 3)
    assert THREE.upcast(above, 2) is above


def test_a_worker_of_an_earlier_version_leaves_outcomes_with_a_keyed_fingerprint_alone() -> None:
    """It would dead-letter a redelivery of the command; as it is, the redelivery is retried."""
    item = records.render_outcome(outcome("c", "ada"))
    earlier = ItemFormat("outcome")
    with pytest.raises(MalformedItemError, match="is of a later format than 1"):
        records.parse_outcome(item, earlier)
    assert records.parse_outcome({**item, "schema": {"N": "1"}}) == records.parse_outcome(item)


# --- the mapper ----------------------------------------------------------------------------

POINTER = OutboxEntry("OUTBOX#1", f"2026-11-22T10:00:00.000Z#{uid('p')}", JobKind.PUBLISH, (), NOW)
RENDERED: list[tuple[Any, ItemFormat, Callable[[], Item]]] = [
    (mapper, USER_FORMAT, lambda: mapper.render_user(new_user("ada"))),
    (mapper, SESSION_FORMAT, lambda: mapper.render_session(uid("ada"), session("phone"))),
    (mapper, TWO_FACTOR_FORMAT, lambda: mapper.render_two_factor(uid("ada"), two_factor())),
    (mapper, ADDRESS_FORMAT, lambda: mapper.render_address(email("ada"), uid("ada"))),
    (mapper, BANNED_FORMAT, lambda: mapper.render_banned(BANNED)),
    (records, OUTCOME_FORMAT, lambda: records.render_outcome(outcome("c", "ada"))),
    (records, OUTCOME_FORMAT, lambda: records.render_reference(outcome("c", "ada"))),
    (records, POINTER_FORMAT, lambda: records.render_entry(POINTER)),
]


@pytest.mark.parametrize(("module", "item_format", "render"), RENDERED)
def test_items_of_every_kind_are_written_in_the_format_of_the_release(
    module: Any,
    item_format: ItemFormat,
    render: Callable[[], Item],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """None is downcast further."""
    (name,) = [name for name, value in vars(module).items() if value is item_format]
    number, written = item_format.number, item_format.writes
    upcasts = {**item_format.upcasts, number: dict}
    newer = replace(item_format, number=number + 1, upcasts=upcasts, downcasts={})
    older = {**item_format.downcasts, number + 1: lambda item: {**item, "old": {"S": "way"}}}
    expanded = replace(newer, downcasts=older)
    monkeypatch.setattr(module, name, expanded)
    assert (render()["schema"], render().get("old")) == ({"N": str(written)}, {"S": "way"})
    monkeypatch.setattr(module, name, newer)
    assert (render()["schema"], render().get("old")) == ({"N": str(number + 1)}, None)
