"""What a change of a message breaks, and for whom: every kind of change, in both directions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from operations.contracts import compatibility
from operations.contracts.compatibility import breaks, release
from operations.contracts.generating import newest_release, promised

FOLDER = Path(__file__).parents[3] / "contracts"
STRING: dict[str, Any] = {"type": "string", "maxLength": 10}
SHORTER: dict[str, Any] = {"type": "string", "maxLength": 9}
SOME, MORE = {"minLength": 1}, {"minLength": 2}
NEEDS_A: dict[str, Any] = {"allOf": [{"required": ["a"]}]}
OPEN: dict[str, Any] = {"additionalProperties": {}}
TYPED: dict[str, Any] = {"additionalProperties": STRING}
NULLABLE: dict[str, Any] = {"anyOf": [STRING, {"type": "null"}]}
COMMAND, EVENT = "biome.user.DoIt.v1", "biome.user.ItWasDone.v1"
BOTH, NULL_OBSERVER = {"producers", "subscribers"}, set[str]()
PRODUCERS, SUBSCRIBERS = {"producers"}, {"subscribers"}


class Case(NamedTuple):
    """A field before and after a change."""

    name: str
    old: dict[str, Any]
    new: dict[str, Any]
    broken: set[str]
    """Who is broken, if commands change like this, and if events change like this."""


def fields(*required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    """Create the schema of an object with these fields."""
    return {"type": "object", "properties": properties, "required": [*required]}


CLOSED = {"additionalProperties": False}
CASES = [
    # --- fields ---
    Case("optional field added", fields(), fields(a=STRING), NULL_OBSERVER),
    Case("required field added", fields(), fields("a", a=STRING), PRODUCERS),
    Case("field removed", fields(a=STRING), fields(), BOTH),
    Case("required field removed", fields("a", a=STRING), fields(), BOTH),
    Case("field made required", fields(a=STRING), fields("a", a=STRING), PRODUCERS),
    Case("field made optional", fields("a", a=STRING), fields(a=STRING), SUBSCRIBERS),
    Case("field renamed", fields("a", a=STRING), fields("b", b=STRING), BOTH),
    Case("required without a schema", fields(), fields("a"), PRODUCERS),
    Case("no more required, without a schema", fields("a"), fields(), SUBSCRIBERS),
    Case("unknown fields refused", fields(), fields() | CLOSED, PRODUCERS),
    Case("unknown fields let in", fields() | CLOSED, fields(), NULL_OBSERVER),
    Case("deep within", fields(a=fields(b=STRING)), fields(a=fields()), BOTH),
    # --- types ---
    Case("type changed", {"type": "string"}, {"type": "integer"}, BOTH),
    Case("integer to number", {"type": "integer"}, {"type": "number"}, SUBSCRIBERS),
    Case("number to integer", {"type": "number"}, {"type": "integer"}, PRODUCERS),
    Case("a type more", {"type": "string"}, {"type": ["string", "integer"]}, SUBSCRIBERS),
    Case("a type less", {"type": ["string", "integer"]}, {"type": "string"}, PRODUCERS),
    Case("any type", {"type": "string"}, {}, SUBSCRIBERS),
    Case("one type of any", {}, {"type": "string"}, PRODUCERS),
    Case("nullable now", STRING, NULLABLE, SUBSCRIBERS),
    Case("null no more", NULLABLE, STRING, PRODUCERS),
    Case("nullable and narrower", STRING, {"anyOf": [SHORTER, {"type": "null"}]}, BOTH),
    # --- values ---
    Case("value added", {"enum": ["a"]}, {"enum": ["a", "b"]}, SUBSCRIBERS),
    Case("value removed", {"enum": ["a", "b"]}, {"enum": ["a"]}, PRODUCERS),
    Case("values in another order", {"enum": ["a", "b"]}, {"enum": ["b", "a"]}, NULL_OBSERVER),
    Case("values listed now", STRING, {**STRING, "enum": ["a"]}, PRODUCERS),
    Case("values free now", {**STRING, "enum": ["a"]}, STRING, SUBSCRIBERS),
    Case("constant changed", {"const": "a"}, {"const": "b"}, BOTH),
    Case("constant to list", {"const": "a"}, {"enum": ["a", "b"]}, SUBSCRIBERS),
    # --- limits ---
    Case("longer", STRING, {**STRING, "maxLength": 11}, SUBSCRIBERS),
    Case("shorter", STRING, SHORTER, PRODUCERS),
    Case("no limit", STRING, {"type": "string"}, SUBSCRIBERS),
    Case("a limit", {"type": "string"}, STRING, PRODUCERS),
    Case("at least more", {"minLength": 1}, {"minLength": 2}, PRODUCERS),
    Case("at least less", {"minLength": 2}, {"minLength": 1}, SUBSCRIBERS),
    Case("greater", {"maximum": 1}, {"maximum": 2}, SUBSCRIBERS),
    Case("smaller", {"minimum": 1}, {"minimum": 0}, SUBSCRIBERS),
    Case("more items", {"maxItems": 2}, {"maxItems": 3}, SUBSCRIBERS),
    Case("more items needed", {"minItems": 1}, {"minItems": 2}, PRODUCERS),
    Case("more fields needed", {}, {"minProperties": 1}, PRODUCERS),
    Case("distinct items", {}, {"uniqueItems": True}, PRODUCERS),
    Case("repeated items", {"uniqueItems": True}, {}, SUBSCRIBERS),
    # --- forms ---
    Case("pattern changed", {"pattern": "^a"}, {"pattern": "^b"}, BOTH),
    Case("pattern added", {}, {"pattern": "^a"}, PRODUCERS),
    Case("pattern removed", {"pattern": "^a"}, {}, SUBSCRIBERS),
    Case("format changed", {"format": "uuid"}, {"format": "email"}, BOTH),
    Case("format added", {}, {"format": "email"}, PRODUCERS),
    # --- items, names, combinations ---
    Case("items narrower", {"items": STRING}, {"items": SHORTER}, PRODUCERS),
    Case("items free", {"items": STRING}, {}, SUBSCRIBERS),
    Case("names limited", {}, {"propertyNames": {"pattern": "^a"}}, PRODUCERS),
    Case("other fields typed", {}, TYPED, PRODUCERS),
    Case("other fields narrower", OPEN, TYPED, PRODUCERS),
    Case("one more condition", {"allOf": [STRING]}, {"allOf": [STRING, SOME]}, PRODUCERS),
    Case("one condition less", {"allOf": [STRING, SOME]}, {"allOf": [STRING]}, SUBSCRIBERS),
    Case("conditions", {}, NEEDS_A, PRODUCERS),
    Case("exactly one of others", {"oneOf": [SOME]}, {"oneOf": [MORE]}, BOTH),
    Case("exactly one of", {}, {"oneOf": [STRING]}, PRODUCERS),
    Case("a keyword that is not known here", {}, {"contains": STRING}, BOTH),
    Case("a reference", {"$ref": "#/a"}, {"$ref": "#/b"}, BOTH),
    # --- what decides nothing ---
    Case("words", {"title": "a"}, {"description": "b", "examples": [1]}, NULL_OBSERVER),
    Case("nothing", NULLABLE, NULLABLE, NULL_OBSERVER),
]


def broken_by(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return the lines for a change of a command's field and the same change of an event's."""
    before = release({COMMAND: fields(f=old)}, {EVENT: fields(f=old)})
    return breaks(before, release({COMMAND: fields(f=new)}, {EVENT: fields(f=new)}))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_breaking_change_names_producers_or_subscribers(case: Case) -> None:
    """Accepting less breaks producers; publishing more, or less reliably, breaks subscribers."""
    lines = broken_by(case.old, case.new)

    assert {line.rpartition("breaks ")[2].rstrip(")") for line in lines} == case.broken
    for line in lines:
        kind = COMMAND if "producers" in line else EVENT
        assert line.startswith(f"{kind} f")


def test_a_break_is_one_line_that_names_the_field() -> None:
    """The line names the message, the field, the change, and whom it breaks."""
    assert broken_by(fields(a=STRING), fields(a={"type": "integer"})) == [
        f"{COMMAND} f.a: type is integer now, not string (breaks producers)",
        f"{EVENT} f.a: maxLength was removed (breaks subscribers)",
        f"{EVENT} f.a: type is integer now, not string (breaks subscribers)",
    ]


def test_a_removed_message_is_a_break_until_it_is_retired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """New messages break nobody."""
    old = release({COMMAND: fields()}, {EVENT: fields()})

    lines = breaks(old, release({"biome.user.DoIt.v2": fields()}, {}))

    assert lines == [
        f"{COMMAND} message: was removed (breaks producers)",
        f"{EVENT} message: was removed (breaks subscribers)",
    ]
    monkeypatch.setattr(compatibility, "RETIRED", {COMMAND, EVENT})
    assert breaks(old, release({}, {})) == []


def test_a_field_that_is_named_like_a_keyword_is_a_field() -> None:
    """As keywords, `title` and `description` are ignored; as fields they are compared."""
    old = {EVENT: fields(title=STRING, description=STRING, properties=STRING)}

    assert breaks(release({}, old), release({}, {EVENT: fields()})) == [
        f"{EVENT} {name}: was removed (breaks subscribers)"
        for name in ("title", "description", "properties")
    ]


def test_this_code_is_compatible_with_the_last_release() -> None:
    """docs/reference/compatibility.md promises this.

    A breaking change needs a new version of the message.
    """
    newest = newest_release(FOLDER)
    assert newest is not None
    past = json.loads(newest.read_text())
    assert len(past["commands"]) > 20
    assert len(past["events"]) > 20
    assert breaks(past, promised()) == []


# --- a law: what is called compatible is so -----------------------------------------------

limits = st.fixed_dictionaries(
    {},
    optional={
        "minLength": st.integers(0, 3),
        "maxLength": st.integers(1, 4),
        "enum": st.lists(st.sampled_from(["", "a", "bb", "ccc"]), min_size=1, unique=True),
    },
)
texts = limits.map(lambda found: {"type": "string", **found})
leaves = (
    texts
    | texts.map(lambda text: {"anyOf": [text, {"type": "null"}]})
    | st.just({"type": "integer"})
)
objects = st.builds(
    lambda properties, required, closed: {
        "type": "object",
        "properties": properties,
        "required": sorted(required & properties.keys()),
        "additionalProperties": not closed,
    },
    st.dictionaries(st.sampled_from("ab"), leaves, max_size=2),
    st.sets(st.sampled_from("ab")),
    st.booleans(),
)  # fmt: skip
values = st.dictionaries(
    st.sampled_from("ab"),
    st.none() | st.sampled_from(["", "a", "bb", "ccc", "dddd", 7]),
    max_size=2,
)


@given(objects, objects, values)
def test_a_valid_command_stays_valid_or_a_break_is_reported(
    old: dict[str, Any], new: dict[str, Any], value: dict[str, Any]
) -> None:
    """The checker may be too strict, but never too lax."""
    if old["additionalProperties"]:  # a field allowed only by additionalProperties has no type yet
        old = old | {"additionalProperties": False}
    if Draft202012Validator(old).is_valid(value) and not Draft202012Validator(new).is_valid(value):
        assert breaks(release({COMMAND: old}, {}), release({COMMAND: new}, {}))


@given(objects, objects, values)
def test_a_new_event_value_was_allowed_or_is_reported_as_a_break(
    old: dict[str, Any], new: dict[str, Any], value: dict[str, Any]
) -> None:
    """New fields are an exception, because subscribers ignore them."""
    seen = {name: item for name, item in value.items() if name in old["properties"]}
    reader = Draft202012Validator({**old, "additionalProperties": True})
    if Draft202012Validator(new).is_valid(value) and not reader.is_valid(seen):
        assert breaks(release({}, {EVENT: old}), release({}, {EVENT: new}))
