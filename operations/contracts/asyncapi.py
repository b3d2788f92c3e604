"""The AsyncAPI 3.0 document: channels, operations, bindings, headers and security.

https://www.asyncapi.com/docs/reference/specification/v3.0.0. It describes the worker's side: the
worker receives commands and sends events. Payloads are the schema files beside the document.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from importlib.metadata import version
from typing import Any, Final

from adapters.sqs.dead_letters import QUARANTINED, REDACTED, UNWRAPPED
from application.messages import MalformedCode
from application.messages.attributes import MAX_SOURCE
from application.messages.samples import command_definition
from application.messages.upcasting import FORMER_COMMANDS
from domain.commands import COMMANDS, Command
from domain.events import EVENTS
from domain.fields import fields_of
from worker.settings import EVENTS_TOPIC, Settings, personal_topic_of

COMMANDS_FOLDER: Final = "commands"
EVENTS_FOLDER: Final = "events"
ASYNCAPI: Final = "3.0.0"
SQS_BINDING: Final = "0.2.0"
SNS_BINDING: Final = "0.1.0"
CONTENT_TYPE: Final = "application/cloudevents+json"
DEAD_LETTER_RETENTION: Final = 1_209_600
"""Seconds: 14 days, the maximum retention of SQS, which `provision` sets."""
PERSONAL_TOPIC: Final = personal_topic_of(EVENTS_TOPIC)
_ABOUT: Final = """\
The only writer of Biome's users. Services send commands to a queue. The worker processes each \
command id once and publishes the result on a topic: the events of the change, CommandRejected, \
CommandHadNoEffect, or CommandDeadLettered. E-mail addresses of events are published on a second \
topic only. Commands and events are CloudEvents 1.0 in structured JSON.

Within a version, fields are only added. Subscribers must ignore unknown fields of an event. A \
command with an unknown field is dead-lettered."""
_SIGV4: Final = (
    "AWS Signature Version 4: an IAM principal signs each request; every AWS SDK does this. "
    "AsyncAPI has no security type for SigV4; it is an HTTP authorization scheme."
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
            "userEvents": _topic_channel(
                EVENTS_TOPIC,
                "Events",
                EVENTS,
                "All events, at least once and in any order: deduplicate by id, order by sequence. "
                "E-mail addresses are null.",
            ),
            "userEventsPersonal": _topic_channel(
                PERSONAL_TOPIC,
                "Events with e-mail addresses",
                [
                    kind
                    for kind, event in EVENTS.items()
                    if any(f.personal for f in fields_of(event))
                ],
                "The events that have e-mail addresses, complete; they have the same id and "
                "sequence as on the ordinary topic. At least once and in any order.",
            ),
            "deadLetters": _dead_letters_channel(),
        },
        "operations": _operations(),
        "components": {
            "messages": _command_messages() | _event_messages() | {"DeadLetter": _dead_letter()},
            "correlationIds": {
                "commandId": {
                    "description": "Id of the command.",
                    "location": "$message.payload#/id",
                },
                "causationId": {
                    "description": "Id of the command that caused the event.",
                    "location": "$message.payload#/causationid",
                },
            },
            "securitySchemes": {
                "sigv4": {"type": "http", "scheme": "AWS4-HMAC-SHA256", "description": _SIGV4}
            },
        },
    }


def message_key(kind: str) -> str:
    """Return the name of a message in the contracts: `BanUser.v1` for `biome.user.BanUser.v1`."""
    return ".".join(kind.split(".")[2:])


def command_path(kind: str) -> str:
    """Return the path of a command's schema."""
    return f"{COMMANDS_FOLDER}/{message_key(kind)}.json"


def event_path(kind: str) -> str:
    """Return the path of an event's schema."""
    return f"{EVENTS_FOLDER}/{message_key(kind)}.json"


def command_kinds() -> list[str]:
    """Return the accepted message types: the newest versions, then the former ones."""
    return [*COMMANDS, *FORMER_COMMANDS]


def _setting(name: str) -> Any:
    return Settings.model_fields[name].default


def _ref(path: str) -> dict[str, str]:
    return {"$ref": path}


def _text(description: str, **rules: object) -> dict[str, Any]:
    return {"description": description, "type": "string", **rules}


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
            "Commands of services, one CloudEvent per message. It may be a FIFO queue, with a "
            "name that ends in .fifo: then MessageGroupId is the user's id, and "
            "MessageDeduplicationId is a new UUID each time a message is sent."
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


def _topic_channel(name: str, title: str, kinds: Iterable[str], description: str) -> dict[str, Any]:
    return {
        "address": name,
        "title": title,
        "description": description,
        "servers": [_ref("#/servers/sns")],
        "messages": _messages(kinds),
        "bindings": {
            "sns": {
                "name": name,
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
        "description": "Messages that are invalid, or failed too often.",
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
    subscriptions = {"consumers": [consumer], "bindingVersion": SNS_BINDING}
    return {
        "decideCommand": {
            "action": "receive",
            "channel": _ref("#/channels/userCommands"),
            "title": "Decide a command",
            "description": (
                "The outcome is recorded once per command id and published on the topic: subscribe "
                "with a filter on command_source and match causationid with the command's id."
            ),
            "security": security,
            "reply": {"channel": _ref("#/channels/userEvents")},
        },
        "publishEvent": {
            "action": "send",
            "channel": _ref("#/channels/userEvents"),
            "title": "Publish an event",
            "security": security,
            "bindings": {"sns": {"topic": {"name": EVENTS_TOPIC}, **subscriptions}},
        },
        "publishPersonalEvent": {
            "action": "send",
            "channel": _ref("#/channels/userEventsPersonal"),
            "title": "Publish an event with e-mail addresses",
            "security": security,
            "bindings": {"sns": {"topic": {"name": PERSONAL_TOPIC}, **subscriptions}},
        },
        "deadLetter": {
            "action": "send",
            "channel": _ref("#/channels/deadLetters"),
            "title": "Dead-letter a message",
            "security": security,
        },
    }


def _command_messages() -> dict[str, Any]:
    return {
        message_key(kind): {
            "name": kind,
            "title": message_key(kind),
            "summary": command_definition(kind).__doc__,
            **_expiry(command_definition(kind)),
            "contentType": CONTENT_TYPE,
            "correlationId": _ref("#/components/correlationIds/commandId"),
            "payload": _ref(f"./{command_path(kind)}"),
        }
        for kind in command_kinds()
    }


def _expiry(command: type[Command]) -> dict[str, str]:
    if command.max_age is None:
        return {}
    hours = command.max_age // timedelta(hours=1)
    return {"description": f"Rejected with CommandExpired if it is older than {hours} h."}


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
        "type": _text("The message type.", const=kind),
        "category": _text("Category of the event.", const=category),
        "command_source": _text(
            "Source of the command that caused the event.", maxLength=MAX_SOURCE
        ),
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
        "error_code": _text(f"Reason: {codes}, or another code."),
        "error_detail": _text("The field and the rule that it violates; never a value."),
        "original_message_id": _text("SQS message id of the original message."),
        "received_at": _text("When the message was received.", format="date-time"),
        "original_sent_at": _text(
            "When the message was first sent; a redrive keeps it.", format="date-time"
        ),
    }
    quarantined = _text(
        "Stated if the unchanged message is in the quarantine queue. redacted: a part of the body "
        "is replaced; unwrapped: the body is the whole command.",
        enum=[REDACTED, UNWRAPPED],
    )
    return {
        "name": "DeadLetter",
        "title": "Dead letter",
        "summary": "The valid part of a message, and the reason for dead-lettering.",
        "contentType": "text/plain",
        "headers": {
            "type": "object",
            "description": "SQS message attributes of type String.",
            "properties": {**properties, QUARANTINED: quarantined},
            "required": list(properties),
        },
        "payload": {
            "type": "string",
            "description": "The command as a CloudEvent; values that are not valid are replaced by "
            "their type and length, such as [string of 12 characters]. If there is no command, the "
            "length of the body.",
        },
    }
