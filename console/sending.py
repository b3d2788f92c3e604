"""Send a command from a form, in development; the form is made from the command's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response

from application.messages import MessageParser
from console.commands import SentCommand
from console.web import Call, see_other
from domain.commands import COMMANDS, Command
from domain.fields import fields_of
from operations.command_input import Options, check, from_arguments
from operations.sending import send_bodies
from worker.errors import CliError, ExitCode, UsageError

SOURCE: Final = "/user-worker/console"


def choose(call: Call) -> Response:
    """Show all commands."""
    names = sorted(each.__name__ for each in COMMANDS.values())
    return call.page("send.html", names=names)


def form(call: Call) -> Response:
    """Show the form of a command, with the examples of its fields."""
    return _form(call, {}, None)


def send(call: Call) -> Response:
    """Check a command by the worker's own rules and send it; an invalid one is shown again."""
    name = call.path["name"]
    known = {field.name for field in fields_of(_command_class(name))}
    pairs = [f"{key}={text}" for key, text in call.form.items() if text and key in known]
    try:
        return submit(call, name, pairs, call.form.get("user_id", "").strip() or None)
    except UsageError as error:
        return _form(call, call.form, str(error))


def submit(call: Call, name: str, pairs: Sequence[str], user_id: str | None) -> Response:
    """Send a command on behalf of the person, and show it.

    Raises:
        UsageError: the command is invalid; nothing was sent.
    """
    aws, options = call.console.aws, Options(user_id, None, SOURCE, {"actor": call.person})
    event = from_arguments(name, pairs, None, options)
    command = check(event, name, MessageParser(aws.settings.roles), options=False)
    send_bodies(aws.sqs, aws.command_queue_url, [(command.body, command.group)])
    key = command.key
    sent = SentCommand(command.name, key.user_id, datetime.now(UTC))
    call.console.commands.note_sent(key.command_id, sent)
    query = urlencode({"user": key.user_id}) if key.user_id else ""
    return see_other(f"/commands/{key.command_id}?{query}")


def _form(call: Call, values: Mapping[str, str], problem: str | None) -> Response:
    command = _command_class(call.path["name"])
    fields = [
        {
            "name": field.name,
            "required": field.required,
            "about": field.rule.description,
            "example": _text(field.rule.example),
            "value": values.get(field.name, ""),
        }
        for field in fields_of(command)
    ]
    return call.page(
        "send_form.html",
        200 if problem is None else 400,
        name=command.__name__,
        about=(command.__doc__ or "").strip().split("\n\n")[0],
        fields=fields,
        user_id=values.get("user_id", ""),
        problem=problem,
    )


def _command_class(name: str) -> type[Command]:
    found = next((each for each in COMMANDS.values() if each.__name__ == name), None)
    if found is None:
        advice = 'choose one of the page "Send"'
        raise CliError("no command has this name", advice, ExitCode.NEGATIVE)
    return found


def _text(example: Any) -> str:
    return ",".join(example) if isinstance(example, (list, tuple)) else str(example)
