"""What the attributes of CloudEvents mean, with an example each; published in the contracts.

Fields of commands and events are described by their rules in `domain.commands` and `domain.events`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

EXAMPLE_USER: Final = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77"
EXAMPLE_COMMAND: Final = "0190b6d2-7d8a-7c1e-9a53-0a1f5d0c9b11"
EXAMPLE_SOURCE: Final = "/signup"
_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass(frozen=True, slots=True)
class Description:
    """What an attribute or a field means, and a valid value."""

    text: str
    example: Any

    def annotate(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return a JSON Schema with the description and the example."""
        return {"description": self.text, **schema, "examples": [self.example]}


COMMAND_ATTRIBUTES: Final = {
    "specversion": Description("The version of CloudEvents.", "1.0"),
    "id": Description(
        "Id of the command, not the nil or max UUID. It is the idempotency key, together with the "
        "user's id: a repeated command changes nothing; a different command with the same id is "
        "dead-lettered.",
        EXAMPLE_COMMAND,
    ),
    "source": Description(
        "The sender of the command. The events repeat it in the message attribute command_source.",
        EXAMPLE_SOURCE,
    ),
    "type": Description("The message type, biome.user.<Name>.v<N>.", "biome.user.RegisterUser.v1"),
    "subject": Description("Id of the user, not the nil or max UUID.", EXAMPLE_USER),
    "time": Description(
        "When the command was requested, at most 5 minutes after the message was sent. Default: "
        "when the message was sent to the queue. The age counts from the earlier of the two.",
        "2026-11-22T10:00:00Z",
    ),
    "datacontenttype": Description("Media type of data. Optional.", "application/json"),
    "data": Description("Fields of the command. An unknown field is an error.", {}),
    "expectedversion": Description(
        "The command is rejected unless the user has this version; 0: the user does not exist.", 7
    ),
    "expirytime": Description(
        "The command is rejected if it is decided later.", "2026-11-22T10:05:00Z"
    ),
    "correlationid": Description(
        "Repeated in every event and in logs; must not contain personal data.", "order-4711"
    ),
    "actor": Description(
        "Id of the person or service on whose behalf the command was sent, without @: it is "
        "stored with the outcome and repeated in every event.",
        "support/7",
    ),
    "traceparent": Description("W3C Trace Context; ignored if malformed.", _TRACE),
    "tracestate": Description("W3C Trace Context; ignored if malformed.", "vendor=1"),
}
EVENT_ATTRIBUTES: Final = {
    "specversion": COMMAND_ATTRIBUTES["specversion"],
    "id": Description(
        "Id of the event. It is the same each time the event is published: use it to deduplicate.",
        "91d73223-f80c-5ad9-92ed-173da7048fff",
    ),
    "source": Description("Always the worker.", "urn:biome:user-worker"),
    "type": Description("The message type, biome.user.<Name>.v<N>.", "biome.user.UserBanned.v1"),
    "subject": Description(
        "Id of the user; absent if the command contained an unknown e-mail address.", EXAMPLE_USER
    ),
    "time": Description("When the worker committed the event.", "2026-11-22T10:00:00.412Z"),
    "datacontenttype": Description("Media type of data.", "application/json"),
    "sequence": Description(
        "The user's version after the event: 1, 2, 3, ... without gaps, padded to 20 digits so "
        "that strings sort correctly. Absent from events of category command.",
        "00000000000000000007",
    ),
    "causationid": Description("Id of the command that caused the event.", EXAMPLE_COMMAND),
    "correlationid": Description("Copied from the command, if present there.", "order-4711"),
    "actor": Description("Copied from the command, if present there.", "support/7"),
    "traceparent": Description("Copied from the command, if present there.", _TRACE),
    "tracestate": Description("Copied from the command, if present there.", "vendor=1"),
    "data": Description("Fields of the event. Fields may be added: ignore unknown ones.", {}),
}
