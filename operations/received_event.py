"""An event received from the topic."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from domain.events import EVENTS

DEEPEST: Final = 50
"""Maximum nesting of an event. Deeper JSON can be parsed, but not always rendered again."""


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """CloudEvent from the topic; missing attributes are empty, since anyone may publish there."""

    id: str
    type: str
    user_id: str | None
    sequence: int | None
    command_id: str | None
    time: datetime
    """Time of the commit or, if that is missing, of the receipt."""
    received_at: float
    """Seconds of the monotonic clock."""
    data: dict[str, Any]
    attributes: dict[str, Any]
    """All attributes of the CloudEvent."""

    @classmethod
    def parse(cls, body: str, received_at: float) -> Self:
        """Parse a body from raw delivery.

        Raises:
            ValueError: the body is not a CloudEvent in JSON, or it is nested too deeply.
        """
        event = _attributes(body)
        data = event.get("data")
        sequence = str(event.get("sequence") or "")
        return cls(
            id=str(event.get("id") or ""),
            type=event["type"],
            user_id=_text(event.get("subject")),
            sequence=int(sequence) if sequence.isascii() and sequence.isdigit() else None,
            command_id=_text(event.get("causationid")),
            time=_time(event.get("time")),
            received_at=received_at,
            data=data if isinstance(data, dict) else {},
            attributes=event,
        )

    @property
    def name(self) -> str:
        """The event's class name, or the whole type of an unknown event."""
        return EVENTS[self.type].__name__ if self.type in EVENTS else self.type

    @property
    def category(self) -> str:
        """The event's category; empty for an unknown event."""
        return EVENTS[self.type].category if self.type in EVENTS else ""


def parse_events(bodies: Iterable[str]) -> Iterator[ReceivedEvent]:
    """Yield the events in bodies that were just received; others may publish to the topic, too."""
    now = time.monotonic()
    for body in bodies:
        with contextlib.suppress(ValueError):
            yield ReceivedEvent.parse(body, now)


def _attributes(body: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError, TypeError, RecursionError):  # TypeError: not a string
        event: Any = json.loads(body)
        if "\\ud" in body.lower():  # an escaped surrogate; without its pair it cannot be encoded
            text = json.dumps(event, ensure_ascii=False)
            event = json.loads(text.encode("utf-8", "replace"))
        named = isinstance(event, dict) and isinstance(event.get("type"), str)
        if named and not _is_deeper(event, DEEPEST):
            return dict(event)
    raise ValueError(f"not a CloudEvent in JSON of at most {DEEPEST} levels")


def _is_deeper(value: object, most: int) -> bool:
    """Return True if a value is nested more than `most` levels deep."""
    level = [value]
    for _ in range(most):
        nested = [each for each in level if isinstance(each, dict | list)]
        if not nested:
            return False
        level = [
            inner
            for each in nested
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return any(isinstance(each, dict | list) for each in level)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _time(value: object) -> datetime:
    try:
        return datetime.fromisoformat(str(value)).astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.now(UTC)
