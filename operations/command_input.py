"""Parse commands from arguments, files or pipes; all are checked before the first one is sent."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from application.command_id import new_command_id
from application.messages import (
    MalformedMessageError,
    MessageParser,
    UnknownTypeError,
    render_command,
)
from application.messages.encoding import trimmed
from application.messages.outgoing import Outgoing, check_outgoing
from domain.commands import COMMANDS, Command
from domain.fields import fields_of
from worker.errors import UsageError

DEFAULT_SOURCE = "/user-worker/cli"
_BLANKS = "quote values with spaces"
# Names of this form may be repeated in an error; other text may be a misplaced secret.
_COMMAND_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,63}")
_FIELD_NAME = re.compile(r"[a-z][a-z_]{0,39}")
_LINE_END = re.compile(r"\r\n|\n|\r")
_NAMES = {command.__name__: command for command in COMMANDS.values()}
_SHORT_FORM = frozenset({"type", "data", "id", "user_id", "subject", "source"})
_EXTENSIONS = frozenset(
    {"actor", "correlationid", "expectedversion", "expirytime", "traceparent", "tracestate"}
)


@dataclass(frozen=True, slots=True)
class Options:
    """Defaults from the options of `send`, for attributes that a command does not set itself."""

    user_id: str | None = None
    command_id: str | None = None
    source: str = DEFAULT_SOURCE
    extensions: Mapping[str, str | int | None] | None = None


def command_class(name: str) -> type[Command]:
    """Return the command with this class name or full type.

    Raises:
        UsageError: the command is unknown; the message suggests similar names.
    """
    command = COMMANDS.get(name) or _NAMES.get(name)
    if command is None:
        named = f"command {name!r}" if _COMMAND_NAME.fullmatch(name) else "command"
        raise UsageError(f"unknown {named}", _did_you_mean(name, _NAMES))
    return command


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    by_folded = {name.lower(): name for name in known}
    plain = word.removeprefix("biome.user.").split(".")[0].replace("-", "").lower()
    close = difflib.get_close_matches(plain, by_folded, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(by_folded[match] for match in close) + "?"
    return "see the list in `user-worker send --help`"


# --- one command from arguments ---


def from_arguments(
    name: str, pairs: Sequence[str], data: str | None, options: Options
) -> dict[str, Any]:
    """Return the CloudEvent for a command's name, `key=value` words and JSON data.

    A word overrides the same field of the data.

    Raises:
        UsageError: the command is unknown, or a word or the JSON is invalid.
    """
    command = command_class(name)
    values: dict[str, Any] = {}
    if data is not None:
        values = _object(data, "--data")
    for number, pair in enumerate(pairs, 1):
        key, equals, text = pair.partition("=")
        if not equals:  # not shown: it may be half of a secret that contains a blank
            raise UsageError(f"field {number} does not have the form key=value", _BLANKS)
        values[key] = _value(command, key, text)
    return _event(command, values, options)


def _event(command: type[Command], data: dict[str, Any], options: Options) -> dict[str, Any]:
    body = render_command(
        command.type,
        data,
        command_id=options.command_id or new_command_id(),
        source=options.source,
        user_id=options.user_id,
        time=datetime.now(UTC),
        **(options.extensions or {}),
    )
    event: dict[str, Any] = json.loads(body)
    return event


def _value(command: type[Command], key: str, text: str) -> Any:
    """Convert a value to its field's type; only values of non-string types are parsed as JSON."""
    definitions = {field.name: field for field in fields_of(command)}
    names = list(definitions)
    if key not in definitions:
        known = ", ".join(names) or "none"
        if key == "password":
            raise UsageError(
                "a password must not be sent in plaintext",
                "hash it with argon2id, and send the hash as password_hash "
                "(docs/explanation/security.md)",
            )
        close = difflib.get_close_matches(key, names, n=1)
        advice = f"did you mean {close[0]}?" if close else f"the fields are: {known}"
        named = f"field {key!r}" if _FIELD_NAME.fullmatch(key) else "such field"
        raise UsageError(f"{command.__name__} has no {named}", advice)
    field = definitions[key]
    if field.nullable and text == "null":
        return None
    if field.kind in {int, bool}:
        return _json_or_text(text)
    if field.kind is tuple:
        return _json_or_text(text) if text.startswith("[") else [w for w in text.split(",") if w]
    return text


def _json_or_text(text: str) -> Any:
    try:
        return _read_json(text)
    except ValueError:
        return text  # the check of the command reports field and rule


def _read_json(text: str) -> Any:
    """Parse JSON, with or without byte order marks around it.

    Raises:
        ValueError: the text is not JSON, or is nested too deep.
    """
    try:
        return json.loads(trimmed(text))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = _read_json(text)
    except ValueError as error:
        raise UsageError(f"{where} is not JSON", 'write it as \'{"field": "value"}\'') from error
    if not isinstance(value, dict):
        raise UsageError(f"{where} must be a JSON object", 'write it as \'{"field": "value"}\'')
    return value


# --- many commands from a file ---


def from_text(text: str, where: str, options: Options) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the CloudEvents in a JSON object, a JSON array of objects, or JSON lines.

    Each comes with its position in the text, for errors. An object with `specversion` is a
    complete CloudEvent and is sent unchanged. Any other object has `type` and `data`, and missing
    attributes are filled in.

    Raises:
        UsageError: the text is in none of these formats.
    """
    for place, item in _items(text, where):
        if not isinstance(item, dict):
            raise UsageError(f"{place} is not a JSON object", "write each command as an object")
        yield place, item if "specversion" in item else _filled_in(item, place, options)


def _items(text: str, where: str) -> Iterator[tuple[str, Any]]:
    try:
        whole = _read_json(text)
    except ValueError:
        yield from _lines(text, where)
        return
    if isinstance(whole, list):
        yield from ((f"{where}, item {number}", item) for number, item in enumerate(whole, 1))
    else:
        yield where, whole


def _lines(text: str, where: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(_LINE_END.split(text), 1):
        if trimmed(line):
            place = f"{where}, line {number}"
            try:
                yield place, _read_json(line)
            except ValueError as error:
                raise UsageError(f"{place} is not JSON", "write one command per line") from error


def _filled_in(item: dict[str, Any], place: str, options: Options) -> dict[str, Any]:
    unknown = sorted(item.keys() - _SHORT_FORM - _EXTENSIONS)
    if unknown:
        raise UsageError(f"{place} has an unknown field", "use type, data, id, user_id, ...")
    if not isinstance(item.get("type"), str) or not isinstance(item.get("data", {}), dict):
        raise UsageError(
            f"{place} needs a type, and data as an object", "see `user-worker send --help`"
        )
    extensions = {**(options.extensions or {}), **{k: item[k] for k in _EXTENSIONS & item.keys()}}
    own = Options(
        user_id=item.get("user_id") or item.get("subject") or options.user_id,
        command_id=item.get("id"),
        source=item.get("source") or options.source,
        extensions=extensions,
    )
    try:
        return _event(command_class(item["type"]), item.get("data", {}), own)
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from error


# --- the check ---


def check(
    event: dict[str, Any], place: str, parser: MessageParser, *, options: bool = True
) -> Outgoing:
    """Check a command by the worker's own rules.

    Args:
        event: the CloudEvent.
        place: where the command comes from, for errors.
        parser: knows the rules.
        options: whether errors name the option of the command line that sets an attribute.

    Raises:
        UsageError: the command is invalid; the message names field and rule, never the value.
    """
    body = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    try:
        return check_outgoing(body, parser)
    except UnknownTypeError as error:
        raise UsageError(f"{place}: {error.detail}", _did_you_mean(str(event["type"]), _NAMES))  # noqa: B904
    except MalformedMessageError as error:
        detail = error.detail.removesuffix(" (user_id in a Celery task)")
        shown = _in_options(detail) if options else detail.replace("subject:", "user_id:", 1)
        raise UsageError(f"{place}: {shown}", "nothing was sent") from None


def _in_options(detail: str) -> str:
    """Append the option that sets the attribute."""
    for attribute, option in {
        "subject:": "--user",
        "id:": "--id",
        "expectedversion:": "--expected-version",
        "correlationid:": "--correlation-id",
        "source:": "--source",
    }.items():
        if detail.startswith(attribute):
            return f"{detail} (option {option})"
    return detail
