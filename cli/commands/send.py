"""`user-worker send`: send commands to the queue and optionally wait for their outcomes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from cli import composition, output
from cli.commands.base import EXIT_CODES, MESSAGES, Json, User, Wait, app
from cli.progress import TerminalProgress
from operations.printable import counted, printable
from operations.signals import stop_on_signals
from worker.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from adapters.sqs.sending import SendReport
    from application.messages.outgoing import Outgoing
    from operations.command_input import Options

_Placed: TypeAlias = tuple[str, dict[str, Any]]
"""A command's CloudEvent, with its place for errors."""
STANDARD_INPUT = "-"


def command_names(incomplete: str) -> list[str]:
    """Return the names of commands with this prefix, ignoring case; for the shell."""
    from domain.commands import COMMANDS

    names = sorted(command.__name__ for command in COMMANDS.values())
    return [name for name in names if name.lower().startswith(incomplete.lower())]


@app.command(epilog=EXIT_CODES, rich_help_panel=MESSAGES)
def send(
    command: Annotated[
        str | None,
        typer.Argument(
            metavar="COMMAND|-",
            help="RegisterUser or biome.user.RegisterUser.v1; - reads standard input.",
            autocompletion=command_names,
        ),
    ] = None,
    pairs: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Fields of the command.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="JSON", help="Fields as a JSON object.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            "-f",
            metavar="PATH",
            help="JSON, a JSON array or JSON lines; - reads standard input.",
        ),
    ] = None,
    user: User = None,
    command_id: Annotated[
        str | None,
        typer.Option("--id", metavar="UUID", help="Id of the command (default: a new id)."),
    ] = None,
    correlation_id: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Copied to the events of the command."),
    ] = None,
    expected_version: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Reject if the user's version differs."),
    ] = None,
    actor: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="On whose behalf the command is sent."),
    ] = None,
    source: Annotated[
        str,
        typer.Option(metavar="URI", help="Source of the command (a URI reference)."),
    ] = "/user-worker/cli",
    queue: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="One of the command queues of the settings; default: USER_WORKER_COMMAND_QUEUE.",
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Message group. FIFO queue: the group that keeps its order (default: the user). "
            "Standard queue: the tenant, for fair queues (default: none).",
        ),
    ] = None,
    wait: Wait = None,
    as_json: Json = False,
) -> int:
    """Check commands and send them to a queue.

    Nothing is sent if one is invalid. Prints one command id per line, or with
    --wait the outcomes.

    \b
    [bold]Examples[/bold]
      user-worker send CreateUser email=ada@example.com first_name=Ada
            last_name=Lovelace roles=customer,admin --wait 10
      user-worker send AssignRole role=admin --user UUID
      user-worker send BanUser --user UUID --data '{"reason": "fraud"}'
      user-worker send --file commands.jsonl
      echo '{"type": "UnbanUser", "user_id": "UUID"}' | user-worker send -

    \b
    Each line of a file is {"type", "data", "id"?, "user_id"?}
    or a CloudEvent.
    """
    from operations.command_input import Options

    extensions = {
        "correlationid": correlation_id,
        "expectedversion": expected_version,
        "actor": actor,
    }
    options = Options(user, command_id, source, extensions)
    events = _events(command, pairs or [], data, file, options)
    return _send(events, queue=queue, group=group, wait=wait, as_json=as_json)


def _send(
    events: Sequence[_Placed],
    *,
    queue: str | None,
    group: str | None,
    wait: float | None,
    as_json: bool,
) -> int:
    """Check and send commands, optionally wait for outcomes; return the exit code."""
    from adapters.sqs.sending import SendReport
    from application.messages import MessageParser
    from cli.rendering import print_outcomes
    from operations.command_input import check
    from operations.dead_letters.listing import letters_by_command
    from operations.outcomes import await_outcomes, listener
    from operations.sending import require_served, send_bodies

    aws = composition.aws()
    queue = require_served(aws.settings, queue)
    parser = MessageParser(aws.settings.roles)
    outgoing = [check(event, place, parser) for place, event in events]
    # before anything is sent, because the table may be missing
    repository = None if wait is None else aws.repository
    sent = SendReport()
    bodies = [(each.body, group or each.group) for each in outgoing]
    grouped = group is not None
    try:
        send_bodies(aws.sqs, aws.queue_url(queue), bodies, grouped=grouped, report=sent)
    except BaseException:  # also an interruption: the ids may be needed to send the rest again
        if sent.message_ids or sent.code is not None or len(outgoing) > 1:
            _print_sent(outgoing, sent, as_json=as_json)
            _print_ids("not sent", [o for n, o in enumerate(outgoing) if n not in sent.message_ids])
        raise
    _print_destination(outgoing, queue)
    if wait is None or repository is None:
        _print_sent(outgoing, sent, as_json=as_json)
        return ExitCode.OK
    keys = [each.key for each in outgoing]
    dead: dict[str, str] = {}
    progress = TerminalProgress()
    listen = listener(aws, {key.command_id for key in keys}, progress, dead)
    try:
        with stop_on_signals():
            outcomes = await_outcomes(repository, keys, wait, dead=dead, listen=listen)
            missing = {k.command_id for k in keys if k not in outcomes} - dead.keys()
            if missing:  # the event may have been published before the listener started
                found = letters_by_command(aws, missing, progress)
                dead |= {command_id: letter.reason for command_id, letter in found.items()}
    except BaseException:
        _print_ids("sent", outgoing)
        raise
    letters = [
        each for each in outgoing if each.key not in outcomes and each.key.command_id in dead
    ]
    _print_dead_letters(letters, dead, as_json=as_json)
    rest = [each for each in outgoing if each not in letters]
    _print_ids("no outcome yet", [each for each in rest if each.key not in outcomes])
    code = print_outcomes([outcomes.get(each.key) for each in rest], as_json=as_json)
    return code or (ExitCode.NEGATIVE if letters else ExitCode.OK)


def _events(
    command: str | None, pairs: Sequence[str], data: str | None, file: str | None, options: Options
) -> list[_Placed]:
    from operations.command_input import from_arguments, from_text

    if command == STANDARD_INPUT:
        command, file = None, STANDARD_INPUT
    if file is None and command is None:
        raise UsageError("nothing to send", "give a command, or --file")
    if file is None:
        assert command is not None
        return [(command, from_arguments(command, pairs, data, options))]
    if command is not None or pairs or data:
        raise UsageError("a command and --file cannot be combined", "use one of them")
    if options.command_id is not None:
        raise UsageError("--id is for one command only", "put the ids into the file")
    where, text = _read(file)
    events = list(from_text(text, where, options))
    if not events:
        raise UsageError(f"{where} contains no command", "write one command per line")
    return events


def _read(file: str) -> tuple[str, str]:
    """Return a name for errors, and the text, in UTF-8 or in PowerShell's UTF-16.

    Raises:
        UsageError: the file cannot be read.
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
        raise UsageError(f"{where} is not UTF-8", "convert it to UTF-8") from error


def _print_destination(outgoing: Sequence[Outgoing], queue: str) -> None:
    console = output.stderr()
    if len(outgoing) == 1:
        one = outgoing[0]
        about = f" for user {one.envelope.user_id}" if one.envelope.user_id else ""
        console.print(f"sent {one.name} to {queue}{about}", style="dim")
    else:
        console.print(f"sent {counted(len(outgoing), 'command')} to {queue}", style="dim")


def _print_sent(outgoing: Sequence[Outgoing], sent: SendReport, *, as_json: bool) -> None:
    for place, each in enumerate(outgoing):
        if place not in sent.message_ids:
            continue
        if as_json:
            output.print_json({**_facts(each), "message_id": sent.message_ids[place]})
        else:
            sys.stdout.write(f"{each.envelope.command_id}\n")
    sys.stdout.flush()


def _print_dead_letters(
    letters: Sequence[Outgoing], codes: Mapping[str, str], *, as_json: bool
) -> None:
    """Print the commands that are dead-lettered, with their codes."""
    for each in letters:
        command_id = each.envelope.command_id
        code = codes[command_id]
        if as_json:
            output.print_json({**_facts(each), "status": "dead-lettered", "code": code})
        else:
            sys.stdout.write(f"dead-lettered {printable(code)}: {each.name} {command_id}\n")


def _facts(outgoing: Outgoing) -> dict[str, object]:
    envelope = outgoing.envelope
    return {
        "command_id": envelope.command_id,
        "command_type": envelope.type,
        "user_id": envelope.user_id,
    }


def _print_ids(what: str, outgoing: Sequence[Outgoing]) -> None:
    """Print types and ids, so that a command can be sent again under its own id."""
    for each in outgoing:
        sys.stderr.write(f"{what}: {each.name} {each.envelope.command_id}\n")
