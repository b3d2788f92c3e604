"""The AsyncAPI 3.0 document: channels, operations, bindings, headers and security.

https://www.asyncapi.com/docs/reference/specification/v3.0.0. It describes the worker's side: the
worker receives commands and sends events. Payloads are the schema files beside the document.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any, Final

from application.messages import MalformedCode
from application.messages.attributes import MAX_SOURCE
from application.messages.samples import command_definition
from application.messages.upcasting import FORMER_COMMANDS
from domain.commands import COMMANDS
from domain.events import EVENTS
from operations.contracts.paths import command_path, event_path, message_key
from worker.settings import Settings

ASYNCAPI: Final = "3.0.0"
SQS_BINDING: Final = "0.2.0"
SNS_BINDING: Final = "0.1.0"
CONTENT_TYPE: Final = "application/cloudevents+json"
DEAD_LETTER_RETENTION: Final = 1_209_600
"""Seconds: 14 days, the maximum retention of SQS, which `provision` sets."""
_STRING: Final = {"type": "string"}
_ABOUT: Final = """\
The one writer of Biome's users. Services put commands on a queue; each is decided once, by its \
id, and answered by events on a topic: those of its effect, CommandRejected, or \
CommandHadNoEffect. Both directions are CloudEvents 1.0 in structured JSON.

Within a version, changes are additive only: unknown fields of an event are to be ignored, while \
a command with a field that the worker does not know is dead-lettered."""
_SIGV4: Final = (
    "AWS Signature Version 4: an IAM principal signs each request; every AWS SDK does it. "
    "AsyncAPI has no type of its own for it, and SigV4 is an HTTP authorization scheme."
)


def asyncapi() -> dict[str, Any]:
    """Return the document."""
    return {
        "asyncapi": ASYNCAPI,
        "id": "urn:biome:user-worker",
        "info": {
            "title": "User worker",
            "version": version("user-worker"),
            "description": _ABOUT,
            "license": {"name": "MIT"},
            "tags": [{"name": "users"}],
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {"sqs": _server("sqs"), "sns": _server("sns")},
        "channels": {
            "userCommands": _commands_channel(),
            "userEvents": _events_channel(),
            "deadLetters": _dead_letters_channel(),
        },
        "operations": _operations(),
        "components": {
            "messages": _command_messages() | _event_messages() | {"DeadLetter": _dead_letter()},
            "correlationIds": {
                "commandId": {
                    "description": "The command's id.",
                    "location": "$message.payload#/id",
                },
                "causationId": {
                    "description": "The id of the command that the event came of.",
                    "location": "$message.payload#/causationid",
                },
            },
            "securitySchemes": {
                "sigv4": {"type": "http", "scheme": "AWS4-HMAC-SHA256", "description": _SIGV4}
            },
        },
    }


def command_kinds() -> list[str]:
    """Return the accepted message types: the newest versions, then the former ones."""
    return [*COMMANDS, *FORMER_COMMANDS]


def _setting(name: str) -> Any:
    return Settings.model_fields[name].default


def _ref(path: str) -> dict[str, str]:
    return {"$ref": path}


def _server(service: str) -> dict[str, Any]:
    region = {"description": "The AWS region.", "default": "us-east-1"}
    return {
        "host": f"{service}.{{region}}.amazonaws.com",
        "protocol": service,
        "variables": {"region": region},
        "security": [_ref("#/components/securitySchemes/sigv4")],
    }


def _messages(kinds: Iterable[str]) -> dict[str, Any]:
    keys = map(message_key, kinds)
    return {key: _ref(f"#/components/messages/{key}") for key in keys}


def _commands_channel() -> dict[str, Any]:
    queue = {
        "name": _setting("command_queue"),
        "fifoQueue": False,
        "visibilityTimeout": _setting("visibility_timeout"),
        "redrivePolicy": {
            "deadLetterQueue": {"name": _setting("dead_letter_queue")},
            "maxReceiveCount": _setting("max_receives"),
        },
    }
    return {
        "address": _setting("command_queue"),
        "title": "Commands",
        "description": (
            "What services ask for, one CloudEvent a message. It may also be a FIFO queue, its "
            "name ending in .fifo: then MessageGroupId is the user's id, and "
            "MessageDeduplicationId a new UUID for each sending."
        ),
        "servers": [_ref("#/servers/sqs")],
        "messages": _messages(command_kinds()),
        "bindings": {
            "sqs": {
                "queue": queue,
                "deadLetterQueue": _dead_letter_queue(),
                "bindingVersion": SQS_BINDING,
            }
        },
    }


def _events_channel() -> dict[str, Any]:
    return {
        "address": _setting("events_topic"),
        "title": "Events",
        "description": (
            "What happened, at least once and in any order: deduplicate by id, order by sequence."
        ),
        "servers": [_ref("#/servers/sns")],
        "messages": _messages(EVENTS),
        "bindings": {
            "sns": {
                "name": _setting("events_topic"),
                "ordering": {"type": "standard", "contentBasedDeduplication": False},
                "bindingVersion": SNS_BINDING,
            }
        },
    }


def _dead_letter_queue() -> dict[str, Any]:
    return {
        "name": _setting("dead_letter_queue"),
        "fifoQueue": False,
        "messageRetentionPeriod": DEAD_LETTER_RETENTION,
    }


def _dead_letters_channel() -> dict[str, Any]:
    return {
        "address": _setting("dead_letter_queue"),
        "title": "Dead letters",
        "description": "Messages that can never be understood, or came too often in vain.",
        "servers": [_ref("#/servers/sqs")],
        "messages": {"DeadLetter": _ref("#/components/messages/DeadLetter")},
        "bindings": {"sqs": {"queue": _dead_letter_queue(), "bindingVersion": SQS_BINDING}},
    }


def _operations() -> dict[str, Any]:
    security = [_ref("#/components/securitySchemes/sigv4")]
    consumer = {
        "protocol": "sqs",
        "endpoint": {"name": "a queue of the subscriber"},
        "filterPolicy": {"type": ["biome.user.UserRegistered.v1"]},
        "filterPolicyScope": "MessageAttributes",
        "rawMessageDelivery": True,
    }
    topic = {"name": _setting("events_topic")}
    return {
        "decideCommand": {
            "action": "receive",
            "channel": _ref("#/channels/userCommands"),
            "title": "Decide a command",
            "description": (
                "Recorded once under its id. Answered on the topic: subscribe with a filter on "
                "command_source and match causationid with the command's id."
            ),
            "security": security,
            "reply": {"channel": _ref("#/channels/userEvents")},
        },
        "publishEvent": {
            "action": "send",
            "channel": _ref("#/channels/userEvents"),
            "title": "Publish an event",
            "security": security,
            "bindings": {
                "sns": {"topic": topic, "consumers": [consumer], "bindingVersion": SNS_BINDING}
            },
        },
        "deadLetter": {
            "action": "send",
            "channel": _ref("#/channels/deadLetters"),
            "title": "Put aside what cannot be done",
            "security": security,
        },
    }


def _command_messages() -> dict[str, Any]:
    return {
        message_key(kind): {
            "name": kind,
            "title": message_key(kind),
            "summary": command_definition(kind).__doc__,
            "contentType": CONTENT_TYPE,
            "correlationId": _ref("#/components/correlationIds/commandId"),
            "payload": _ref(f"./{command_path(kind)}"),
        }
        for kind in command_kinds()
    }


def _event_messages() -> dict[str, Any]:
    return {
        message_key(kind): {
            "name": kind,
            "title": message_key(kind),
            "summary": event.__doc__,
            "contentType": CONTENT_TYPE,
            "tags": [{"name": event.category}],
            "correlationId": _ref("#/components/correlationIds/causationId"),
            "headers": _event_headers(kind, event.category),
            "payload": _ref(f"./{event_path(kind)}"),
        }
        for kind, event in EVENTS.items()
    }


def _event_headers(kind: str, category: str) -> dict[str, Any]:
    properties = {
        "type": {"description": "The message type.", **_STRING, "const": kind},
        "category": {"description": "What it is about.", **_STRING, "const": category},
        "command_source": {
            "description": "The source of the command that it came of.",
            **_STRING,
            "maxLength": MAX_SOURCE,
        },
    }
    return {
        "type": "object",
        "description": "SNS message attributes of type String, for filter policies.",
        "properties": properties,
        "required": list(properties),
    }


def _dead_letter() -> dict[str, Any]:
    codes = ", ".join(MalformedCode)
    properties = {
        "error_code": {"description": f"Why: {codes}, or another.", **_STRING},
        "error_detail": {"description": "Which field and which rule; never a value.", **_STRING},
        "original_message_id": {"description": "SQS's id of the message as sent.", **_STRING},
        "received_at": {"description": "When it was received.", **_STRING, "format": "date-time"},
    }
    return {
        "name": "DeadLetter",
        "title": "Dead letter",
        "summary": "A message as it came, without the secrets in it, and why it is here.",
        "contentType": "text/plain",
        "headers": {
            "type": "object",
            "description": "SQS message attributes of type String.",
            "properties": properties,
            "required": list(properties),
        },
        "payload": {"type": "string", "description": "The body; what is secret reads [redacted]."},
    }
