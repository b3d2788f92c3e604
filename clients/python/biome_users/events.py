"""Read events: from the body of an SQS message, raw or in an SNS notification."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, SerializeAsAny, ValidationError

from biome_users._models import EventData
from biome_users.errors import InvalidEventError
from biome_users.event_types import EVENT_TYPES

SOURCE: Final = "urn:biome:user-worker"


class UnknownEvent(EventData):
    """Fields of an event whose type this version of the library does not know."""

    model_config = ConfigDict(extra="allow")


class Event(BaseModel):
    """One event. `match event.data:` distinguishes the types by the class of the fields."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    id: str
    """The same each time the event is delivered: use it to recognise repetitions."""
    type: str
    """The message type, such as `biome.user.UserRegistered.v1`."""
    time: AwareDatetime
    """When the worker committed the event."""
    command_id: str
    """Id of the command that caused the event."""
    data: SerializeAsAny[EventData]
    user_id: str | None = None
    """`None` if the command named an address that no user has."""
    sequence: int | None = None
    """The user's version after the event: 1, 2, 3, ... without gaps. `None` for answers to
    commands that changed nothing."""
    correlation_id: str | None = None
    actor: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None

    def __repr_args__(self) -> Any:
        """Return the type, the id and the sequence, and no personal data."""
        return [("type", self.type), ("id", self.id), ("sequence", self.sequence)]


_NAMES: Final[dict[str, str]] = {
    "subject": "user_id",
    "causationid": "command_id",
    "correlationid": "correlation_id",
}


def parse_event(body: str | bytes) -> Event:
    """Return the event in the body of a message.

    A type that this version does not know has `UnknownEvent` as its data: a later worker may
    publish it. Ignore it, or read its fields with `model_extra`.

    Raises:
        InvalidEventError: the message is not an event of the user worker.
    """
    try:
        found = json.loads(body)
        if isinstance(found, dict) and "TopicArn" in found:  # without raw message delivery
            found = json.loads(found["Message"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InvalidEventError("the message is not JSON") from None
    if not isinstance(found, dict) or found.get("source") != SOURCE:
        raise InvalidEventError("the message is not an event of the user worker")
    return event_of({_NAMES.get(str(name), str(name)): value for name, value in found.items()})


def event_of(attributes: Mapping[str, Any]) -> Event:
    """Return an event from its attributes, named as the fields of `Event`.

    Raises:
        InvalidEventError: a required attribute is missing, or has a wrong type.
    """
    kind = attributes.get("type")
    model = EVENT_TYPES.get(kind, UnknownEvent) if isinstance(kind, str) else UnknownEvent
    try:
        data = model.model_validate(attributes.get("data"))
        return Event.model_validate({**attributes, "data": data})
    except ValidationError as error:
        raise InvalidEventError(f"the event is invalid: {_problems(error)}") from None


def _problems(error: ValidationError) -> str:
    rows = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, row['loc']))}: {row['msg']}" for row in rows[:5])
