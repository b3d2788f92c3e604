from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unittest.mock import Mock
from uuid import UUID, uuid4

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from application.disposition import ReceivedMessage
from application.messages import MessageParser
from domain import commands as c
from domain.values import EmailAddress, PasswordHash
from tests.builders import PASSWORD, message, register, token, uid
from user_client import CommandRequest, InvalidCommandError, NotSentError, UserCommands

URL = "http://sqs/commands"
EARLIER = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2030, 1, 1, tzinfo=UTC)
EAST = timezone(timedelta(hours=5))
ANYTHING = [
    RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a proxy's page"),
    KeyError("QueueUrl"),
    RecursionError(),
    OSError(24, "too many open files"),
    EndpointConnectionError(endpoint_url="http://sqs"),
    ClientError({"Error": {"Code": "RequestThrottled"}}, "SendMessageBatch"),
]
"""Errors that botocore raises, including some that no list of its exceptions has."""
PARSER = MessageParser(("customer", "admin"))


class Sqs:
    """An SQS that keeps sent messages, and refuses chosen calls and bodies."""

    def __init__(
        self,
        *,
        breaks_at: int = 0,
        breaks_with: BaseException = ANYTHING[-1],
        refuses: str | None = None,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        self.calls: list[list[dict[str, Any]]] = []
        self.asked: list[str] = []
        self.breaks_at = breaks_at
        self._breaks_with = breaks_with
        self._refuses = refuses
        self._before = before

    def get_queue_url(self, QueueName: str) -> dict[str, str]:  # noqa: N803
        """Know every queue but one."""
        self.asked.append(QueueName)
        if QueueName == "missing":
            raise ClientError({"Error": {"Code": "NonExistentQueue"}}, "GetQueueUrl")
        return {"QueueUrl": f"http://sqs/{QueueName}"}

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        """Accept a batch."""
        self._before()
        self.calls.append(Entries)
        if len(self.calls) == self.breaks_at:
            raise self._breaks_with
        refused = [e for e in Entries if self._refuses and self._refuses in e["MessageBody"]]
        taken = [e for e in Entries if e not in refused]
        return {
            "Successful": [{"Id": e["Id"], "MessageId": str(uuid4())} for e in taken],
            "Failed": [{"Id": e["Id"], "Code": "Odd", "SenderFault": True} for e in refused],
        }

    @property
    def entries(self) -> list[dict[str, Any]]:
        """Return all entries, in order."""
        return [entry for call in self.calls for entry in call]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The bodies of all that came."""
        return [json.loads(entry["MessageBody"]) for entry in self.entries]


def commands(sqs: Sqs, queue: str = URL, **options: Any) -> UserCommands:
    """Create a client of that SQS."""
    return UserCommands(queue, source="/signup", client=sqs, **options)  # type: ignore[arg-type]


def parse(sqs: Sqs) -> c.CommandEnvelope:
    """Parse the first message as the worker does that receives it now."""
    received: ReceivedMessage = {**message(sqs.entries[0]["MessageBody"]), "sent_at": time.time()}
    return PARSER.parse(received)


def unbans(count: int) -> list[CommandRequest]:
    """Create this number of commands, each for another user."""
    return [CommandRequest(c.UnbanUser(), user_id=uid(str(i))) for i in range(count)]


# --- what is sent --------------------------------------------------------------------------


def test_the_worker_reads_what_was_meant() -> None:
    """Command, user, id, time, source, expiry, version, correlation and trace arrive as given."""
    sqs, command_id = Sqs(), uuid4()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    given_id = commands(sqs).send(
        c.BanUser("fraud", LATER),
        user_id=UUID(uid("ada")),
        command_id=command_id,
        time=EARLIER,
        expires_at=LATER + timedelta(hours=1),
        expected_version=3,
        correlation_id="order 7",
        actor="support",
        traceparent=trace,
        tracestate="a=b",
    )
    read = parse(sqs)
    assert given_id == read.command_id == str(command_id)
    assert (read.command, read.user_id) == (c.BanUser("fraud", LATER), uid("ada"))
    assert (read.source, read.sent_at) == ("/signup", EARLIER)
    assert (read.expires_at, read.expected_version) == (LATER + timedelta(hours=1), 3)
    assert (read.correlation_id, read.actor) == ("order 7", "support")
    assert (read.traceparent, read.tracestate) == (trace, "a=b")


def test_what_is_left_out_is_filled_in() -> None:
    """A fresh UUID, the time, and the id again for what correlates; nothing that is not known."""
    sqs = Sqs()
    before = datetime.now(UTC)
    command_id = commands(sqs).send(register("ada"))
    (event,) = sqs.events
    assert str(UUID(command_id)) == event["id"] == event["correlationid"]
    assert before - timedelta(seconds=1) < datetime.fromisoformat(event["time"])
    assert not event.keys() & {"subject", "expirytime", "expectedversion", "traceparent", "actor"}


def test_values_are_cleaned_as_the_worker_does_and_not_by_the_client() -> None:
    """The input is sent unchanged, because only the worker normalises it."""
    sqs = Sqs()
    commands(sqs).send(
        c.RegisterUser(EmailAddress(" Ada@EXAMPLE.com"), " Ada ", PASSWORD, last_name="L")
    )
    assert sqs.events[0]["data"]["email"] == " Ada@EXAMPLE.com"
    read = parse(sqs)
    assert read.command == c.RegisterUser(
        EmailAddress("Ada@example.com"), "Ada", PASSWORD, last_name="L"
    )


def test_a_time_in_the_future_is_refused_before_it_is_sent() -> None:
    """The worker would dead-letter the command; the error names the field and the rule."""
    sqs = Sqs()
    with pytest.raises(InvalidCommandError, match="time: must be at most 5 minutes after"):
        commands(sqs).send(c.UnbanUser(), user_id=uid("ada"), time=LATER)
    assert sqs.calls == []


def test_ids_come_back_in_order_over_batches() -> None:
    """Ten a call."""
    sqs = Sqs()
    requests = unbans(23)
    ids = commands(sqs).send_many(iter(requests))
    assert [len(call) for call in sqs.calls] == [10, 10, 3]
    assert [event["id"] for event in sqs.events] == ids
    assert [event["subject"] for event in sqs.events] == [each.user_id for each in requests]


def test_nothing_to_send_is_no_call() -> None:
    """The queue's URL is not requested either."""
    sqs = Sqs()
    assert commands(sqs, "user-commands").send_many([]) == []
    assert (sqs.calls, sqs.asked) == ([], [])


def test_on_a_fifo_queue_a_user_is_a_group() -> None:
    """For a user named by an address, the group is its hash. Each send has a new id."""
    sqs = Sqs()
    fifo = commands(sqs, f"{URL}.fifo", fair_group="tenant")
    reset = c.RequestPasswordReset(uid("t"), token("t"), LATER, EmailAddress("Ada@example.com"))
    fifo.send(reset, fair_group="other")
    command_id = fifo.send(c.UnbanUser(), user_id=uid("ada"))
    fifo.send(c.UnbanUser(), user_id=uid("ada"), command_id=command_id)
    groups = [entry["MessageGroupId"] for entry in sqs.entries]
    assert groups[1:] == [uid("ada")] * 2
    assert "ada" not in groups[0].lower()
    assert len({entry["MessageDeduplicationId"] for entry in sqs.entries}) == 3


def test_on_a_standard_queue_the_fair_group_is_the_clients_or_the_commands() -> None:
    """Without either there is none."""
    sqs = Sqs()
    commands(sqs).send(register("ada"))
    commands(sqs, fair_group="bulk").send(register("ada"))
    commands(sqs, fair_group="bulk").send(register("ada"), fair_group="tenant")
    assert [e.get("MessageGroupId") for e in sqs.entries] == [None, "bulk", "tenant"]


# --- what is not sent ----------------------------------------------------------------------

SECRET = "hunter2-secret"


@dataclass(frozen=True)
class OwnCommand(c.Command):
    """A command that no worker knows."""


WRONG: dict[str, tuple[CommandRequest, str]] = {
    "an address": (
        CommandRequest(c.RegisterUser(EmailAddress(SECRET), "A", PASSWORD, last_name="L")),
        "data.email: must be an e-mail address",
    ),
    "a plaintext password": (
        CommandRequest(
            c.RegisterUser(EmailAddress("a@example.com"), "A", PasswordHash(SECRET), last_name="L")
        ),
        "data.password_hash: must be an argon2id hash",
    ),
    "an unknown role": (
        CommandRequest(c.AssignRole(SECRET.replace("-", "_")), user_id=uid("ada")),
        "data.role: must be one of ",
    ),
    "no user": (CommandRequest(c.UnbanUser()), "user_id: is missing"),
    "no UUID of a user": (CommandRequest(c.UnbanUser(), user_id=SECRET), "user_id: must be a UUID"),
    "no UUID of a command": (
        CommandRequest(register("ada"), command_id=SECRET),
        "command_id: must be a UUID",
    ),
    "a negative version": (
        CommandRequest(register("ada"), expected_version=-1),
        "expected_version: must be an integer",
    ),
    "a correlation of two lines": (
        CommandRequest(register("ada"), correlation_id=f"{SECRET}\n"),
        "correlation_id: must have 1 to 128 printable",
    ),
    "a local time": (
        CommandRequest(register("ada"), expires_at=datetime(2030, 1, 1)),  # noqa: DTZ001
        "expires_at: must have an offset from UTC",
    ),
    "a local time within": (
        CommandRequest(c.BanUser(SECRET, datetime(2030, 1, 1)), user_id=uid("ada")),  # noqa: DTZ001
        "data.until: must have an offset from UTC",
    ),
    "an empty profile": (
        CommandRequest(c.UpdateProfile(), user_id=uid("ada")),
        "data: needs first_name or last_name",
    ),
    "half a character": (
        CommandRequest(c.UpdateProfile(f"{SECRET}\ud800"), user_id=uid("ada")),
        "data.first_name: must be valid Unicode",
    ),
    "another type": (
        CommandRequest(c.UpdateProfile(SECRET.encode()), user_id=uid("ada")),  # type: ignore[arg-type]
        "data.first_name: must be a string",
    ),
    "no request": (c.UnbanUser(), "must be a CommandRequest"),  # type: ignore[dict-item]
    "a class": (
        CommandRequest(c.UnbanUser, user_id=uid("ada")),  # type: ignore[arg-type]
        "command: must be an instance",
    ),
    "a command of one's own": (
        CommandRequest(OwnCommand(), user_id=uid("ada")),
        "unknown command",
    ),
    "no time": (CommandRequest(register("ada"), time=SECRET), "time: must be an RFC 3339 time"),
    "a number for a time": (
        CommandRequest(register("ada"), expires_at=1_900_000_000),  # type: ignore[arg-type]
        "expires_at: must be a datetime",
    ),
    "a time before all times": (
        CommandRequest(register("ada"), expires_at=datetime.min.replace(tzinfo=EAST)),
        "expires_at: is out of range",
    ),
    "bytes of an actor": (
        CommandRequest(register("ada"), actor=SECRET.encode()),  # type: ignore[arg-type]
        "actor: must be a string",
    ),
    "bytes of a version": (
        CommandRequest(register("ada"), expected_version=SECRET.encode()),  # type: ignore[arg-type]
        "expected_version: must be an integer",
    ),
    "a number for a user": (
        CommandRequest(c.UnbanUser(), user_id=7),  # type: ignore[arg-type]
        "user_id: must be a UUID",
    ),
    "bytes of a command": (
        CommandRequest(register("ada"), command_id=SECRET.encode()),  # type: ignore[arg-type]
        "command_id: must be a UUID",
    ),
    "a number for a group": (
        CommandRequest(register("ada"), fair_group=7),  # type: ignore[arg-type]
        "fair_group: must be a string",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_the_worker_would_refuse_is_not_sent(name: str) -> None:
    """The error names the field, as the caller calls it, and the rule; never the value."""
    sqs = Sqs()
    request, problem = WRONG[name]
    with pytest.raises(InvalidCommandError) as caught:
        commands(sqs).send_many([*unbans(11), request])
    assert sqs.calls == []
    ((place, detail),) = caught.value.problems
    assert (place, detail[: len(problem)]) == (11, problem)
    assert SECRET not in str(caught.value)


def test_a_request_shows_nothing_personal() -> None:
    """It may end in a log, by way of an error that holds it."""
    request = CommandRequest(register("ada"), user_id=uid("ada"), actor="Ada")
    assert "ada" not in repr(request).lower()


def test_all_wrong_commands_are_named_and_the_text_stays_short() -> None:
    """A caller mends a file once, not once a row."""
    bad = [CommandRequest(c.UnbanUser()) for _ in range(12)]
    with pytest.raises(InvalidCommandError) as caught:
        commands(Sqs()).send_many([*unbans(1), *bad])
    assert [place for place, _ in caught.value.problems] == list(range(1, 13))
    assert str(caught.value).endswith("; and 7 more")


def test_a_wrong_source_is_an_error_at_the_first_command() -> None:
    """It would make a dead letter of every command."""
    client = UserCommands(URL, source="not a URI", client=Sqs())  # type: ignore[arg-type]
    with pytest.raises(InvalidCommandError, match="source: must be a URI reference"):
        client.send(register("ada"))


# --- what AWS does not take ----------------------------------------------------------------


def test_sent_and_unsent_ids_are_printed() -> None:
    """Ids are in order. Sending the rest again uses the same ids, and sends only the rest."""
    sqs = Sqs(breaks_at=2)
    client = commands(sqs)
    with pytest.raises(
        NotSentError, match="15 of 25 commands not sent: RequestThrottled"
    ) as caught:
        client.send_many(unbans(25))
    error = caught.value
    first = [event["id"] for event in sqs.events[:10]]
    assert (list(error.sent), len(error.unsent_ids)) == (first, 15)
    sqs.calls.clear()
    sqs.breaks_at = 0
    assert tuple(client.send_many(error.unsent)) == error.unsent_ids
    assert [event["id"] for event in sqs.events] == list(error.unsent_ids)


@pytest.mark.parametrize("error", ANYTHING, ids=lambda error: type(error).__name__)
def test_whatever_the_sdk_raises_no_id_is_lost(error: Exception) -> None:
    """Of 25 commands ten went out; the ids of all are known, and the rest can be sent again."""
    sqs = Sqs(breaks_at=2, breaks_with=error)
    client = commands(sqs)
    with pytest.raises(NotSentError) as caught:
        client.send_many(unbans(25))
    assert caught.value.__cause__ is error
    assert list(caught.value.sent) == [event["id"] for event in sqs.events[:10]]
    assert len(caught.value.unsent_ids) == len(set(caught.value.unsent_ids)) == 15
    assert tuple(client.send_many(caught.value.unsent)) == caught.value.unsent_ids


@pytest.mark.parametrize(
    "page", [None, [], "junk", {"Successful": 7}, {"Successful": [None, {}, {"Id": 3}]}]
)
def test_an_answer_that_is_not_sqss_loses_no_id(page: object) -> None:
    """A proxy answers anything; the commands may be sent, or not."""
    sqs = Sqs()
    sqs.send_message_batch = lambda **_: page  # type: ignore[method-assign,assignment]
    command_id = uuid4()
    with pytest.raises(NotSentError) as caught:
        commands(sqs).send(register("ada"), command_id=command_id)
    assert caught.value.unsent_ids == (str(command_id),)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interruption_is_one_and_brings_the_ids_along(error: type[BaseException]) -> None:
    """Ctrl-C must end the program, and its ids may matter to the handler."""
    sqs = Sqs(breaks_at=2, breaks_with=error())
    with pytest.raises(error) as caught:
        commands(sqs).send_many(unbans(25))
    cause = caught.value.__cause__
    assert isinstance(cause, NotSentError)
    assert (len(cause.sent), len(cause.unsent_ids)) == (10, 15)


@pytest.mark.parametrize("error", ANYTHING, ids=lambda error: type(error).__name__)
def test_whatever_keeps_the_queue_from_being_found_loses_no_id(error: Exception) -> None:
    """The same, before the first call to send."""
    sqs = Sqs()
    client = commands(sqs, "user-commands")
    sqs.get_queue_url = Mock(side_effect=error)  # type: ignore[method-assign]
    with pytest.raises(NotSentError) as caught:
        client.send_many(unbans(3))
    assert (caught.value.sent, len(caught.value.unsent_ids)) == ((), 3)
    del sqs.get_queue_url
    assert tuple(client.send_many(caught.value.unsent)) == caught.value.unsent_ids


def test_a_refused_command_does_not_hide_what_went_with_it() -> None:
    """SQS decides an entry at a time."""
    sqs, requests = Sqs(refuses=uid("1")), unbans(3)
    with pytest.raises(NotSentError) as caught:
        commands(sqs).send_many(requests)
    assert caught.value.code == "Odd"
    assert [request.user_id for request in caught.value.unsent] == [uid("1")]
    assert len(caught.value.sent) == 2


def test_without_its_queue_nothing_is_sent_and_the_next_call_looks_again() -> None:
    """The queue may be created later."""
    sqs = Sqs()
    client = commands(sqs, "missing")
    for _ in range(2):
        with pytest.raises(NotSentError, match=r"1 of 1 .*NonExistentQueue"):
            client.send(register("ada"))
    assert sqs.asked == ["missing"] * 2


# --- threads, coroutines, traces, imports --------------------------------------------------


def test_threads_share_one_connection() -> None:
    """For any number of threads, the client is created and the queue looked up once."""
    sqs, made, start = Sqs(), [], threading.Barrier(8)

    def make() -> Sqs:
        made.append(1)
        return sqs

    client = UserCommands("q", source="/signup", client=make)  # type: ignore[arg-type]

    def one(number: int) -> str:
        start.wait(10)
        return client.send(c.UnbanUser(), user_id=uid(str(number)))

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(one, range(8)))
    assert (len(made), sqs.asked) == (1, ["q"])
    assert {event["id"] for event in sqs.events} == set(ids)


def test_while_sqs_is_silent_all_threads_fail_within_one_timeout() -> None:
    """One asks for the queue, the others share its error and do not ask in turn."""
    sqs, threads, timeout = Sqs(), 6, 0.5
    begun = threading.Barrier(threads)

    def silent(QueueName: str) -> dict[str, str]:  # noqa: N803
        sqs.asked.append(QueueName)
        time.sleep(timeout)
        raise ConnectTimeoutError(endpoint_url="http://sqs")

    sqs.get_queue_url = silent  # type: ignore[method-assign]
    client = commands(sqs, "q")

    def one(number: int) -> str:
        begun.wait(10)
        with pytest.raises(NotSentError) as caught:
            client.send(c.UnbanUser(), user_id=uid(str(number)))
        return caught.value.unsent_ids[0]

    with ThreadPoolExecutor(threads) as pool:
        began = time.monotonic()
        ids = set(pool.map(one, range(threads)))
        took = time.monotonic() - began
    assert len(ids) == threads
    assert len(sqs.asked) == 1
    assert took < 2 * timeout  # one after the other, it would be six
    del sqs.get_queue_url  # an error is not kept
    client.send(register("ada"))


def test_who_waits_for_an_interrupted_thread_finds_the_queue_itself() -> None:
    """Ctrl-C in one thread is no error of another's."""
    sqs, waiting, calls = Sqs(), threading.Event(), []

    def interrupted(QueueName: str) -> dict[str, str]:  # noqa: N803
        calls.append(QueueName)
        if len(calls) == 1:
            waiting.wait(10)
            time.sleep(0.05)
            raise KeyboardInterrupt
        return {"QueueUrl": URL}

    sqs.get_queue_url = interrupted  # type: ignore[method-assign]
    client = commands(sqs, "q")

    def first() -> None:
        with pytest.raises(KeyboardInterrupt):
            client.send(register("ada"))

    def second() -> str:
        while not calls:
            time.sleep(0.001)
        waiting.set()
        return client.send(register("eve"))

    with ThreadPoolExecutor(2) as pool:
        leader, follower = pool.submit(first), pool.submit(second)
        assert [follower.result(30)] == [event["id"] for event in sqs.events]
        leader.result(30)
    assert len(calls) == 2


def test_each_process_makes_its_own_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that two processes write to serves neither."""
    made: list[Sqs] = []

    def make() -> Sqs:
        made.append(Sqs())
        return made[-1]

    client = UserCommands("q", source="/signup", client=make)  # type: ignore[arg-type]
    here = os.getpid()
    client.send(register("ada"))
    monkeypatch.setattr("user_client.commands.os.getpid", lambda: here + 1)
    client.send(register("ada"))
    client.send(register("ada"))
    assert [len(sqs.calls) for sqs in made] == [1, 2]


def test_coroutines_go_on_while_a_command_is_sent() -> None:
    """The calls are made in threads: two of them can wait for each other."""
    both = threading.Barrier(2)

    client = commands(Sqs(before=lambda: both.wait(10)))

    async def two() -> list[Any]:
        ids = client.asend_many(unbans(2)), client.asend(register("ada"))
        return list(await asyncio.gather(*ids))

    many, one = asyncio.run(two())
    assert len({*many, one}) == 3


@pytest.fixture
def current_span(monkeypatch: pytest.MonkeyPatch) -> str:
    """An OpenTelemetry, as far as this package calls it, with a current span."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    class Propagator:
        def inject(self, carrier: dict[str, str]) -> None:
            """Write what the real one writes for a span."""
            carrier["traceparent"] = trace

    name = "opentelemetry.trace"
    module = types.ModuleType(f"{name}.propagation.tracecontext")
    module.TraceContextTextMapPropagator = Propagator  # type: ignore[attr-defined]
    for each in ("opentelemetry", name, f"{name}.propagation"):
        monkeypatch.setitem(sys.modules, each, types.ModuleType(each))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return trace


def test_the_current_span_goes_along_unless_the_caller_gives_another(current_span: str) -> None:
    """Where OpenTelemetry is in use."""
    sqs, own = Sqs(), "00-11111111111111111111111111111111-2222222222222222-01"
    commands(sqs).send(register("ada"))
    commands(sqs).send(register("ada"), traceparent=own)
    assert [event["traceparent"] for event in sqs.events] == [current_span, own]


def test_importing_the_package_is_light() -> None:
    """Only what is asked for is imported: no AWS, no pydantic for the name alone."""
    code = (
        "import sys, user_client\n"
        "heavy = {'boto3', 'botocore', 'pydantic', 'celery', 'kombu', 'rich', 'typer'}\n"
        "assert not heavy & sys.modules.keys()\n"
        "from user_client import UserCommands\n"
        "assert not {'celery', 'kombu', 'rich', 'typer', 'pydantic_settings'} & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr


EVERYBODY = Sqs()
TO_EVERYBODY = commands(EVERYBODY)


@given(st.text(max_size=120), st.text(max_size=120))
def test_what_is_sent_is_what_the_worker_reads(first: str, last: str) -> None:
    """Any names: either the client refuses them, or the worker reads them without a mistake."""
    EVERYBODY.calls.clear()
    try:
        TO_EVERYBODY.send(c.UpdateProfile(first, last), user_id=uid("ada"))
    except InvalidCommandError:
        return
    read = parse(EVERYBODY).command
    assert isinstance(read, c.UpdateProfile)
    assert read.first_name
    assert read.last_name
