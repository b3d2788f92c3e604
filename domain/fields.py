"""Rules of message fields: which values are valid, what the field means, and an example.

A field of a command or an event carries its rule in its type, as in `Annotated[str, Text(...)]`.
Validation, JSON Schemas, the Python client, the field tables in docs/reference/messages.md and the
test data are derived from that rule by `fields_of`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Self, Union, get_args, get_origin, get_type_hints

from domain.errors import InvalidValueError
from domain.values import (
    MAX_ADDRESS,
    MAX_CIPHERTEXT,
    MAX_NAME,
    MAX_PASSWORD_HASH,
    MAX_REASON,
    EmailAddress,
    PasswordHash,
    TokenHash,
    parse_ciphertext,
    parse_creation_time,
    parse_id,
    parse_name,
    parse_reason,
    parse_role,
    parse_time,
)

MAX_INTEGER: Final = 2**53 - 1  # what every JSON reader reads exactly (RFC 8259, section 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Base of the rules."""

    description: str = ""
    """What the field means; published in the contracts."""
    example: Any = None
    """A valid value in JSON."""

    def of(self, description: str, example: Any) -> Self:
        """Return the same rule for a field with a meaning and an example of its own."""
        return dataclasses.replace(self, description=description, example=example)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Rule):
    """A JSON string. `parse` is decisive; the other attributes describe it in JSON Schema."""

    parse: Callable[[str], Any]
    """Return the value, or raise `InvalidValueError` with a text that does not repeat it."""
    format: str | None = None
    pattern: str | None = None
    min_length: int | None = None
    max_length: int | None = None
    setting: str | None = None
    """The setting that lists the valid values; `None`: no list."""
    personal: bool = False
    """Identifies a person: the field of an event is null on the ordinary topic, and an erasure sets
    it to null in stored events."""
    shown: bool = False
    """Whether a dead letter shows a valid value: the rule admits no credential and no free text."""

    def schema(self) -> dict[str, Any]:
        """Return the rule in JSON Schema."""
        keywords = {
            "type": "string",
            "format": self.format,
            "pattern": self.pattern,
            "minLength": self.min_length,
            "maxLength": self.max_length,
        }
        return {name: value for name, value in keywords.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Rule):
    """A JSON integer that is not negative."""

    def schema(self) -> dict[str, Any]:
        """Return the rule in JSON Schema."""
        return {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag(Rule):
    """A JSON boolean."""

    def schema(self) -> dict[str, Any]:
        """Return the rule in JSON Schema."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Items(Rule):
    """A JSON array of strings. In a command, the strings must be distinct."""

    item: Text
    min_items: int | None = None
    max_items: int | None = None

    def schema(self) -> dict[str, Any]:
        """Return the rule in JSON Schema, without the limits that only commands have."""
        return {"type": "array", "items": self.item.schema()}


AnyRule = Text | Number | Flag | Items


def matching(pattern: str, error: str, *, description: str, example: str) -> Text:
    """Return the rule of a string that matches a regular expression as a whole.

    Args:
        pattern: the expression, in the syntax that Python and ECMAScript share.
        error: what a value must be, such as "must be a language tag such as de-CH".
        description: what the field means.
        example: a valid value.
    """
    compiled = re.compile(pattern, re.ASCII)

    def parse(value: str) -> str:
        if not compiled.fullmatch(value):
            raise InvalidValueError(error)
        return value

    parse(example)
    return Text(parse=parse, pattern=f"^{pattern}$", description=description, example=example)


# --- rules that several fields share; each field adds its meaning with `of` ------------------

ID: Final = Text(
    parse=parse_id,
    format="uuid",
    pattern="^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
    shown=True,
)
TIME: Final = Text(parse=parse_time, format="date-time", shown=True)
CREATION_TIME: Final = Text(parse=parse_creation_time, format="date-time", shown=True)
EMAIL: Final = Text(
    parse=EmailAddress.parse, format="email", max_length=MAX_ADDRESS, personal=True, shown=True
)
NAME: Final = Text(parse=parse_name, min_length=1, max_length=MAX_NAME)
REASON: Final = Text(parse=parse_reason, min_length=1, max_length=MAX_REASON)
PASSWORD_HASH: Final = Text(
    parse=PasswordHash.parse, pattern=r"^\$argon2id\$v=19\$", max_length=MAX_PASSWORD_HASH
)
IMPORTED_HASH: Final = Text(
    parse=PasswordHash.parse_imported,
    pattern=r"^(\$(argon2id|2[aby]|scrypt|pbkdf2-sha(256|512))|pbkdf2_sha256)\$",
    max_length=MAX_PASSWORD_HASH,
)
TOKEN_HASH: Final = Text(parse=TokenHash.parse, pattern="^[0-9a-fA-F]{64}$")
CIPHERTEXT: Final = Text(parse=parse_ciphertext, min_length=1, max_length=MAX_CIPHERTEXT)
ROLE: Final = Text(parse=parse_role, pattern="^[a-z][a-z0-9_]{0,49}$")


# --- the fields of a message -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FieldDefinition:
    """A field of a command or an event."""

    name: str
    rule: AnyRule
    kind: type
    """The type of the value in Python; of an array, `tuple`."""
    item_kind: type
    """The type of an array's items; else the same as `kind`."""
    nullable: bool
    required: bool

    @property
    def personal(self) -> bool:
        """Return True if the field identifies a person."""
        return isinstance(self.rule, Text) and self.rule.personal

    @property
    def shown(self) -> bool:
        """Return True if a dead letter shows a valid value of the field; see `Text.shown`."""
        rule = self.rule.item if isinstance(self.rule, Items) else self.rule
        return not isinstance(rule, Text) or rule.shown


@cache
def _fields_of(message: Hashable) -> tuple[FieldDefinition, ...]:
    hints = get_type_hints(message, include_extras=True)
    return tuple(
        _definition(message, field, hints[field.name])
        for field in dataclasses.fields(message)  # type: ignore[arg-type]  # every message is a dataclass
    )


def fields_of(message: type) -> tuple[FieldDefinition, ...]:
    """Return the fields of a command or an event, in the order of the definition.

    Raises:
        TypeError: a field has no rule.
    """
    return _fields_of(message)


def _definition(message: Any, field: dataclasses.Field[Any], hint: Any) -> FieldDefinition:
    nullable = get_origin(hint) in (Union, UnionType)
    if nullable:
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    rule = get_args(hint)[-1] if get_origin(hint) is Annotated else None
    if not isinstance(rule, Rule):
        raise TypeError(
            f"{message.__name__}.{field.name} has no rule: write its type as "
            f"Annotated[..., Text(...)], like the other fields in {message.__module__}"
        )
    inner = get_args(hint)[0]
    is_array = get_origin(inner) is tuple
    return FieldDefinition(
        name=field.name,
        rule=rule,  # type: ignore[arg-type]  # the subclasses of Rule are AnyRule
        kind=tuple if is_array else inner,
        item_kind=_bare(get_args(inner)[0]) if is_array else inner,
        nullable=nullable,
        required=field.default is dataclasses.MISSING,
    )


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def example_of(message: type) -> dict[str, Any]:
    """Return a valid example of a message's data, as JSON values."""
    return {field.name: field.rule.example for field in fields_of(message)}
