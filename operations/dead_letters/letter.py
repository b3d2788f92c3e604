"""A dead letter in a form that is safe to show: command and reason, without secrets."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Self

from adapters.sqs.dead_letter_queue import StoredLetter
from adapters.sqs.dead_letters import REASON_ATTRIBUTES, time_text
from application.messages import MalformedMessageError, redact
from application.messages.commands import read_event
from application.messages.redaction import REDACTED
from domain.errors import InvalidValueError
from domain.values import parse_id

BY_SQS = "BySqs"
"""Reason of a letter that SQS moved by the redrive policy; the worker gave no reason."""
UNREADABLE = "-"
"""Command of a letter whose command cannot be read."""
_TYPE = re.compile(r"biome\.user\.[A-Z][A-Za-z0-9]{0,63}\.v[1-9][0-9]{0,3}")


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter, with the values that can be read from its body."""

    stored: StoredLetter
    command_type: str | None
    """The message type, if it looks like one; any other text may be a misplaced value."""
    command_id: str | None
    """The command's id, if it can be read."""
    user_id: str | None
    """The id of the user, if the command names one."""
    redacted: bool
    """Whether a secret of the message is redacted in the stored body."""

    @classmethod
    def read(cls, stored: StoredLetter) -> Self:
        """Parse a letter; unreadable values are `None`."""
        try:
            event = read_event(stored.body)
        except MalformedMessageError:
            event = {}
        kind = event.get("type")
        return cls(
            stored,
            kind if isinstance(kind, str) and _TYPE.fullmatch(kind) else None,
            _id(event.get("id")),
            _id(event.get("subject")),
            redacted=REDACTED in stored.body,
        )

    def without_body(self) -> Self:
        """Return the letter without body and producer's attributes, which can be up to 1 MiB."""
        reason = {n: v for n, v in self.stored.attributes.items() if n in REASON_ATTRIBUTES}
        return replace(self, stored=replace(self.stored, body="", attributes=reason))

    @property
    def message_id(self) -> str:
        """SQS message id of the letter."""
        return self.stored.message_id

    @property
    def reason(self) -> str:
        """Its `error_code`, or `BY_SQS`."""
        return self.stored.reason or BY_SQS

    @property
    def command(self) -> str:
        """Name of the letter's command."""
        return self.command_type.split(".")[2] if self.command_type else UNREADABLE

    @property
    def ids(self) -> frozenset[str]:
        """All ids of the letter."""
        named = (self.message_id, self.stored.original_id, self.command_id)
        return frozenset(each for each in named if each)

    @property
    def body(self) -> str:
        """The body without secrets, even if SQS moved the letter unchanged."""
        clean = redact(self.stored.body)
        return self.stored.body if clean is None else clean

    def age(self, now: float) -> float:
        """Return the seconds since it was sent; `now` is in seconds since the epoch."""
        return max(0.0, now - self.stored.sent_at)

    def facts(self, now: float) -> dict[str, object]:
        """Return the letter for JSON output, without its body."""
        return {
            "message_id": self.message_id,
            "reason": self.reason,
            "detail": self.stored.detail,
            "command_type": self.command_type,
            "command_id": self.command_id,
            "user_id": self.user_id,
            "sent_at": time_text(self.stored.sent_at),
            "original_sent_at": time_text(self.stored.original_sent_at),
            "age_seconds": round(self.age(now), 1),
            "redrives": self.stored.redrives,
            "redacted": self.redacted,
            "original_message_id": self.stored.original_id,
            "queue": self.stored.original_queue,
            "group": self.stored.group_id,
        }

    def attributes(self) -> dict[str, object]:
        """Return the message attributes, with secrets removed from the producer's attributes."""
        own: dict[str, object] = {}
        for name, value in self.stored.attributes.items():
            text = value.get("StringValue")
            own[name] = "(binary)" if text is None else text
        ours = {name: text for name, text in own.items() if name in REASON_ATTRIBUTES}
        rest = {name: text for name, text in own.items() if name not in ours}
        clean = redact(json.dumps(rest))
        return ours | (rest if clean is None else json.loads(clean))


def _id(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        return parse_id(value)
    except InvalidValueError:
        return None
