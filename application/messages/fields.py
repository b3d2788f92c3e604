"""From the domain's field types to pydantic's: validation and JSON Schema of each field.

A field's type in the domain (`EmailAddress`, `Annotated[str, "name"]`, ...) names its rule;
this table says how the boundary checks it. All types are strict: no number is taken for a
string, no boolean for a number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints

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

from domain.commands import Command
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
    parse_id,
    parse_name,
    parse_reason,
    parse_role,
    parse_time,
)

MAX_TEXT = 1_024
"""Characters of any string field, before its own rule: bounds the work a hostile value makes."""
MAX_INTEGER = 2**53 - 1  # what every JSON reader gets right (RFC 8259, section 6)
MIN_RECOVERY_CODES, MAX_RECOVERY_CODES = 8, 16
MAX_ROLES = 20


def text(rule: Callable[[str], Any], **schema: Any) -> Any:
    """Make the type of a string field: its rule, and the rule's JSON Schema."""
    return Annotated[
        str,
        StringConstraints(strict=True, max_length=MAX_TEXT),
        AfterValidator(rule),
        WithJsonSchema({"type": "string", **schema}),
    ]


UUID_PATTERN = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
ID = text(parse_id, format="uuid", pattern=UUID_PATTERN)
TIME = text(parse_time, format="date-time")
TOKEN_HASH = text(TokenHash.parse, pattern="^[0-9a-fA-F]{64}$")
ROLE_PATTERN = "^[a-z][a-z0-9_]{0,49}$"
ANY_ROLE = text(parse_role, pattern=ROLE_PATTERN)
INTEGER = Annotated[int, Strict(), Field(ge=0, le=MAX_INTEGER)]


def _recovery_codes(codes: list[TokenHash]) -> tuple[TokenHash, ...]:
    if len(set(codes)) != len(codes):
        raise InvalidValueError("must be distinct")
    return tuple(codes)


RECOVERY_CODES = Annotated[
    list[TOKEN_HASH],  # type: ignore[valid-type]  # made at run time
    Strict(),
    Field(
        min_length=MIN_RECOVERY_CODES,
        max_length=MAX_RECOVERY_CODES,
        json_schema_extra={"uniqueItems": True},
    ),
    AfterValidator(_recovery_codes),
]

_BY_CLASS: dict[object, Any] = {
    EmailAddress: text(EmailAddress.parse, format="email", maxLength=MAX_ADDRESS),
    PasswordHash: text(
        PasswordHash.parse, pattern=r"^\$argon2id\$v=19\$", maxLength=MAX_PASSWORD_HASH
    ),
    TokenHash: TOKEN_HASH,
    datetime: TIME,
}
_BY_RULE: dict[str, Any] = {
    "id": ID,
    "name": text(parse_name, minLength=1, maxLength=MAX_NAME),
    "reason": text(parse_reason, minLength=1, maxLength=MAX_REASON),
    "any_role": ANY_ROLE,
    "ciphertext": text(parse_ciphertext, minLength=1, maxLength=MAX_CIPHERTEXT),
    "credential_version": INTEGER,
    "recovery_codes": RECOVERY_CODES,
}


def data_adapter(
    message: type[Command], roles: Collection[str] | None = None
) -> TypeAdapter[dict[str, Any]]:
    """Make what validates a command's `data` and gives its constructor's arguments.

    Args:
        message: the command's class, a dataclass of the domain.
        roles: the roles that may be given; `None` checks their form only.
    """
    role_rules = _role_rules(roles)
    hints = get_type_hints(message, include_extras=True)
    items: dict[str, Any] = {}
    for field in dataclasses.fields(message):  # type: ignore[arg-type]  # every command is a dataclass
        kind = _field_type(hints[field.name], role_rules)
        optional = field.default is not dataclasses.MISSING
        items[field.name] = NotRequired[kind] if optional else kind
    return record(message.__name__, items, extra="forbid")


def record(
    name: str, items: dict[str, Any], extra: Literal["forbid", "ignore"]
) -> TypeAdapter[dict[str, Any]]:
    """Make what validates an object of typed items, `NotRequired` or not, and gives a dict."""
    make: Any = TypedDict  # type checkers know it as a statement only
    shape = make(name, items)
    shape.__pydantic_config__ = ConfigDict(extra=extra)
    return TypeAdapter(shape)


def _field_type(hint: Any, role_rules: dict[str, Any]) -> Any:
    if get_origin(hint) in (Union, UnionType):
        (inner,) = (part for part in get_args(hint) if part is not NoneType)
        return _field_type(inner, role_rules) | None
    if get_origin(hint) is Annotated:
        rule = get_args(hint)[1]
        return role_rules.get(rule) or _BY_RULE[rule]
    return _BY_CLASS[hint]


def _role_rules(roles: Collection[str] | None) -> dict[str, Any]:
    if roles is None:
        role = ANY_ROLE
    else:
        known = tuple(roles)
        role = text(lambda name: _known_role(name, known), pattern=ROLE_PATTERN)
    distinct = Field(max_length=MAX_ROLES, json_schema_extra={"uniqueItems": True})
    roles_type = Annotated[list[role], Strict(), distinct, AfterValidator(_distinct_roles)]  # type: ignore[valid-type]
    return {"role": role, "roles": roles_type}


def _known_role(name: str, known: Sequence[str]) -> str:
    if parse_role(name) not in known:
        raise InvalidValueError(f"must be one of {', '.join(known)}")
    return name


def _distinct_roles(roles: list[str]) -> tuple[str, ...]:
    if len(set(roles)) != len(roles):
        raise InvalidValueError("must be distinct")
    return tuple(roles)
