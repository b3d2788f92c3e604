"""A dead letter in a form that is safe to show: command and reason, without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from adapters.sqs.dead_letter_queue import StoredLetter
from adapters.sqs.dead_letters import (
    EDITED,
    ORIGINAL_SENT_AT,
    PRINCIPAL,
    REASON_ATTRIBUTES,
    REDACTED,
    REDRIVES,
    edited_original,
    original_sent_at,
    stated_principal,
    time_text,
)
from application.messages import Redactor
from application.messages.errors import shown_type
from application.messages.reading import find_event
from application.messages.redaction import described, shown_attribute, shown_unknown
from operations.presentation import known_id

BY_SQS = "BySqs"
"""Reason of a letter that SQS moved by the redrive policy; the worker gave no reason."""
UNREADABLE = "-"
"""Command of a letter whose command cannot be read."""
_GROUP = re.compile(r"[0-9a-f]{64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A message group of this project's senders: an id, or the hash of an address."""


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

    @classmethod
    def read(cls, stored: StoredLetter) -> Self:
        """Parse a letter; unreadable values are `None`."""
        found = find_event(stored.body)
        event = {} if found is None else found[0]
        return cls(
            stored,
            shown_type(event.get("type")),
            known_id(event.get("id")),
            known_id(event.get("subject")),
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
    def redacted(self) -> bool:
        """Whether the stored body lacks a part of the command, which is in the quarantine queue."""
        return self.stored.quarantined == REDACTED

    def body(self, redactor: Redactor) -> str:
        """Return the body as it may be shown, even if SQS moved the letter unchanged."""
        redacted = redactor.redact(self.stored.body)
        return self.stored.body if redacted is None else redacted.body

    @property
    def edited_from(self) -> str | None:
        """The redacted body before an operator corrected it; `None` if it is unchanged."""
        return edited_original(self.stored.attributes)

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
            "group": self._group,
        }

    @property
    def _group(self) -> str | None:
        group = self.stored.group_id
        return group if group is None or _GROUP.fullmatch(group) else described(group)

    def attributes(self) -> dict[str, Any]:
        """Return the message attributes that may be shown, and the type and size of the others.

        The worker wrote the reason, unless SQS moved the letter: then the sender wrote all of them.
        """
        shown, unknown = dict[str, Any](), list[Any]()
        for name, value in self.stored.attributes.items():
            if name == EDITED and self.edited_from is not None:
                continue  # shown as a body
            text = value.get("StringValue")
            if text is not None and self._is_shown(name, text):
                shown[name] = text
            elif text is None:
                unknown.append(f"[binary of {len(value.get('BinaryValue') or b'')} bytes]")
            else:
                unknown.append(described(text))
        return shown | shown_unknown(unknown)

    def _is_shown(self, name: str, text: str) -> bool:
        if name in REASON_ATTRIBUTES and not self.stored.source_queue:
            return True
        attributes = {name: {"StringValue": text}}
        own: Mapping[str, object] = {
            REDRIVES: self.stored.redrives or None,
            ORIGINAL_SENT_AT: original_sent_at(attributes),
            PRINCIPAL: stated_principal(attributes),
        }
        return own.get(name, shown_attribute(name, text)) is not None
