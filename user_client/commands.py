"""Sends commands: checked before they leave, ten a call, and safe to send again."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypedDict, Unpack
from uuid import UUID, uuid4

from botocore.exceptions import BotoCoreError, ClientError

from adapters import aws
from adapters.batching import MAX_CALL_BYTES
from adapters.sending import BatchSender, QueueMessage
from domain.commands import Command
from user_client.errors import InvalidCommandError, NotSentError
from user_client.tracing import TraceContext, current_trace
from worker.messages import (
    MalformedMessageError,
    MessageParser,
    UnknownTypeError,
    render_command,
)
from worker.messages.commands import command_data
from worker.messages.outgoing import Outgoing, check_outgoing

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

ROLES: Final = ("customer", "lab_assistant", "admin")
"""The roles that a worker knows unless its `USER_WORKER_ROLES` says otherwise."""

# An attribute of the message, and what the caller knows it as.
_NAMES: Final = {
    "subject": "user_id",
    "id": "command_id",
    "expirytime": "expires_at",
    "expectedversion": "expected_version",
    "correlationid": "correlation_id",
}
_ATTRIBUTE = re.compile(rf"(^|; )({'|'.join(_NAMES)}):")
_NO_OFFSET = "must have an offset from UTC"


class Envelope(TypedDict, total=False):
    """What may be said of a command beside its own fields; see `CommandRequest`."""

    user_id: str | UUID | None
    command_id: str | UUID | None
    time: datetime | None
    expires_at: datetime | None
    expected_version: int | None
    correlation_id: str | None
    actor: str | None
    traceparent: str | None
    tracestate: str | None
    fair_group: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRequest:
    """A command and its envelope; what is `None` is filled in, or left out."""

    command: Command = field(kw_only=False, repr=False)
    user_id: str | UUID | None = None
    """Whom it is about. Not for those that name the user by e-mail address; one that creates a
    user may leave it out, and the worker derives the id from the command's."""
    command_id: str | UUID | None = None
    """A new one if left out. Give the same again to repeat a command safely."""
    time: datetime | None = None
    """When it was asked for; now, if left out."""
    expires_at: datetime | None = None
    """Rejected with CommandExpired if it is not decided by then."""
    expected_version: int | None = None
    """Rejected with VersionConflict unless the user is at this version (0: does not exist)."""
    correlation_id: str | None = None
    """Comes back in every event; the command's own id if left out."""
    actor: str | None = field(default=None, repr=False)
    """On whose behalf."""
    traceparent: str | None = None
    """W3C Trace Context; that of OpenTelemetry's current span if left out."""
    tracestate: str | None = None
    fair_group: str | None = None
    """On a standard queue, who shares it fairly with others; the client's own if left out."""


class UserCommands:
    """Sends commands to one queue; safe to share between threads and coroutines.

    Made at import or before a fork, it does no harm: its connection is made by the first command.
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
        """Say where commands go, and who sends them.

        Args:
            queue: the queue's name, or its URL.
            source: URI reference of the sender, such as `/signup`. Events carry it as the
                message attribute `command_source`, by which to subscribe to the answers.
            roles: the roles that the worker knows, by which commands are checked.
            fair_group: on a standard queue, who shares it fairly with others (none: nobody
                does). FIFO queues are always grouped by user.
            client: boto3's client for SQS, or what makes it; made from the SDK's own
                environment variables and files if left out.
        """
        self._queue = queue
        self._source = source
        self._parser = MessageParser(roles)
        self._fair_group = fair_group
        self._client = client
        self._lock = threading.Lock()
        self._sender: BatchSender | None = None
        self._fifo = queue.endswith(aws.FIFO_SUFFIX)

    def send(self, command: Command, **envelope: Unpack[Envelope]) -> str:
        """Send one command; give its id. See `CommandRequest` for the envelope.

        Raises:
            InvalidCommandError: the worker would not understand it; nothing was sent.
            NotSentError: it may not have been sent; with the id to send it again under.
            AwsConfigurationError: no region or no credentials.
        """
        return self.send_many([CommandRequest(command, **envelope)])[0]

    def send_many(self, requests: Iterable[CommandRequest]) -> list[str]:
        """Send commands in order, ten a call; give their ids in the same order.

        All are checked before the first one leaves. Where one cannot be sent, those after it
        are not tried.

        Raises:
            InvalidCommandError: naming all that are wrong; nothing was sent.
            NotSentError: some may not have been sent; says which were, and holds the others.
            AwsConfigurationError: no region or no credentials.
        """
        filled, outgoing = self._check([self._filled_in(request) for request in requests])
        if not outgoing:
            return []
        groups = [self._group(*pair) for pair in zip(filled, outgoing, strict=True)]
        messages = [QueueMessage(o.body, g) for o, g in zip(outgoing, groups, strict=True)]
        ids = [str(request.command_id) for request in filled]
        try:
            report = self._connected().send(messages)
        except (ClientError, BotoCoreError) as error:  # the queue was not found
            raise NotSentError(aws.error_code(error), (), filled) from error
        if report.code is None:
            return ids
        sent = [id_ for place, id_ in enumerate(ids) if place in report.message_ids]
        unsent = [each for place, each in enumerate(filled) if place not in report.message_ids]
        raise NotSentError(report.code, sent, unsent) from report.error

    async def asend(self, command: Command, **envelope: Unpack[Envelope]) -> str:
        """Do as `send` in a thread, so that the event loop goes on meanwhile.

        Cancelled, it no longer waits, but the command may be sent all the same.
        """
        return await asyncio.to_thread(self.send, command, **envelope)

    async def asend_many(self, requests: Iterable[CommandRequest]) -> list[str]:
        """Do as `send_many` in a thread; see `asend`."""
        return await asyncio.to_thread(self.send_many, list(requests))

    # --- what leaves ---

    def _filled_in(self, request: CommandRequest) -> CommandRequest:
        command_id = str(request.command_id or uuid4())
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

    def _check(
        self, requests: Sequence[CommandRequest]
    ) -> tuple[Sequence[CommandRequest], list[Outgoing]]:
        outgoing: list[Outgoing] = []
        problems: list[tuple[int, str]] = []
        for place, request in enumerate(requests):
            try:
                outgoing.append(check_outgoing(self._render(request), self._parser))
            except (MalformedMessageError, UnknownTypeError) as error:
                problems.append((place, _in_callers_words(error.detail)))
            except ValueError as error:  # ours, below
                problems.append((place, str(error)))
        if problems:
            raise InvalidCommandError(problems)
        return requests, outgoing

    def _render(self, request: CommandRequest) -> str:
        _check_times(request, "")
        _check_times(request.command, "data.")
        try:
            body = render_command(
                request.command.type,
                command_data(request.command),
                command_id=str(request.command_id),
                source=self._source,
                user_id=None if request.user_id is None else str(request.user_id),
                time=request.time,
                expirytime=None if request.expires_at is None else request.expires_at.isoformat(),
                expectedversion=request.expected_version,
                correlationid=request.correlation_id,
                actor=request.actor,
                traceparent=request.traceparent,
                tracestate=request.tracestate,
            )
        except TypeError:  # a field of another type than the command's class says
            raise ValueError("data: holds what is not of a field's type") from None
        if len(body) > MAX_CALL_BYTES:
            raise ValueError(f"is larger than {MAX_CALL_BYTES} bytes")
        return body

    def _group(self, request: CommandRequest, outgoing: Outgoing) -> str | None:
        if self._fifo:
            return outgoing.group
        return request.fair_group or self._fair_group

    def _connected(self) -> BatchSender:
        with self._lock:
            if self._sender is None:
                client = self._client or (lambda: aws.client("sqs"))
                made = client() if callable(client) else client
                url = self._queue
                if "://" not in url:
                    url = made.get_queue_url(QueueName=url)["QueueUrl"]
                self._sender = BatchSender(made, url)
            return self._sender


def _check_times(holder: CommandRequest | Command, prefix: str) -> None:
    for each in fields(holder):  # type: ignore[arg-type]  # every command is a dataclass
        value = getattr(holder, each.name)
        if isinstance(value, datetime) and value.utcoffset() is None:
            raise ValueError(f"{prefix}{each.name}: {_NO_OFFSET}")


def _in_callers_words(detail: str) -> str:
    detail = detail.removesuffix(" (user_id in a Celery task)")
    return _ATTRIBUTE.sub(lambda match: f"{match[1]}{_NAMES[match[2]]}:", detail)
