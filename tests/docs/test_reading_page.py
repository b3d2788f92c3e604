"""The lists of docs/how-to/reading.md and docs/how-to/subscribing.md are complete and correct."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from application.ports import EventMessage
from biome_users import LoginReader, ReadCache, SessionRefusal
from domain.events import Event

DOCS = Path(__file__).parents[2] / "docs" / "how-to"
READING = (DOCS / "reading.md").read_text()
SUBSCRIBING = (DOCS / "subscribing.md").read_text()


def test_the_readers_methods_are_those_of_the_page() -> None:
    """The page lists all methods, and no others."""
    listed = re.findall(r"^- `(\w+)\(", READING, re.MULTILINE)
    methods = [name for name, _ in inspect.getmembers(LoginReader, inspect.isfunction)]
    assert {*listed, "forget"} == {name for name in methods if not name.startswith("_")}
    assert "`reader.forget(user_id)`" in READING


def test_the_refusals_are_those_of_the_page() -> None:
    """The list is complete, so that all of them can be handled."""
    section = READING.partition("\nBy `SessionRefusal`:\n\n")[2].partition("\n\n")[0]
    lines = re.findall(r"^- (`[^:]+`): ", section, re.MULTILINE)
    listed = [code for names in lines for code in re.findall(r"`(\w+)`", names)]
    assert listed == [refusal.value for refusal in SessionRefusal]


def test_the_caches_statistics_are_those_of_the_page() -> None:
    """The names are equal."""
    (listed,) = re.findall(r"`cache.statistics` gives ([^.]*)\.", READING)
    told = ReadCache().statistics
    assert set(re.findall(r"`(\w+)`", listed)) == {*told.__dataclass_fields__, "hit_rate"}


def test_the_filterable_attributes_and_categories_are_those_of_the_page() -> None:
    """A missing category could not be subscribed to."""
    section = SUBSCRIBING.partition("\n## Filter policies\n")[2].partition("\n## ")[0]
    listed = dict(re.findall(r"^- `(\w+)`: (.*)$", section, re.MULTILINE))
    assert listed.keys() == EventMessage.__dataclass_fields__.keys() - {
        "event_id",
        "user_id",
        "body",
        "complete_body",
    }
    categories = {kind.category for kind in Event.__subclasses__() if hasattr(kind, "category")}
    assert set(re.findall(r"`(\w+)`", listed["category"])) == categories
