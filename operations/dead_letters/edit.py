"""Send a corrected command in place of a dead letter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from adapters.aws.client import error_code
from adapters.sqs.dead_letter_queue import DeadLetterQueue, StoredLetter
from adapters.sqs.dead_letters import (
    EDITED,
    MAX_EDITED,
    ORIGINAL_SENT_AT,
    REDRIVES,
    time_text,
    without_personal_data,
)
from adapters.sqs.sending import BatchSender, QueueMessage
from application.messages import (
    MalformedMessageError,
    MessageParser,
    UnknownTypeError,
)
from application.messages.encoding import compact
from application.messages.outgoing import Outgoing, check_outgoing
from application.messages.reading import find_event
from application.messages.redaction import UNKNOWN, is_placeholder
from operations.dead_letters.letter import Letter
from operations.dead_letters.originals import Originals
from operations.progress import NO_PROGRESS, Progress
from worker.connections import Aws
from worker.errors import CliError, ExitCode, UsageError

_ABSENT: Final = object()


def parse_correction(text: str) -> dict[str, Any]:
    """Return the CloudEvent that an operator has typed.

    Raises:
        UsageError: it is not a JSON object.
    """
    try:
        event = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = (
            f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ""
        )
        raise UsageError(f"the command is not valid JSON: {where}", "nothing was sent") from None
    if not isinstance(event, dict):
        raise UsageError("the command is not a JSON object", "nothing was sent")
    return event


def has_placeholders(value: Any) -> bool:
    """Return True if a value contains a text that stands for a redacted value."""
    match value:
        case dict():
            return any(has_placeholders(each) for each in value.values())
        case list():
            return any(map(has_placeholders, value))
        case _:
            return is_placeholder(value)


def check_correction(event: Mapping[str, Any], parser: MessageParser) -> Outgoing:
    """Check a command without placeholders by the worker's own rules.

    Raises:
        UsageError: the command is invalid; the message names field and rule, never the value.
    """
    try:
        return check_outgoing(compact(event), parser)
    except (UnknownTypeError, MalformedMessageError) as error:
        raise UsageError(f"the command is invalid: {error.detail}", "nothing was sent") from None


def send_correction(
    aws: Aws,
    message_id: str,
    event: Mapping[str, Any],
    actor: str,
    progress: Progress = NO_PROGRESS,
) -> None:
    """Send a corrected command, and then delete its letter and the letter's original.

    A placeholder keeps the value of the original message. The command counts as sent by this
    process's principal, not by the sender of the letter, who did not write it. The redacted body
    before the correction, without addresses, is sent with it: if the command is dead-lettered
    again, the new letter shows it.

    After a crash between the two steps, the letter remains although its correction was sent.

    Args:
        aws: the queues.
        message_id: SQS's id of the letter.
        event: the corrected CloudEvent.
        actor: the person who made the correction; recorded with the outcome.
        progress: receives progress reports.

    Raises:
        CliError: the letter is gone, or the command is invalid or could not be sent.
    """
    roles = aws.settings.roles
    with (
        DeadLetterQueue(aws.sqs, aws.dead_letter_queue_url) as queue,
        Originals(aws) as originals,
    ):
        letter = _find(queue, message_id, progress)
        complete = _completed(event, letter, originals) | {"actor": actor}
        outgoing = check_correction(complete, MessageParser(roles))
        name = letter.original_queue
        named = name if name in aws.settings.queues else aws.settings.command_queue
        attributes = _attributes(letter)
        message = QueueMessage(outgoing.body, outgoing.group, attributes)
        report = BatchSender(aws.sqs, aws.queue_url(named)).send([message])
        if report.code is not None:
            reason = error_code(report.error) if report.error else report.code
            raise CliError(f"the command could not be sent: {reason}", "the letter was kept")
        failures = queue.delete([letter])
        if failures:
            codes = ", ".join(sorted(set(failures.values())))
            raise CliError(
                f"the command was sent, but its letter could not be deleted: {codes}", "delete it"
            )
        originals.delete([letter])


def _find(queue: DeadLetterQueue, message_id: str, progress: Progress) -> StoredLetter:
    with progress.track("looking", queue.depth().visible, "letters") as advance:
        for batch in queue.letters():
            for letter in batch:
                if letter.message_id == message_id:
                    return letter
            advance(len(batch))
    raise CliError("dead letter not found", "it may be in use, or gone", ExitCode.NEGATIVE)


def _completed(
    event: Mapping[str, Any], letter: StoredLetter, originals: Originals
) -> dict[str, Any]:
    """Return the event with the original's values in place of placeholders."""
    if not has_placeholders(event):
        return {name: value for name, value in event.items() if name != UNKNOWN}
    original = originals.of(letter)
    found = find_event((original or letter).body)
    try:
        completed: dict[str, Any] = _merged(event, {} if found is None else found[0], "")
    except KeyError as missing:
        why = f" ({originals.unavailable})" if originals.unavailable else ""
        raise UsageError(
            f"{missing.args[0]}: the original value cannot be read{why}",
            "replace the placeholder by a value",
        ) from None
    return completed


def _merged(edited: Any, original: Any, path: str) -> Any:
    """Raise KeyError with the path of a placeholder whose original is absent or redacted, too."""
    match edited:
        case dict():
            known = original if isinstance(original, dict) else {}
            return {
                name: _merged(value, known.get(name, _ABSENT), f"{path}.{name}".lstrip("."))
                for name, value in edited.items()
                if name != UNKNOWN
            }
        case list():
            values = original if isinstance(original, list) else []
            padded = [*values, *[_ABSENT] * len(edited)]
            return [
                _merged(value, known, f"{path}[{place}]")
                for place, (value, known) in enumerate(zip(edited, padded, strict=False))
            ]
    if not is_placeholder(edited):
        return edited
    if original is _ABSENT or is_placeholder(original):
        raise KeyError(path)
    return original


def _attributes(letter: StoredLetter) -> dict[str, Any]:
    before = Letter.read(letter).edited_from or without_personal_data(letter.body)
    texts = {ORIGINAL_SENT_AT: time_text(letter.original_sent_at)}
    if len(before) <= MAX_EDITED:
        texts[EDITED] = before
    attributes: dict[str, Any] = {
        name: {"DataType": "String", "StringValue": text} for name, text in texts.items()
    }
    count = {"DataType": "Number", "StringValue": str(letter.redrives + 1)}
    return attributes | {REDRIVES: count}
