"""The rules of the domain as pydantic types, which validate the data of commands.

All types are strict: a number is not accepted for a string, nor a boolean for a number.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from typing import Annotated, Any, Literal, NotRequired

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    TypeAdapter,
    WithJsonSchema,
)
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from application.addresses import parse_address
from domain.commands import Command
from domain.errors import InvalidValueError
from domain.fields import (
    MAX_INTEGER,
    AnyRule,
    FieldDefinition,
    Flag,
    Items,
    Number,
    Text,
    fields_of,
)
from domain.values import EmailAddress

MAX_TEXT = 1_024
"""Characters of any string, checked before its own rule: limits the work a value can cause."""


def data_adapter(
    message: type[Command], roles: Collection[str] | None = None
) -> TypeAdapter[dict[str, Any]]:
    """Return the validator of a command's `data`, which returns its constructor's arguments.

    Args:
        message: the command's class.
        roles: the roles that may be assigned; `None` checks only the form of a role.
    """
    kind: Any = message  # mypy takes the class, which is the key, for one of its instances
    return _data_adapter(kind, None if roles is None else tuple(roles))


@cache  # it takes a millisecond, and several parsers of a process need the same ones
def _data_adapter(
    message: type[Command], roles: tuple[str, ...] | None
) -> TypeAdapter[dict[str, Any]]:
    items: dict[str, Any] = {
        field.name: kind if field.required else NotRequired[kind]
        for field, kind in _field_types(message, roles)
    }
    return record(message.__name__, items, extra="forbid")


def shown_field_adapters(
    message: type[Command], roles: Collection[str]
) -> dict[str, TypeAdapter[Any]]:
    """Return by name the validators of the values that a dead letter shows of a command's fields.

    See `data_adapter`, and `Text.shown`: of a field that is not shown, no value is valid.
    """
    return {
        field.name: TypeAdapter(kind if field.shown else None)
        for field, kind in _field_types(message, tuple(roles))
    }


def _field_types(
    message: type[Command], roles: tuple[str, ...] | None
) -> Iterator[tuple[FieldDefinition, Any]]:
    for field in fields_of(message):
        kind = _field_type(field.rule, roles)
        yield field, kind | None if field.nullable else kind


def record(
    name: str, items: dict[str, Any], extra: Literal["forbid", "ignore"]
) -> TypeAdapter[dict[str, Any]]:
    """Return the validator of an object of typed items, `NotRequired` or not, as a dict."""
    make: Any = TypedDict  # type checkers know it as a statement only
    shape = make(name, items)
    shape.__pydantic_config__ = ConfigDict(extra=extra)
    return TypeAdapter(shape)


def text(rule: Text, roles: Collection[str] | None = None) -> Any:
    """Return the type of a string with a rule."""
    # Only the application may convert the domain of an address: the tables of IDNA are a package's.
    parse = parse_address if rule.parse == EmailAddress.parse else rule.parse
    checks: list[Any] = [AfterValidator(parse)]
    if rule.setting == "roles" and roles is not None:
        checks.append(AfterValidator(_one_of(tuple(roles))))
    length = StringConstraints(strict=True, max_length=MAX_TEXT)
    return Annotated[(str, length, *checks, WithJsonSchema(rule.schema()))]


def _field_type(rule: AnyRule, roles: Collection[str] | None) -> Any:
    match rule:
        case Text():
            return text(rule, roles)
        case Number():
            return Annotated[int, Strict(), Field(ge=0, le=MAX_INTEGER)]
        case Flag():
            return Annotated[bool, Strict()]
        case Items():
            limits = Field(
                min_length=rule.min_items,
                max_length=rule.max_items,
                json_schema_extra={"uniqueItems": True},
            )
            item = text(rule.item, roles)
            return Annotated[list[item], Strict(), limits, AfterValidator(_distinct)]  # type: ignore[valid-type]  # made at run time


def _one_of(known: tuple[str, ...]) -> Any:
    def check(name: str) -> str:
        if name not in known:
            raise InvalidValueError(f"must be one of {', '.join(known)}")
        return name

    return check


def _distinct(items: list[Any]) -> tuple[Any, ...]:
    if len(set(items)) != len(items):
        raise InvalidValueError("must be distinct")
    return tuple(items)
