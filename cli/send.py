"""`user-worker send`: send commands to the queue and, if asked to, wait for their outcomes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.sqs.sending import SendReport
from application.messages import MessageParser
from application.messages.outgoing import Outgoing
from application.ports import Outcome, Status
from cli import composition, output
from cli.waiting import await_outcomes, listener
from operations.command_input import Options, check, from_arguments, from_text
from operations.sending import send
from worker.errors import ExitCode, UsageError

STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class SendOptions:
    """What was typed."""

    command: str | None
    pairs: Sequence[str]
    data: str | None
    file: str | None
    user_id: str | None
    command_id: str | None
    source: str
    extensions: Mapping[str, str | int | None]
    group: str | None
    wait: float | None
    as_json: bool


def send_commands(options: SendOptions) -> int:
    """Check, send, and wait if asked to; return the exit code."""
    aws = composition.aws()
    parser = MessageParser(aws.settings.roles)
    outgoing = [check(event, place, parser) for place, event in _events(options)]
    # before anything is sent: it may not be there
    repository = None if options.wait is None else aws.repository
    sent = SendReport()
    try:
        send(aws.sqs, aws.command_queue_url, outgoing, options.group, report=sent)
    except BaseException:  # also an interruption: the ids may be needed to send the rest again
        if sent.message_ids or sent.code is not None or len(outgoing) > 1:
            _print_sent(outgoing, sent, as_json=options.as_json)
            _list("not sent", [o for n, o in enumerate(outgoing) if n not in sent.message_ids])
        raise
    _tell(outgoing, aws.settings.command_queue)
    if options.wait is None or repository is None:
        _print_sent(outgoing, sent, as_json=options.as_json)
        return ExitCode.OK
    keys = [each.key for each in outgoing]
    listen = listener(aws, {key.command_id for key in keys})
    try:
        outcomes = await_outcomes(repository, keys, options.wait, listen=listen)
    except BaseException:
        _list("sent", outgoing)
        raise
    _list("no outcome yet", [each for each in outgoing if each.key not in outcomes])
    return report([outcomes.get(each.key) for each in outgoing], as_json=options.as_json)


def _events(options: SendOptions) -> list[tuple[str, dict[str, object]]]:
    common = Options(
        user_id=options.user_id,
        command_id=options.command_id,
        source=options.source,
        extensions=options.extensions,
    )
    file = STANDARD_INPUT if options.command == STANDARD_INPUT else options.file
    if file is None and options.command is None:
        raise UsageError("nothing to send", "name a command, or give --file")
    if file is None:
        assert options.command is not None
        event = from_arguments(options.command, options.pairs, options.data, common)
        return [(options.command, event)]
    if options.command not in (None, STANDARD_INPUT) or options.pairs or options.data:
        raise UsageError("a command and --file exclude each other", "give one of them")
    if options.command_id is not None:
        raise UsageError("--id goes with one command", "write ids into the file")
    where, text = _read(file)
    events = list(from_text(text, where, common))
    if not events:
        raise UsageError(f"{where} holds no command", "write one a line")
    return events


def _read(file: str) -> tuple[str, str]:
    """Return a name for errors, and the text: UTF-8, or the UTF-16 that PowerShell writes.

    Raises:
        UsageError: it cannot be read.
    """
    if file == STANDARD_INPUT:
        where, content = "standard input", sys.stdin.buffer.read()
    else:
        where = file
        try:
            content = Path(file).read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read {file}", error.strerror or "") from error
    try:
        return where, content.decode(json.detect_encoding(content))
    except UnicodeDecodeError as error:
        raise UsageError(f"{where} is not UTF-8", "convert it") from error


def _tell(outgoing: Sequence[Outgoing], queue: str) -> None:
    console = output.stderr()
    if len(outgoing) == 1:
        one = outgoing[0]
        about = f" for user {one.envelope.user_id}" if one.envelope.user_id else ""
        console.print(f"sent {one.name} to {queue}{about}", style="dim")
    else:
        console.print(f"sent {len(outgoing)} commands to {queue}", style="dim")


def _print_sent(outgoing: Sequence[Outgoing], sent: SendReport, *, as_json: bool) -> None:
    for place, each in enumerate(outgoing):
        if place not in sent.message_ids:
            continue
        envelope = each.envelope
        line = envelope.command_id
        if as_json:
            line = output.json_line(
                {
                    "command_id": envelope.command_id,
                    "command_type": envelope.type,
                    "user_id": envelope.user_id,
                    "message_id": sent.message_ids[place],
                }
            )
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _list(what: str, outgoing: Sequence[Outgoing]) -> None:
    """List commands by type and id, so that none has to be sent under a new id."""
    for each in outgoing:
        sys.stderr.write(f"{what}: {each.name} {each.envelope.command_id}\n")


def report(outcomes: Sequence[Outcome | None], *, as_json: bool) -> int:
    """Print outcomes; give the exit code that says the worst of them."""
    known = [outcome for outcome in outcomes if outcome is not None]
    if as_json:
        for outcome in known:
            sys.stdout.write(output.json_line(output.outcome_json(outcome)) + "\n")
    elif known:
        console = output.stdout()
        console.print(output.outcome_table(known, wide=console.width >= output.WIDE))
    if len(known) < len(outcomes):
        missing = len(outcomes) - len(known)
        output.stderr().print(
            f"error: no outcome of {missing} of {len(outcomes)} commands in time; "
            "is a worker running? see `user-worker status`; "
            "to a user who is unknown, the answer takes a minute"
        )
        return ExitCode.TIMEOUT
    rejected = any(outcome.status is Status.REJECTED for outcome in known)
    return ExitCode.NEGATIVE if rejected else ExitCode.OK
