"""The rules of the fields: one definition each, complete and consistent."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any

import pytest

from domain.commands import COMMANDS, Command
from domain.errors import InvalidValueError
from domain.events import EVENTS, PERSONAL_FIELDS, Event
from domain.fields import ID, FieldDefinition, Items, Number, Text, fields_of, matching
from domain.values import TokenHash
from tests.builders import example_value

MESSAGES: list[type[Command | Event]] = [*COMMANDS.values(), *EVENTS.values()]
FIELDS = [
    pytest.param(field, id=f"{message.__name__}.{field.name}")
    for message in MESSAGES
    for field in fields_of(message)
]


def test_every_field_of_a_message_has_a_definition() -> None:
    """In the order of the class."""
    for message in MESSAGES:
        names = [field.name for field in fields(message)]  # type: ignore[arg-type]  # all are dataclasses
        assert [field.name for field in fields_of(message)] == names


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_has_a_description_and_a_valid_example(field: FieldDefinition) -> None:
    """The example is accepted by the rule, and has the type of the field."""
    assert len(field.rule.description) > 10
    assert field.rule.example is not None
    value = example_value(field)
    assert isinstance(value, field.kind) or field.personal
    if isinstance(field.rule, Items):
        assert all(isinstance(item, field.item_kind) for item in value)


def test_personal_fields_of_events_are_nullable() -> None:
    """An erasure sets them to null, in every event that has a field of that name."""
    assert {"email", "new_email", "old_email"} == PERSONAL_FIELDS
    for event in EVENTS.values():
        for field in fields_of(event):
            assert field.nullable or field.name not in PERSONAL_FIELDS, event.__name__


def test_a_field_without_a_rule_is_an_error_that_names_it() -> None:
    """The error says what to write."""

    @dataclass(frozen=True, slots=True)
    class Unruled(Command):
        nickname: str

    with pytest.raises(TypeError, match=r"^Unruled\.nickname has no rule: write its type as Ann"):
        fields_of(Unruled)


def test_a_field_may_state_its_own_rule_on_top_of_an_alias() -> None:
    """The last rule counts; optional and array types are recognized."""

    @dataclass(frozen=True, slots=True)
    class Ruled(Command):
        own: Annotated[Annotated[str, ID], ID.of("An id of its own.", "x")]
        hashes: Annotated[tuple[TokenHash, ...], Items(item=ID)]
        count: Annotated[int, Number()] | None = None

    own, hashes, count = fields_of(Ruled)
    assert own.rule.description == "An id of its own."
    assert (hashes.kind, hashes.item_kind) == (tuple, TokenHash)
    assert (count.kind, count.nullable, count.required) == (int, True, False)


def test_a_pattern_makes_a_whole_rule() -> None:
    """Check, schema, description and example; the whole value must match."""
    rule = matching("[a-z]{2}(-[A-Z]{2})?", "must be a locale", description="x", example="de-CH")

    assert rule.schema() == {"type": "string", "pattern": "^[a-z]{2}(-[A-Z]{2})?$"}
    assert rule.parse("de") == "de"
    for wrong in ("", "DE", "de-CH\n", "xx-de-CH"):
        with pytest.raises(InvalidValueError, match="must be a locale"):
            rule.parse(wrong)


@pytest.mark.parametrize("options", [{"example": "x"}, {"pattern": "["}])
def test_a_pattern_that_its_example_does_not_match_is_an_error(options: dict[str, Any]) -> None:
    """At import, not when the first message arrives."""
    arguments: dict[str, Any] = {
        "pattern": "[a-z]{2}",
        "error": "must be",
        "description": "d",
        "example": "de",
    }
    with pytest.raises(Exception, match=r"must be|unterminated"):
        matching(**arguments | options)


def test_the_schema_of_a_text_has_its_keywords_only() -> None:
    """In an order that keeps the contracts as they are."""
    rule = Text(parse=str, format="email", pattern="a", min_length=1, max_length=2)
    assert list(rule.schema()) == ["type", "format", "pattern", "minLength", "maxLength"]
    assert Text(parse=str).schema() == {"type": "string"}
