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


def annotated(schema: dict[str, Any], description: str, example: Any) -> dict[str, Any]:
    """Return a JSON Schema with a description and an example."""
    return {"description": description, **schema, "examples": [example]}


@dataclass(frozen=True, slots=True)
class Description:
    """What an attribute means, and a valid value."""

    text: str
    example: Any

    def annotate(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the attribute's schema with its description and example."""
        return annotated(schema, self.text, self.example)


_COMMAND_ATTRIBUTES: Final = {
    "specversion": Description("The version of CloudEvents.", "1.0"),
    "id": Description(
        "The command's id, not the nil or max UUID. With the user's id it is the idempotency key: "
        "sent again, the same command changes nothing, and another one under it is dead-lettered.",
        EXAMPLE_COMMAND,
    ),
    "source": Description(
        "Who asks. It comes back as the message attribute command_source of the events.",
        EXAMPLE_SOURCE,
    ),
    "type": Description("The message type, biome.user.<Name>.v<N>.", "biome.user.RegisterUser.v1"),
    "subject": Description("The user's id, not the nil or max UUID.", EXAMPLE_USER),
    "time": Description(
        "When it was asked for; left out, when the message was sent.", "2026-11-22T10:00:00Z"
    ),
    "datacontenttype": Description("The form of data; may be left out.", "application/json"),
    "data": Description("The command's fields; one that is not listed is an error.", {}),
    "expectedversion": Description(
        "Reject unless the user is at this version; 0: does not exist.", 7
    ),
    "expirytime": Description("Reject when it is not decided by then.", "2026-11-22T10:05:00Z"),
    "correlationid": Description(
        "Comes back in every event and stands in logs: nothing of a person.", "order-4711"
    ),
    "actor": Description("On whose behalf; checked, and not kept.", "support/7"),
    "traceparent": Description("W3C Trace Context; left out when it is malformed.", _TRACE),
    "tracestate": Description("W3C Trace Context; left out when it is malformed.", "vendor=1"),
}
_EVENT_ATTRIBUTES: Final = {
    "specversion": _COMMAND_ATTRIBUTES["specversion"],
    "id": Description(
        "The event's id, the same however often it is published: deduplicate by it.",
        "91d73223-f80c-5ad9-92ed-173da7048fff",
    ),
    "source": Description("Always the worker.", "urn:biome:user-worker"),
    "type": Description("The message type, biome.user.<Name>.v<N>.", "biome.user.UserBanned.v1"),
    "subject": Description(
        "The user's id; absent if a command named an unknown address.", EXAMPLE_USER
    ),
    "time": Description("The worker's clock at the commit.", "2026-11-22T10:00:00.412Z"),
    "datacontenttype": Description("The form of data.", "application/json"),
    "sequence": Description(
        "The user's version after the event: 1, 2, 3, ... without gaps, of 20 digits, so that they "
        "compare as strings. Absent from events of category command.",
        "00000000000000000007",
    ),
    "causationid": Description("The id of the command that it came of.", EXAMPLE_COMMAND),
    "correlationid": Description("As in the command, where it had one.", "order-4711"),
    "traceparent": Description("As in the command, where it had one.", _TRACE),
    "tracestate": Description("As in the command, where it had one.", "vendor=1"),
    "data": Description("What happened. Fields may be added: ignore those you do not know.", {}),
}


def command_attribute(name: str) -> Description:
    """Return the description of an attribute of a command's CloudEvent.

    Raises:
        KeyError: the attribute has no description.
    """
    return _COMMAND_ATTRIBUTES[name]


def event_attribute(name: str) -> Description:
    """Return the description of an attribute of an event's CloudEvent.

    Raises:
        KeyError: the attribute has no description.
    """
    return _EVENT_ATTRIBUTES[name]
