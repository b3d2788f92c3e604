"""Send commands: checked before they are sent, ten per call, and safe to send again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import re
import time
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, TypedDict, Unpack
from uuid import UUID, uuid4, uuid5

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
)

from biome_users import _aws
from biome_users._command_id import new_command_id
from biome_users._models import Command
from biome_users.errors import InvalidCommandError, NotSentError
from biome_users.tracing import current_trace

MAX_ATTEMPTS: Final = 4
"""Calls for one batch; each repeats only the entries that SQS refused before."""
FIRST_PAUSE: Final = 0.1
"""Seconds before the second call at most; the limit doubles with each call, with full jitter."""
USER_NAMESPACE: Final = UUID("b10e0000-0000-4000-8000-000000000001")
"""A user that a command creates without a user id gets an id that the worker derives: the UUIDv5 of
the command's id in this namespace."""
NO_ANSWER: Final = "NoAnswer"
"""The code of an entry that SQS's answer does not mention."""

MAX_TIME_AHEAD: Final = timedelta(minutes=5)
"""Maximum time that `time` may be in the future; the worker refuses a later one."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable")
    return text


Printable = Annotated[str, AfterValidator(_printable)]


class Envelope(TypedDict, total=False):
    """Optional attributes of a command beside its fields; see `CommandRequest`."""

    user_id: UUID | str | None
    command_id: UUID | str
    time: datetime
    expires_at: datetime | None
    expected_version: int | None
    correlation_id: str | None
    actor: str | None
    traceparent: str | None
    tracestate: str | None
    fair_group: str | None


class CommandRequest(BaseModel):
    """A command and its envelope."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    command: SerializeAsAny[Command]
    user_id: UUID | None = None
    """Id of the user.

    Not for a command that names the user by e-mail address. Optional for a command that creates a
    user: the worker then derives the id from the command's id.
    """
    command_id: UUID = Field(default_factory=new_command_id)
    """A new UUIDv7 by default. Pass the same id again to repeat a command safely."""
    time: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    """Time of the request, which the command's age counts from; now by default."""
    expires_at: AwareDatetime | None = None
    """The command is rejected with CommandExpired if it is not decided by then."""
    expected_version: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    """Rejected with VersionConflict unless the user has this version (0: does not exist)."""
    correlation_id: Annotated[Printable, Field(min_length=1, max_length=128)] | None = None
    """Copied to every event; the command's own id by default."""
    actor: Annotated[Printable, Field(max_length=256, pattern="^[^@]+$")] | None = None
    """Id of the person or service on whose behalf the command is sent, not an address."""
    traceparent: str | None = None
    """W3C Trace Context; by default that of OpenTelemetry's current span."""
    tracestate: str | None = None
    fair_group: str | None = None
    """Tenant of a fair standard queue; by default the sender's own."""

    def __repr_args__(self) -> Any:
        """Return the command's class and id only."""
        return [("command", type(self.command).__name__), ("command_id", str(self.command_id))]

    def message(self, source: str) -> dict[str, Any]:
        """Return the CloudEvent that the queue carries.

        Raises:
            InvalidCommandError: the way the user is named, a command without fields, or the time.
        """
        data = self.command.model_dump(mode="json", exclude_none=True)
        self._check(data)
        trace = (self.traceparent, self.tracestate) if self.traceparent else current_trace()
        attributes = {
            "specversion": "1.0",
            "id": str(self.command_id),
            "source": source,
            "type": self.command.contract.type,
            "subject": None if self.user_id is None else str(self.user_id),
            "time": _text(self.time),
            "datacontenttype": "application/json",
            "expirytime": None if self.expires_at is None else _text(self.expires_at),
            "expectedversion": self.expected_version,
            "correlationid": self.correlation_id or str(self.command_id),
            "actor": self.actor,
            "traceparent": trace[0],
            "tracestate": trace[1],
            "data": data,
        }
        return {name: value for name, value in attributes.items() if value is not None}

    def _check(self, data: Mapping[str, Any]) -> None:
        name, contract = type(self.command).__name__, self.command.contract
        if contract.user_id == "required" and self.user_id is None:
            raise InvalidCommandError(f"{name}: user_id is required")
        if contract.user_id == "or email" and (self.user_id is None) == ("email" not in data):
            raise InvalidCommandError(f"{name}: needs user_id or email, and not both")
        if contract.at_least_one_field and not data:
            raise InvalidCommandError(f"{name}: needs at least one field")
        if self.time > datetime.now(UTC) + MAX_TIME_AHEAD:
            raise InvalidCommandError(f"{name}: time is in the future")


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class _Entry:
    """A command, rendered for SQS."""

    place: int
    """Position in the call of `send_many`."""
    request: CommandRequest
    body: str
    group: str | None

    @property
    def size(self) -> int:
        return len(self.body.encode())


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
        fair_group: str | None = None,
        client: Any = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Set the queue and the sender.

        Args:
            queue: the queue's name, or its URL.
            source: URI reference of the sender, such as `/signup`; 1 to 256 characters.
            fair_group: the tenant on a fair standard queue (`None`: no fair queuing). On FIFO
                queues, messages are always grouped by user.
            client: a boto3 client for SQS, or a function that creates it; by default it is created
                from the SDK's own environment variables and files.
            sleep: waits for seconds between two attempts.

        Raises:
            ValueError: the source is not a URI reference of this length.
        """
        if not re.fullmatch(r"[\w./:?#@!$&'()*+,;=%~\[\]-]{1,256}", source, re.ASCII):
            raise ValueError("source must be a URI reference of 1 to 256 characters")
        self._queue = queue
        self._source = source
        self._fair_group = fair_group
        self._client = client
        self._sleep = sleep
        self._connections: dict[int, Future[tuple[Any, str]]] = {}
        """Client and URL of the queue by process id; the first caller connects for all."""

    def send(self, command: Command, **envelope: Unpack[Envelope]) -> str:
        """Send one command and return its id. See `CommandRequest` for the envelope.

        Raises:
            InvalidCommandError: the command or its envelope is invalid; nothing was sent.
            NotSentError: the command may not have been sent; contains it for sending it again.
        """
        return self.send_many([_request(command, envelope)])[0]

    def send_many(self, requests: Iterable[CommandRequest]) -> list[str]:
        """Send commands in order, ten per call, and return their ids in the same order.

        All commands are checked before the first one is sent. If one cannot be sent, the commands
        after it are not tried. An interruption (KeyboardInterrupt, SystemExit) is raised unchanged,
        with a NotSentError as its `__cause__`.

        Raises:
            InvalidCommandError: commands are invalid; lists all problems; nothing was sent.
            NotSentError: some may not have been sent; contains the ids of those sent, and the rest.
        """
        entries = self._entries(requests)
        sent: set[int] = set()
        code = cause = None
        try:
            code = self._send_all(entries, sent) if entries else None
        except Exception as error:  # noqa: BLE001 - any error of the SDK; raised below
            code, cause = _aws.error_code(error), error
        except BaseException as error:
            raise error from _not_sent(type(error).__name__, entries, sent)
        if code is not None:
            raise _not_sent(code, entries, sent) from cause
        return [str(entry.request.command_id) for entry in entries]

    async def asend(self, command: Command, **envelope: Unpack[Envelope]) -> str:
        """Send one command from a coroutine; see `send` and `asend_many`."""
        return (await self.asend_many([_request(command, envelope)]))[0]

    async def asend_many(self, requests: Iterable[CommandRequest]) -> list[str]:
        """Call `send_many` in a thread, so that the event loop is not blocked.

        If the coroutine is cancelled, the commands may still be sent. Keep the requests to send
        them again: they have their ids from the start.
        """
        return await asyncio.to_thread(self.send_many, list(requests))

    @property
    def _fifo(self) -> bool:
        return self._queue.endswith(_aws.FIFO)

    def _entries(self, requests: Iterable[CommandRequest]) -> list[_Entry]:
        """Render commands; an error lists the positions of all that are invalid."""
        entries: list[_Entry] = []
        problems: list[str] = []
        for place, request in enumerate(requests):
            try:
                entries.append(self._entry(place, request))
            except InvalidCommandError as error:
                problems.append(f"command {place}: {error}")
        if problems:
            raise InvalidCommandError(*problems)
        return entries

    def _entry(self, place: int, request: CommandRequest) -> _Entry:
        if not isinstance(request, CommandRequest):
            raise InvalidCommandError("must be a CommandRequest")
        body = json.dumps(request.message(self._source), ensure_ascii=False, separators=(",", ":"))
        try:
            size = len(body.encode())
        except UnicodeEncodeError:  # half of a surrogate pair
            raise InvalidCommandError("must be valid Unicode") from None
        if size > _aws.MAX_CALL_BYTES:
            raise InvalidCommandError(f"is larger than {_aws.MAX_CALL_BYTES} bytes")
        return _Entry(place, request, body, self._group(request))

    def _group(self, request: CommandRequest) -> str | None:
        if not self._fifo:
            return request.fair_group or self._fair_group
        if request.user_id is not None:
            return str(request.user_id)
        email = getattr(request.command, "email", None)
        if request.command.contract.user_id == "or email" and email:
            # hashed, because a group must not contain personal data
            address = unicodedata.normalize("NFC", email.strip().casefold())
            return hashlib.sha256(address.encode()).hexdigest()
        # the commands that follow a registration name its user, and must be in its group
        return str(uuid5(USER_NAMESPACE, str(request.command_id)))

    def _send_all(self, entries: Sequence[_Entry], sent: set[int]) -> str | None:
        client, url = self._connected()
        for part in _calls(entries, apart=self._fifo):
            code = self._send_part(client, url, part, sent)
            if code is not None:
                return code
        return None

    def _send_part(self, client: Any, url: str, part: list[_Entry], sent: set[int]) -> str | None:
        """Send up to ten commands, and add the places of those sent; return an error's code."""
        rows = {str(entry.place): self._row(entry) for entry in part}
        for attempt in range(1, MAX_ATTEMPTS + 1):
            # botocore repeats a call that failed as a whole by itself
            answer = client.send_message_batch(QueueUrl=url, Entries=list(rows.values()))
            for accepted in answer.get("Successful") or ():
                if rows.pop(accepted.get("Id"), None) is not None:
                    sent.add(int(accepted["Id"]))
            if not rows:
                return None
            refused = [row for row in answer.get("Failed") or () if row.get("Id") in rows]
            final = [row for row in refused if row.get("SenderFault")]
            if final or attempt == MAX_ATTEMPTS:
                return str((final or refused or [{}])[0].get("Code", NO_ANSWER))
            self._sleep(random.uniform(0, FIRST_PAUSE * 2**attempt))  # noqa: S311 - jitter
        return NO_ANSWER

    def _row(self, entry: _Entry) -> dict[str, str]:
        row = {"Id": str(entry.place), "MessageBody": entry.body}
        if entry.group is not None:
            row["MessageGroupId"] = entry.group
        if self._fifo:
            row["MessageDeduplicationId"] = str(uuid4())
        return row

    def _connected(self) -> tuple[Any, str]:
        """Return this process's client and the queue's URL; the first caller creates them.

        No lock is held during the calls. Callers that wait share the result of the first one, also
        an error. Errors are not stored, so the next call tries again.
        """
        process = os.getpid()
        while True:
            mine: Future[tuple[Any, str]] = Future()
            connection = self._connections.setdefault(process, mine)  # atomic
            if connection is not mine:
                try:
                    return connection.result()
                except CancelledError:  # the caller that created it was interrupted
                    continue
            try:
                mine.set_result(self._connect())
            except Exception as error:  # noqa: BLE001 - raised below, for all callers that wait
                del self._connections[process]
                mine.set_exception(error)
            except BaseException:
                del self._connections[process]
                mine.cancel()
                raise
            return mine.result()

    def _connect(self) -> tuple[Any, str]:
        client: Any = self._client or _aws.client("sqs")
        if not hasattr(client, "send_message_batch"):
            client = client()
        if "://" in self._queue:
            return client, self._queue
        return client, client.get_queue_url(QueueName=self._queue)["QueueUrl"]


def _request(command: Command, envelope: Mapping[str, Any]) -> CommandRequest:
    try:
        return CommandRequest(command=command, **envelope)
    except ValidationError as error:
        rows = error.errors(include_input=False, include_url=False, include_context=False)
        problems = [f"{'.'.join(map(str, row['loc']))}: {row['msg']}" for row in rows]
        raise InvalidCommandError("; ".join(problems)) from None


def _calls(entries: Sequence[_Entry], *, apart: bool) -> Iterator[list[_Entry]]:
    """Yield the entries in order, ten at a time and up to the size of a call.

    On a FIFO queue no call carries two messages of a group, since SQS may refuse the first and
    accept the second.
    """
    call: list[_Entry] = []
    size = 0
    for entry in entries:
        full = len(call) == _aws.MAX_BATCH or size + entry.size > _aws.MAX_CALL_BYTES
        if call and (full or (apart and any(each.group == entry.group for each in call))):
            yield call
            call, size = [], 0
        call.append(entry)
        size += entry.size
    if call:
        yield call


def _not_sent(code: str, entries: Sequence[_Entry], sent: Collection[int]) -> NotSentError:
    ids = [str(entry.request.command_id) for entry in entries if entry.place in sent]
    rest = [entry.request for entry in entries if entry.place not in sent]
    return NotSentError(code, ids, rest)
