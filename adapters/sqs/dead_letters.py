"""Render dead letters as entries of SQS batches, and compute their size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from adapters.aws.batching import MAX_CALL_BYTES
from application.messages import Redactor
from application.messages.encoding import compact
from application.messages.reading import find_event
from application.messages.redaction import described
from application.queue_port import DeadLetterMessage
from domain.errors import InvalidValueError
from domain.values import parse_time, render_time

MAX_DETAIL = 1_000
"""Maximum characters of the `error_detail` attribute."""
REASON = "MessageAttributes"
"""The field of an entry that holds the reason."""
ERROR_CODE = "error_code"
ERROR_DETAIL = "error_detail"
ORIGINAL_ID = "original_message_id"
RECEIVED_AT = "received_at"
ORIGINAL_QUEUE = "original_queue"
REDRIVES = "redrive_count"
"""Number of earlier redrives; a redrive increments it, and the worker passes it on."""
ORIGINAL_SENT_AT = "original_sent_at"
"""When the message was first sent; redrive and worker pass it on, so that the age is kept."""
PRINCIPAL = "sender_principal"
"""The principal of the first sender. A redrive repeats it: the sender's permissions apply."""
ORIGINAL_GROUP = "original_group"
"""The message group of the original; on the quarantine queue only."""
QUARANTINED = "quarantined"
"""Stated if the original is in the quarantine queue: how the letter's body differs from it."""
REDACTED = "redacted"
"""A value of `QUARANTINED`: a part of the body is replaced, so the command is not complete."""
UNWRAPPED = "unwrapped"
"""A value of `QUARANTINED`: the body is the whole command without its wrapping (Celery, SNS)."""
EDITED = "edited_original"
"""The redacted body before an operator corrected the command; the worker passes it on."""
MAX_EDITED = 64_000
"""Maximum characters of `edited_original`: a longer text of any sender is not even parsed."""
REASON_ATTRIBUTES = frozenset(
    {
        QUARANTINED,
        ERROR_CODE,
        ERROR_DETAIL,
        ORIGINAL_ID,
        RECEIVED_AT,
        ORIGINAL_QUEUE,
        REDRIVES,
        ORIGINAL_SENT_AT,
        PRINCIPAL,
    }
)
UNKNOWN_PRINCIPAL = "unknown"
"""Stated by a redrive if it is not known who sent the message first: the id of no producer."""
_STRICT = Redactor(())
_PRINCIPAL = re.compile(r"[A-Za-z0-9]{3,128}", re.ASCII)
_INVALID = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_letter(letter: DeadLetterMessage, queue: str, *, fifo: bool) -> dict[str, Any]:
    """Return the entry that sends a message of `queue` to the dead-letter queue with its reason."""
    message, reason = letter.message, letter.reason
    attributes = _origin(letter, queue)
    attributes[ERROR_DETAIL] = reason.detail[:MAX_DETAIL]
    if reason.body is not None:
        attributes[QUARANTINED] = UNWRAPPED if reason.complete else REDACTED
    entry = _entry(message.body if reason.body is None else reason.body, attributes)
    if fifo:
        entry["MessageGroupId"] = message.group_id or message.message_id
        entry["MessageDeduplicationId"] = f"{message.message_id}-{message.receives}"
    elif message.group_id:  # a fair queue: keep its group for a redrive
        entry["MessageGroupId"] = message.group_id
    return entry


def render_original(letter: DeadLetterMessage, queue: str, *, fifo: bool) -> dict[str, Any]:
    """Return the entry that sends a message of `queue` unchanged to the quarantine queue.

    Its group is the message's id, so that no original hides another one of the same user, and the
    id is known even if the attributes have no room.
    """
    message = letter.message
    origin = _origin(letter, queue)
    if message.group_id:
        origin[ORIGINAL_GROUP] = message.group_id
    entry = _entry(message.body, origin)
    entry["MessageGroupId"] = message.message_id
    if fifo:
        entry["MessageDeduplicationId"] = message.message_id
    return entry


def _origin(letter: DeadLetterMessage, queue: str) -> dict[str, str]:
    message = letter.message
    origin = {
        ERROR_CODE: letter.reason.code,
        ORIGINAL_ID: message.message_id,
        RECEIVED_AT: datetime.fromtimestamp(message.received_at, UTC).isoformat(),
        ORIGINAL_QUEUE: queue,
        ORIGINAL_SENT_AT: time_text(earlier(message.sent_at, message.original_sent_at)),
    }
    if message.redrives:
        origin[REDRIVES] = str(message.redrives)
    if letter.reason.principal:
        origin[PRINCIPAL] = letter.reason.principal
    if message.edited_original:
        origin[EDITED] = message.edited_original
    return origin


def _entry(body: str, attributes: Mapping[str, str]) -> dict[str, Any]:
    return {
        "MessageBody": _valid(body) or "-",
        REASON: {
            name: {"DataType": "String", "StringValue": _valid(value) or "-"}
            for name, value in attributes.items()
        },
    }


def original_sent_at(attributes: Mapping[str, Any] | None) -> float | None:
    """Return when a message was first sent, in seconds since the epoch, if an attribute states it.

    Any sender can set the attribute, so an invalid value is ignored and the earlier of it and
    SentTimestamp counts.
    """
    text = str(((attributes or {}).get(ORIGINAL_SENT_AT) or {}).get("StringValue", ""))
    try:
        return parse_time(text).timestamp()
    except InvalidValueError:
        return None


def edited_original(attributes: Mapping[str, Any] | None) -> str | None:
    """Return the body before a correction; `None` for a text that a dead letter must not show.

    Any sender can set the attribute, so a text that is not completely redacted is ignored.
    """
    text = str(((attributes or {}).get(EDITED) or {}).get("StringValue", ""))
    if not 0 < len(text) <= MAX_EDITED or "@" in text or _STRICT.redact(text) is not None:
        return None
    return text


def without_personal_data(body: str) -> str:
    """Return a body as `edited_original` accepts it: redacted, without addresses and roles."""
    redacted = _STRICT.redact(body)
    found = find_event(body if redacted is None else redacted.body)
    return str(described(body)) if found is None else compact(_without_addresses(found[0]))


def _without_addresses(value: Any) -> Any:
    match value:
        case dict():
            return {name: _without_addresses(each) for name, each in value.items()}
        case list():
            return [_without_addresses(each) for each in value]
        case str() if "@" in value:
            return described(value)
    return value


def principal_of(system_attributes: Mapping[str, Any] | None) -> str | None:
    """Return the unique id of the sender from the system attribute SenderId.

    For a role, SenderId is `AROAEXAMPLE:session`. The caller of AssumeRole chooses the name of
    the session.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
    """
    sender = str((system_attributes or {}).get("SenderId", "")).partition(":")[0]
    return sender if _PRINCIPAL.fullmatch(sender) else None


def stated_principal(attributes: Mapping[str, Any] | None) -> str | None:
    """Return the principal that a message attribute states; any sender can set it."""
    text = str(((attributes or {}).get(PRINCIPAL) or {}).get("StringValue", ""))
    return text if _PRINCIPAL.fullmatch(text) else None


def earlier(sent_at: float, stated: float | None) -> float:
    """Return the earlier of SentTimestamp and a time that an attribute states."""
    return sent_at if stated is None else min(sent_at, stated)


def time_text(seconds: float) -> str:
    """Return a time, given in seconds since the epoch, in RFC 3339."""
    return render_time(datetime.fromtimestamp(seconds, UTC))


def _valid(text: str) -> str:
    """Return the text with the characters that SQS refuses replaced."""
    return _INVALID.sub("\N{REPLACEMENT CHARACTER}", text)


def entry_size(entry: Mapping[str, Any]) -> int:
    """Return an entry's bytes as SQS counts them: body, attribute names, types and values."""
    return len(entry.get("MessageBody", "").encode()) + attributes_size(entry.get(REASON, {}))


def attributes_size(attributes: Mapping[str, Any]) -> int:
    """Return the bytes of names, types and values."""
    texts = [text for name, value in attributes.items() for text in (name, value["DataType"])]
    values = [value.get("StringValue", "") for value in attributes.values()]
    binary = sum(len(value.get("BinaryValue", b"")) for value in attributes.values())
    return sum(len(text.encode()) for text in (*texts, *values)) + binary


def outgrown_by_reason(entry: Mapping[str, Any]) -> bool:
    """Return True if the reason may make a message too long; queues have one of two limits."""
    body, size = len(entry["MessageBody"].encode()), entry_size(entry)
    return any(body <= limit < size for limit in (MAX_CALL_BYTES, 4 * MAX_CALL_BYTES))
