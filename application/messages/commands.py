"""Parse the body of a message into a `CommandEnvelope`, and render commands for senders."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Container, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any
from uuid import UUID, uuid5

from pydantic import TypeAdapter, ValidationError

from application.addresses import parse_address
from application.disposition import ReceivedMessage
from application.messages.attributes import (
    JSON_TYPE,
    SPEC_VERSION,
    attributes_adapter,
    check_extensions,
)
from application.messages.encoding import canonical, compact
from application.messages.errors import (
    MalformedCode,
    MalformedMessageError,
    UnknownTypeError,
    field_path,
    shown_type,
)
from application.messages.fields import MAX_TEXT, data_adapter
from application.messages.reading import read_event
from application.messages.redaction import Redacted, Redactor
from application.messages.upcasting import (
    FORMER_COMMANDS,
    FormerCommand,
    known_commands,
    upcast,
)
from domain.commands import COMMANDS, TYPE_PREFIX, Command, CommandEnvelope
from domain.errors import InvalidValueError
from domain.events import EVENTS
from domain.fields import fields_of
from domain.policy import MAX_TIME_AHEAD
from domain.values import EmailAddress, PasswordHash, TokenHash, render_time

USER_NAMESPACE = UUID("b10e0000-0000-4000-8000-000000000001")
"""A user created without a subject has the UUIDv5 of the command's id in this namespace."""

_TYPE = re.compile(r"biome\.user\.[A-Z][A-Za-z0-9]{0,63}\.v[1-9][0-9]{0,3}")
_CONTENT_HASH_BYTES = 16
_MAX_PROBLEMS = 5  # named in one detail
_UNKNOWN = "extra_forbidden"
_TIME_AHEAD = (
    f"time: must be at most {MAX_TIME_AHEAD // timedelta(minutes=1)} minutes after the message "
    "was sent; check the sender's clock"
)

# The errors of pydantic in words that never contain the value.
_RULES: dict[str, tuple[MalformedCode, str]] = {
    "missing": (MalformedCode.MISSING_FIELD, "is missing"),
    _UNKNOWN: (MalformedCode.UNKNOWN_FIELD, "is unknown"),
    "string_type": (MalformedCode.INVALID_FIELD, "must be a string"),
    "string_unicode": (MalformedCode.INVALID_FIELD, "must be valid Unicode"),
    "string_too_long": (MalformedCode.INVALID_FIELD, "is too long"),
    "bool_type": (MalformedCode.INVALID_FIELD, "must be true or false"),
    "int_type": (MalformedCode.INVALID_FIELD, "must be an integer"),
    "greater_than_equal": (MalformedCode.INVALID_FIELD, "must not be negative"),
    "less_than_equal": (MalformedCode.INVALID_FIELD, "is too large"),
    "list_type": (MalformedCode.INVALID_FIELD, "must be an array"),
    "too_short": (MalformedCode.INVALID_FIELD, "has too few items"),
    "too_long": (MalformedCode.INVALID_FIELD, "has too many items"),
    "dict_type": (MalformedCode.INVALID_FIELD, "must be an object"),
}


class MessageParser:
    """Parser of commands; created once, since that takes tens of milliseconds."""

    def __init__(
        self,
        roles: Collection[str],
        commands: Mapping[str, type[Command]] = COMMANDS,
        former: Mapping[str, FormerCommand] = FORMER_COMMANDS,
    ) -> None:
        """Create the validators of all commands.

        Args:
            roles: the roles that may be assigned.
            commands: the newest version of each, by message type.
            former: the earlier versions that are still accepted.
        """
        self._attributes = attributes_adapter().validator.validate_python
        self._former = former
        self._commands = known_commands(commands, former)
        self._redactor = Redactor(roles, self._commands)
        self._data: dict[str, Callable[[Any], dict[str, Any]]] = {}
        for name, command in self._commands.items():
            adapter: TypeAdapter[dict[str, Any]] = data_adapter(command, roles)
            self._data[name] = adapter.validator.validate_python

    def parse(self, message: ReceivedMessage) -> CommandEnvelope:
        """Parse a CloudEvent in JSON, also inside an SNS notification, or a Celery message.

        Raises:
            MalformedMessageError: not one of these, or not a valid command.
            UnknownTypeError: a command that this version of the worker does not know.
        """
        event = read_event(message["body"])
        return self._envelope(event, _first_sent(message))

    def redact(self, body: str) -> Redacted | None:
        """Return the body of the dead letter; `None` if the message's own body can be shown."""
        return self._redactor.redact(body)

    def _envelope(self, event: dict[str, Any], first_sent: datetime) -> CommandEnvelope:
        event = {name: value for name, value in event.items() if value is not None}
        kind = _command_type(event, self._commands)
        check_extensions(event)
        try:
            attributes = self._attributes(event)
        except ValidationError as error:
            raise _malformed(error, ()) from None
        time = attributes.get("time", first_sent)
        if time > first_sent + MAX_TIME_AHEAD:
            raise MalformedMessageError(MalformedCode.INVALID_FIELD, _TIME_AHEAD)
        sent_at = min(time, first_sent)
        sent = self._command(kind, event.get("data", {}), sent_at)
        user_id = _user_id(sent, attributes)
        command = upcast(sent, self._former)
        return CommandEnvelope(
            command_id=attributes["id"],
            user_id=user_id,
            command=command,
            content_hash=_content_hash(sent, user_id, attributes.get("expectedversion")),
            source=attributes["source"],
            sent_at=sent_at,
            expected_version=attributes.get("expectedversion"),
            expires_at=attributes.get("expirytime"),
            correlation_id=attributes.get("correlationid"),
            actor=attributes.get("actor"),
            traceparent=attributes.get("traceparent"),
            tracestate=attributes.get("tracestate"),
            sent_as=None if sent is command else kind,
        )

    def _command(self, kind: str, data: object, sent_at: datetime) -> Command:
        try:
            values = self._data[kind](data)
        except ValidationError as error:
            raise _malformed(error, ("data",), self._commands[kind]) from None
        command = self._commands[kind](**values)
        try:
            command.check_times(sent_at)
        except InvalidValueError as error:
            raise MalformedMessageError(MalformedCode.INVALID_FIELD, f"data.{error}") from None
        if command.needs_a_field and not command_data(command):
            names = " or ".join(field.name for field in fields_of(type(command)))
            raise MalformedMessageError(MalformedCode.MISSING_FIELD, f"data: needs {names}")
        return command


def render_command(
    name_or_type: str,
    data: dict[str, Any],
    *,
    command_id: str,
    source: str,
    user_id: str | None = None,
    time: datetime | None = None,
    **extensions: str | int | None,
) -> str:
    """Return a command as a CloudEvent in JSON, as a producer writes it.

    Args:
        name_or_type: `RegisterUser`, the newest version, or `biome.user.RegisterUser.v1`.
        data: the command's fields, as JSON values; not validated here.
        command_id: UUID, the idempotency key together with the user's.
        source: URI reference of the sender.
        user_id: UUID of the user, if the command needs one.
        time: when the command was requested.
        extensions: `correlationid`, `expectedversion`, ...; `None` is left out.

    Raises:
        ValueError: unknown command.
    """
    kind = name_or_type if name_or_type in _SENDABLE else _NEWEST.get(name_or_type)
    if kind is None:
        raise ValueError("unknown command")
    event = {
        "specversion": SPEC_VERSION,
        "id": command_id,
        "source": source,
        "type": kind,
        "subject": user_id,
        "time": None if time is None else render_time(time),
        "datacontenttype": JSON_TYPE,
        **extensions,
        "data": data,
    }
    return compact({name: value for name, value in event.items() if value is not None})


def command_data(command: Command) -> dict[str, Any]:
    """Return a command's fields as JSON values, without those that are `None`."""
    values = ((field.name, getattr(command, field.name)) for field in fields_of(type(command)))
    return {name: _plain(value) for name, value in values if value is not None}


_SENDABLE = COMMANDS.keys() | FORMER_COMMANDS.keys()
_NEWEST = {kind.split(".")[2]: kind for kind in COMMANDS}


def _plain(value: Any) -> Any:
    match value:
        case EmailAddress() | PasswordHash() | TokenHash():
            return value.value
        case datetime():
            return render_time(value)
        case tuple():
            return [_plain(item) for item in value]
        case _:
            return value


def _first_sent(message: ReceivedMessage) -> datetime:
    """Return when a message was first sent.

    A redrive sends it again, and states the original time. Any sender can state a time, so the
    earlier one counts: it can make a command older, but not younger.
    """
    sent_at = message["sent_at"]
    return datetime.fromtimestamp(min(sent_at, message.get("original_sent_at", sent_at)), UTC)


def partition_key(body: str) -> str | None:
    """Return the key of the messages that a repeatedly retried message runs together with.

    It is the user whom the command names by id or by address, or all messages of unknown types.
    `None` for a message that is not a command. The fields are not validated.
    """
    try:
        event = read_event(body)
        _command_type(event, _SENDABLE)
    except UnknownTypeError:
        return "unknown type"
    except MalformedMessageError:
        return None
    if isinstance(subject := event.get("subject"), str):
        return f"user {subject.lower()}"
    data = event.get("data")
    email = data.get("email") if isinstance(data, dict) else None
    return f"address {_address_key(email)}" if isinstance(email, str) else None


def _address_key(text: str) -> str:
    if len(text) <= MAX_TEXT:
        with suppress(InvalidValueError):
            return parse_address(text).key
    return text  # malformed: it names no user


def _command_type(event: dict[str, Any], known: Container[str]) -> str:
    version = event.get("specversion")
    if version is None:
        raise MalformedMessageError(MalformedCode.NOT_A_COMMAND, "specversion: is missing")
    if version != SPEC_VERSION:
        raise MalformedMessageError(
            MalformedCode.NOT_A_COMMAND, f"specversion: must be {SPEC_VERSION}"
        )
    kind = event.get("type")
    if kind is None:
        raise MalformedMessageError(MalformedCode.MISSING_FIELD, "type: is missing")
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise MalformedMessageError(
            MalformedCode.NOT_A_COMMAND, f"type: must be {TYPE_PREFIX}<Name>.v<N>"
        )
    if kind in EVENTS:
        raise MalformedMessageError(MalformedCode.NOT_A_COMMAND, "type: is an event, not a command")
    if kind not in known:
        shown = f"{kind} " if shown_type(kind) else ""
        raise UnknownTypeError(f"type: {shown}is not known to this version")
    return kind


def _user_id(command: Command, attributes: dict[str, Any]) -> str | None:
    user_id: str | None = attributes.get("subject")
    if command.may_name_by_email():
        if (user_id is None) == (getattr(command, "email", None) is None):
            code = MalformedCode.MISSING_FIELD if user_id is None else MalformedCode.INVALID_FIELD
            raise MalformedMessageError(code, "subject: either subject or data.email must be given")
        return user_id
    if user_id is None and command.creates_user:
        return str(uuid5(USER_NAMESPACE, attributes["id"]))
    if user_id is None:
        raise MalformedMessageError(
            MalformedCode.MISSING_FIELD, "subject: is missing (user_id in a Celery task)"
        )
    return user_id


def _content_hash(command: Command, user_id: str | None, expected_version: int | None) -> str:
    """Hash the request; other attributes may differ if the same command is sent again."""
    asked = canonical([command.type, user_id, expected_version, command_data(command)])
    return blake2b(asked.encode(), digest_size=_CONTENT_HASH_BYTES).hexdigest()


def _malformed(
    error: ValidationError, prefix: tuple[str, ...], command: type[Command] | None = None
) -> MalformedMessageError:
    """Return the error of a message with the fields and rules of the first problems.

    Args:
        error: the problems, which may contain values.
        prefix: the path of the validated object.
        command: the command whose fields are listed if a field is unknown. The unknown name is not
            repeated, because it can be a secret or personal data.
    """
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    details: dict[str, None] = {}
    for problem in problems[:_MAX_PROBLEMS]:
        if problem["type"] == _UNKNOWN:
            names = ", ".join(field.name for field in fields_of(command)) if command else ""
            where = field_path(prefix)
            details[f"{where}: has an unknown field; known are: {names or 'none'}"] = None
        else:
            _, rule = _rule(problem["type"], problem["msg"])
            details[f"{field_path(prefix + problem['loc'])}: {rule}"] = None
    code, _ = _rule(problems[0]["type"], "")
    return MalformedMessageError(code, "; ".join(details))


def _rule(kind: str, text: str) -> tuple[MalformedCode, str]:
    if kind == "value_error":  # the domain's own text, which never contains the value
        return MalformedCode.INVALID_FIELD, text.removeprefix("Value error, ")
    return _RULES.get(kind, (MalformedCode.INVALID_FIELD, "is not valid"))
