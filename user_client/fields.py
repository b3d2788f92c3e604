"""Render the fields of a typed command as JSON values; a value of a wrong type is an error.

The error names the field. Only types are checked here, so that a value of another field's type is
not accepted. The client checks the rules of the values with the worker's parser afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, Final
from uuid import UUID

from domain.commands import Command
from domain.errors import InvalidValueError
from domain.rules import FieldDefinition, Items, Text, fields_of
from domain.values import EmailAddress, PasswordHash, TokenHash, render_time

Render = Callable[[Any], Any]
"""Return the JSON value of a field's value, or raise InvalidValueError with the rule it breaks."""


def command_fields(command: Command) -> dict[str, Any]:
    """Return a command's fields as JSON values; fields that are `None` are omitted.

    Identifiers may be `uuid.UUID`, times `datetime` or RFC 3339 text, lists `tuple` or `list`,
    roles and other text members of an `Enum`; hashes and addresses the domain's types or text.

    Raises:
        InvalidValueError: a value has a wrong type; the message names field and rule, no value.
    """
    values: dict[str, Any] = {}
    kind: Any = type(command)  # mypy checks the instances' hash
    for name, render in _renders(kind):
        value = getattr(command, name)
        if value is None:
            continue
        try:
            values[name] = render(value)
        except InvalidValueError as error:
            raise InvalidValueError(f"data.{name}: {error}") from None
    return values


def time_text(value: object) -> str:
    """Return a time as RFC 3339 text; text is returned unchanged.

    Raises:
        InvalidValueError: not a time, without an offset, or out of range in UTC.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, datetime):
        raise InvalidValueError("must be a datetime with an offset from UTC, or RFC 3339 text")
    if value.utcoffset() is None:
        raise InvalidValueError("must have an offset from UTC")
    try:
        return render_time(value)
    except OverflowError:
        raise InvalidValueError("is out of range") from None


def id_text(value: object) -> str:
    """Return an identifier as text.

    Raises:
        InvalidValueError: the value is neither a `uuid.UUID` nor text.
    """
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, str):
        return value
    raise InvalidValueError("must be a UUID, as uuid.UUID or text")


def text(value: object) -> str:
    """Return text, or the text of an `Enum` member.

    Raises:
        InvalidValueError: the value is neither.
    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return value
    raise InvalidValueError("must be a string")


def _number(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InvalidValueError("must be an integer")


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidValueError("must be True or False")


def _of(kind: type[EmailAddress | PasswordHash | TokenHash]) -> Render:
    def render(value: object) -> str:
        inner = value.value if isinstance(value, kind) else value
        if isinstance(inner, str):
            return inner
        raise InvalidValueError(f"must be a {kind.__name__}, or its text")

    return render


def _list_of(render: Render) -> Render:
    def render_all(value: object) -> list[Any]:
        if not isinstance(value, (tuple, list)):
            raise InvalidValueError("must be a tuple or a list")
        rendered = []
        for place, item in enumerate(value):
            try:
                rendered.append(render(item))
            except InvalidValueError as error:
                raise InvalidValueError(f"item {place}: {error}") from None
        return rendered

    return render_all


_BY_CLASS: Final[Mapping[object, Render]] = {
    EmailAddress: _of(EmailAddress),
    PasswordHash: _of(PasswordHash),
    TokenHash: _of(TokenHash),
    datetime: time_text,
    str: text,
    int: _number,
    bool: _flag,
}


@cache
def _renders(command: Hashable) -> tuple[tuple[str, Render], ...]:
    return tuple((field.name, _render_of(field)) for field in fields_of(command))  # type: ignore[arg-type]  # a class is hashable


def _render_of(field: FieldDefinition) -> Render:
    rule = field.rule.item if isinstance(field.rule, Items) else field.rule
    is_id = isinstance(rule, Text) and rule.format == "uuid"
    render = id_text if is_id else _BY_CLASS[field.item_kind]
    return _list_of(render) if isinstance(field.rule, Items) else render
