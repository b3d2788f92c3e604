"""Send commands: checked before sending, ten per call, and safe to send again."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, is_dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypedDict, Unpack
from uuid import UUID, uuid4

from adapters.aws import client as aws
from adapters.aws.batching import MAX_CALL_BYTES
from adapters.aws.client import AwsConfigurationError
from adapters.sqs.sending import BatchSender, QueueMessage, SendReport
from application.messages import (
    MalformedMessageError,
    MessageParser,
    UnknownTypeError,
    render_command,
)
from application.messages.outgoing import Outgoing, check_outgoing
from application.queue_port import FIFO_SUFFIX
from domain.commands import Command
from domain.errors import InvalidValueError
from domain.values import parse_time
from user_client.errors import InvalidCommandError, NotSentError
from user_client.fields import command_fields, id_text, text, time_text
from user_client.tracing import TraceContext, current_trace

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

ROLES: Final = ("customer", "lab_assistant", "admin")
"""The roles that a worker knows by default; its `USER_WORKER_ROLES` may set others."""

# Attributes of the message, and the names that callers use for them.
_NAMES: Final = {
    "subject": "user_id",
    "id": "command_id",
    "expirytime": "expires_at",
    "expectedversion": "expected_version",
    "correlationid": "correlation_id",
}
_ATTRIBUTE = re.compile(rf"(^|; )({'|'.join(_NAMES)}):")


class Envelope(TypedDict, total=False):
    """Optional attributes of a command beside its own fields; see `CommandRequest`."""

    user_id: str | UUID | None
    command_id: str | UUID | None
    time: datetime | str | None
    expires_at: datetime | str | None
    expected_version: int | None
    correlation_id: str | UUID | None
    actor: str | None
    traceparent: str | None
    tracestate: str | None
    fair_group: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRequest:
    """A command and its envelope; a value of `None` is filled in or omitted.

    Times are `datetime` with an offset, or RFC 3339 text; ids are `uuid.UUID` or text.
    """

    command: Command = field(kw_only=False, repr=False)
    user_id: str | UUID | None = None
    """Id of the user.

    Not for commands that name the user by e-mail address. Optional for a command that creates a
    user: the worker then derives the id from the command's id.
    """
    command_id: str | UUID | None = None
    """A new id by default. Pass the same id again to repeat a command safely."""
    time: datetime | str | None = None
    """Time of the request, which the command's age counts from; now by default."""
    expires_at: datetime | str | None = None
    """The command is rejected with CommandExpired if it is not decided by then."""
    expected_version: int | None = None
    """Rejected with VersionConflict unless the user has this version (0: does not exist)."""
    correlation_id: str | UUID | None = None
    """Copied to every event; the command's own id by default."""
    actor: str | None = field(default=None, repr=False)
    """On whose behalf the command is sent."""
    traceparent: str | None = None
    """W3C Trace Context; by default that of OpenTelemetry's current span."""
    tracestate: str | None = None
    fair_group: str | None = None
    """Tenant of a fair standard queue; by default the client's own."""


class UserCommands:
    """Sends commands to one queue; safe to share between threads and coroutines.

    It may be created at import or before a fork: each process opens its own connection when it
    sends its first command. A `client` that is passed as an object must be created after the fork.
    """

    def __init__(
        self,
        queue: str = "user-commands",
        *,
        source: str,
        roles: Collection[str] = ROLES,
        fair_group: str | None = None,
        client: SQSClient | Callable[[], SQSClient] | None = None,
    ) -> None:
        """Set the queue and the sender.

        Args:
            queue: the queue's name, or its URL.
            source: URI reference of the sender, such as `/signup`. Events carry it as the
                message attribute `command_source`, which subscriptions to the answers filter by.
            roles: the roles that the worker knows; commands are checked against them.
            fair_group: the tenant on a fair standard queue (`None`: no fair queuing). On FIFO
                queues, messages are always grouped by user.
            client: a boto3 client for SQS, or a function that creates it; by default it is created
                from the SDK's own environment variables and files.
        """
        self._queue = queue
        self._source = source
        self._parser = MessageParser(roles)
        self._fair_group = fair_group
        self._client = client
        self._connections: dict[int, Future[BatchSender]] = {}
        """Senders by process id; one thread creates a sender for all threads that wait for it."""
        self._fifo = queue.endswith(FIFO_SUFFIX)

    def send(self, command: Command, **envelope: Unpack[Envelope]) -> str:
        """Send one command and return its id. See `CommandRequest` for the envelope.

        Raises:
            InvalidCommandError: the command is invalid; nothing was sent.
            NotSentError: the command may not have been sent; contains the id for sending it again.
            AwsConfigurationError: no region or no credentials; nothing was sent.
        """
        return self.send_many([CommandRequest(command, **envelope)])[0]

    def send_many(self, requests: Iterable[CommandRequest]) -> list[str]:
        """Send commands in order, ten per call, and return their ids in the same order.

        All commands are checked before the first one is sent. If one cannot be sent, the commands
        after it are not tried. Any exception of the SDK becomes NotSentError. An interruption
        (KeyboardInterrupt, SystemExit) is raised unchanged, with a NotSentError as its `__cause__`.

        Raises:
            InvalidCommandError: some commands are invalid; lists all problems; nothing was sent.
            NotSentError: some may not have been sent; contains the ids of those sent and the rest.
            AwsConfigurationError: no region or no credentials; nothing was sent.
        """
        filled, outgoing = self._check(list(requests))
        if not outgoing:
            return []
        groups = [self._group(*pair) for pair in zip(filled, outgoing, strict=True)]
        messages = [QueueMessage(o.body, g) for o, g in zip(outgoing, groups, strict=True)]
        report = SendReport()
        try:
            self._connected().send(messages, report)
        except AwsConfigurationError:
            raise
        except Exception as error:  # a missing queue, or any error of the SDK
            raise _not_sent(aws.error_code(error), filled, report) from error
        except BaseException as error:
            raise error from _not_sent(type(error).__name__, filled, report)
        if report.code is not None:
            raise _not_sent(report.code, filled, report) from report.error
        return [str(request.command_id) for request in filled]

    async def asend(self, command: Command, **envelope: Unpack[Envelope]) -> str:
        """Call `send` in a thread, so that the event loop is not blocked.

        If it is cancelled, it stops waiting, but the command may still be sent: pass your own
        `command_id` if you may have to send it again.
        """
        return await asyncio.to_thread(self.send, command, **envelope)

    async def asend_many(self, requests: Iterable[CommandRequest]) -> list[str]:
        """Call `send_many` in a thread; see `asend`."""
        return await asyncio.to_thread(self.send_many, list(requests))

    # --- rendering and checking ---

    def _check(
        self, requests: Sequence[CommandRequest]
    ) -> tuple[Sequence[CommandRequest], list[Outgoing]]:
        filled: list[CommandRequest] = []
        outgoing: list[Outgoing] = []
        problems: list[tuple[int, str]] = []
        for place, request in enumerate(requests):
            try:
                filled.append(_filled_in(request))
                outgoing.append(check_outgoing(self._render(filled[-1]), self._parser))
            except (MalformedMessageError, UnknownTypeError) as error:
                problems.append((place, _in_callers_words(error.detail)))
            except ValueError as error:  # our own error, or an unknown command
                problems.append((place, str(error)))
        if problems:
            raise InvalidCommandError(problems)
        return filled, outgoing

    def _render(self, request: CommandRequest) -> str:
        data = command_fields(request.command)
        envelope: dict[str, str | int | None] = {
            "expirytime": _named("expires_at", time_text, request.expires_at),
            "expectedversion": request.expected_version,
            "correlationid": _named("correlation_id", id_text, request.correlation_id),
            "actor": _named("actor", text, request.actor),
            "traceparent": _named("traceparent", text, request.traceparent),
            "tracestate": _named("tracestate", text, request.tracestate),
        }
        _named("fair_group", text, request.fair_group or self._fair_group)
        try:
            body = render_command(
                request.command.type,
                data,
                command_id=str(request.command_id),
                source=self._source,
                user_id=_named("user_id", id_text, request.user_id),
                time=_time(request.time),
                **envelope,
            )
        except TypeError:  # all other values are strings at this point
            raise InvalidValueError("expected_version: must be an integer") from None
        if len(body) > MAX_CALL_BYTES:
            raise InvalidValueError(f"is larger than {MAX_CALL_BYTES} bytes")
        return body

    def _group(self, request: CommandRequest, outgoing: Outgoing) -> str | None:
        if self._fifo:
            return outgoing.group
        return request.fair_group or self._fair_group

    # --- the connection ---

    def _connected(self) -> BatchSender:
        """Return this process's sender; the first caller creates it, others wait for its result.

        No lock is held during the calls. Waiting callers share the first caller's result, including
        an error. Errors are not stored, so the next call tries again.
        """
        process = os.getpid()
        while True:
            mine: Future[BatchSender] = Future()
            connection = self._connections.setdefault(process, mine)  # atomic
            if connection is not mine:
                try:
                    return connection.result()
                except CancelledError:  # the caller that created it was interrupted
                    continue
            try:
                mine.set_result(self._connect())
            except Exception as error:  # noqa: BLE001 - raised below, for all waiting callers
                del self._connections[process]
                mine.set_exception(error)
            except BaseException:
                del self._connections[process]
                mine.cancel()
                raise
            return mine.result()

    def _connect(self) -> BatchSender:
        client = self._client or (lambda: aws.client("sqs"))
        made = client() if callable(client) else client
        url = self._queue
        if "://" not in url:
            url = made.get_queue_url(QueueName=url)["QueueUrl"]
        return BatchSender(made, url)


def _filled_in(request: CommandRequest) -> CommandRequest:
    """Return the request with an id, a time, a correlation id and the current trace.

    Raises:
        InvalidValueError: it is not a valid request; the message says what is expected.
    """
    if not isinstance(request, CommandRequest):
        raise InvalidValueError("must be a CommandRequest")
    if not _is_command(request.command):
        raise InvalidValueError("command: must be an instance of a class of domain.commands")
    command_id = _named("command_id", id_text, request.command_id) or str(uuid4())
    trace = TraceContext(request.traceparent, request.tracestate)
    if request.traceparent is None:
        trace = current_trace()
    return replace(
        request,
        command_id=command_id,
        time=request.time or datetime.now(UTC),
        correlation_id=request.correlation_id or command_id,
        traceparent=trace.traceparent,
        tracestate=trace.tracestate,
    )


def _is_command(value: object) -> bool:
    return isinstance(value, Command) and is_dataclass(value)


def _time(value: datetime | str | None) -> datetime | None:
    rendered = _named("time", time_text, value)
    if not isinstance(value, str):
        return value
    try:
        return parse_time(rendered or "")
    except InvalidValueError as error:
        raise InvalidValueError(f"time: {error}") from None


def _named(name: str, render: Callable[[object], str], value: object) -> str | None:
    """Render an attribute of the envelope; an error uses the caller's name for it."""
    try:
        return None if value is None else render(value)
    except InvalidValueError as error:
        raise InvalidValueError(f"{name}: {error}") from None


def _not_sent(code: str, filled: Sequence[CommandRequest], report: SendReport) -> NotSentError:
    sent = [str(r.command_id) for place, r in enumerate(filled) if place in report.message_ids]
    unsent = [each for place, each in enumerate(filled) if place not in report.message_ids]
    return NotSentError(code, sent, unsent)


def _in_callers_words(detail: str) -> str:
    detail = detail.removesuffix(" (user_id in a Celery task)")
    return _ATTRIBUTE.sub(lambda match: f"{match[1]}{_NAMES[match[2]]}:", detail)
