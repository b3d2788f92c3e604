"""Redact dead letters by an allow-list: ids, times, numbers and other values of a closed form.

Shown are valid attributes of the CloudEvent, and valid fields of a known command whose rule leaves
no room for a credential or free text (`Text.shown`). Everything else is replaced by its type and
length, names of unknown fields included, because a name can be a secret as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError

from application.messages.attributes import (
    SPEC_VERSION,
    attribute_adapters,
    shown_attribute_adapters,
)
from application.messages.encoding import compact
from application.messages.errors import shown_type
from application.messages.fields import shown_field_adapters
from application.messages.reading import Form, find_event
from application.messages.upcasting import KNOWN_COMMANDS
from domain.commands import Command
from domain.events import EVENTS

logger = structlog.get_logger(__name__)

UNKNOWN = "[unknown]"
"""Name that stands for all unknown fields of an object; the value lists their types and lengths."""
_MAX_LISTED = 10
# No more digits than the longest body needs: a placeholder must not carry a value.
_PLACEHOLDER = re.compile(
    r"\[(?:null|boolean|(?:number|string) of [0-9]{1,7} characters|array of [0-9]{1,7} items"
    r"|object of [0-9]{1,7} fields|binary of [0-9]{1,7} bytes|[0-9]{1,7} more)\]"
)

Show = Callable[[Any], Any]
"""Returns a value as it is, or its type and length."""


@dataclass(frozen=True, slots=True)
class Redacted:
    """The body of a dead letter, where it differs from the body of the message."""

    body: str
    complete: bool
    """Whether it contains the whole command: only its wrapping (Celery, SNS) was removed."""


@dataclass(frozen=True, slots=True)
class CommandAttributes:
    """The valid attributes of a message; its command may be invalid."""

    command_id: str
    type: str
    source: str
    user_id: str | None
    correlation_id: str | None
    actor: str | None
    traceparent: str | None
    tracestate: str | None


class Redactor:
    """Redacts the bodies of messages; thread-safe."""

    def __init__(
        self, roles: Collection[str], commands: Mapping[str, type[Command]] = KNOWN_COMMANDS
    ) -> None:
        """Set the roles that may be assigned, and the known commands by message type."""
        self._roles = roles
        self._commands = commands
        self._fields: dict[str, dict[str, Show]] = {}

    def redact(self, body: str) -> Redacted | None:
        """Return the body of the dead letter; `None` if the message's own body can be shown.

        Raises nothing: after an unexpected error, the body is replaced by its length.
        """
        try:
            return self._redact(body)
        except Exception:  # a bug must not keep the message from the dead-letter queue
            logger.exception("redaction_failed", characters=len(body))
            return Redacted(described(body), complete=False)

    def _redact(self, body: str) -> Redacted | None:
        if _PLACEHOLDER.fullmatch(body):
            return None
        found = find_event(body)
        if found is None:
            return Redacted(described(body), complete=False)
        event, form = found
        shown = self._shown(event)
        complete = shown == event
        if complete and form is Form.PLAIN:
            return None
        text = compact({name: value for name, value in shown.items() if value is not None})
        return Redacted(text, complete and form is not Form.DAMAGED)

    def _shown(self, event: dict[str, Any]) -> dict[str, Any]:
        attributes = {
            name: partial(_valid, each) for name, each in shown_attribute_adapters().items()
        }
        return _shown_object(
            event,
            {
                **attributes,
                "specversion": lambda value: value if value == SPEC_VERSION else described(value),
                "type": lambda value: described(value) if shown_type(value) is None else value,
                "data": partial(self._shown_data, event.get("type")),
            },
        )

    def _shown_data(self, kind: Any, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(kind, str) or kind not in self._commands:
            return described(data)
        if kind not in self._fields:
            adapters = shown_field_adapters(self._commands[kind], self._roles)
            self._fields[kind] = {name: partial(_valid, each) for name, each in adapters.items()}
        return _shown_object(data, self._fields[kind])


def read_attributes(body: str) -> CommandAttributes | None:
    """Return the valid attributes of the command in a body of any form.

    `None` if there is no command, or if its id, its type or its source is not valid.
    """
    found = find_event(body)
    if found is None:
        return None
    event, _ = found
    kind = shown_type(event.get("type"))
    valid = {
        name: event[name]
        for name, adapter in attribute_adapters().items()
        if event.get(name) is not None and _is_valid(adapter, event[name])
    }
    if kind is None or kind in EVENTS or not valid.keys() >= {"id", "source"}:
        return None
    return CommandAttributes(
        command_id=valid["id"].lower(),
        type=kind,
        source=valid["source"],
        user_id=valid["subject"].lower() if "subject" in valid else None,
        correlation_id=valid.get("correlationid"),
        actor=valid.get("actor"),
        traceparent=valid.get("traceparent"),
        tracestate=valid.get("tracestate"),
    )


def shown_attribute(name: str, value: str | None) -> str | None:
    """Return an attribute of the producer if dead letters and logs may show it, else `None`."""
    adapter = shown_attribute_adapters().get(name)
    shown = value is not None and adapter is not None and _is_valid(adapter, value)
    return value if shown else None


def shown_unknown(values: Collection[Any]) -> dict[str, Any]:
    """Return what is shown of the unknown fields of an object with these values: no name."""
    listed = [described(value) for _, value in zip(range(_MAX_LISTED), values, strict=False)]
    more = len(values) - len(listed)
    return {UNKNOWN: [*listed, f"[{more} more]"] if more else listed} if values else {}


def described(value: Any) -> Any:
    """Return the type and the length of a JSON value, in brackets; a placeholder as it is."""
    match value:
        case None:
            return "[null]"
        case bool():
            return "[boolean]"
        case str():
            return value if is_placeholder(value) else f"[string of {len(value)} characters]"
        case list():
            return f"[array of {len(value)} items]"
        case dict():
            return f"[object of {len(value)} fields]"
    return f"[number of {len(str(value))} characters]"


def _shown_object(value: dict[str, Any], known: Mapping[str, Show]) -> dict[str, Any]:
    shown = {name: known[name](item) for name, item in value.items() if name in known}
    unknown = {name: item for name, item in value.items() if name not in known}
    listed = unknown.get(UNKNOWN)
    if len(unknown) == 1 and isinstance(listed, list) and all(map(is_placeholder, listed)):
        return shown | unknown
    return shown | shown_unknown(unknown.values())


def _valid(adapter: TypeAdapter[Any], value: Any) -> Any:
    return value if value is None or _is_valid(adapter, value) else described(value)


def _is_valid(adapter: TypeAdapter[Any], value: Any) -> bool:
    try:
        return adapter.validate_python(value) is not None  # `None`: a trace context to ignore
    except ValidationError:
        return False


def is_placeholder(value: Any) -> bool:
    """Return True for a text that stands for a redacted value."""
    return isinstance(value, str) and _PLACEHOLDER.fullmatch(value) is not None
