"""`biome_users.UserCommands`: no id is lost, whatever SQS does."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unittest.mock import Mock
from uuid import UUID, uuid4

import pytest
from botocore.exceptions import (
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from biome_users import (
    CommandRequest,
    InvalidCommandError,
    NotSentError,
    UserCommands,
    UsersError,
    commands,
)
from tests.unit.clients.fake_sqs import QUEUE, FakeSqs, client_error, refused

USER = UUID("5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77")
TOKEN: dict[str, Any] = {
    "token_id": "7b0f1c52-58a5-4d43-8a36-0b2b8a3b1c01",
    "token_hash": "1" * 64,
    "expires_at": "2026-12-24T18:00:00Z",
}
ARBITRARY = [
    RuntimeError("refreshed credentials are still expired"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    KeyError("QueueUrl"),
    OSError(9, "bad descriptor"),
    MemoryError(),
    ConnectTimeoutError(endpoint_url=QUEUE),
    ReadTimeoutError(endpoint_url=QUEUE),
    EndpointConnectionError(endpoint_url=QUEUE),
    CredentialRetrievalError(provider="sso", error_msg="expired"),
    client_error("ExpiredToken"),
    client_error("RequestThrottled"),
    client_error("AccessDenied"),
]


@pytest.fixture
def sqs() -> FakeSqs:
    """A queue that accepts everything."""
    return FakeSqs()


@pytest.fixture
def users(sqs: FakeSqs) -> UserCommands:
    """A sender without pauses."""
    return UserCommands(QUEUE, source="/test", client=sqs, sleep=lambda _: None)


def ban(**envelope: Any) -> CommandRequest:
    """Return a request to ban one user."""
    return CommandRequest(command=commands.BanUser(reason="spam"), user_id=USER, **envelope)


def bans(count: int) -> list[CommandRequest]:
    """Return requests with different ids."""
    return [ban() for _ in range(count)]


def ids(requests: list[CommandRequest]) -> list[str]:
    """Return the ids of requests."""
    return [str(request.command_id) for request in requests]


def bodies(sqs: FakeSqs) -> list[dict[str, Any]]:
    """Return the messages that SQS accepted."""
    return [json.loads(entry["MessageBody"]) for entry in sqs.accepted]


# --- what is sent ----------------------------------------------------------------------------


def test_a_command_is_sent_as_a_cloud_event(users: UserCommands, sqs: FakeSqs) -> None:
    """All attributes of the envelope have the names of the contract; times are in UTC."""
    command_id = users.send(
        commands.BanUser(reason="spam"),
        user_id=USER,
        time=datetime(2026, 1, 30, 12, 0, 0, 123456, timezone(timedelta(hours=1))),
        expires_at=datetime(2026, 12, 1, tzinfo=UTC),
        expected_version=7,
        correlation_id="order-4711",
        actor="support/7",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        tracestate="vendor=1",
    )
    assert bodies(sqs) == [
        {
            "specversion": "1.0",
            "id": command_id,
            "source": "/test",
            "type": "biome.user.BanUser.v1",
            "subject": str(USER),
            "time": "2026-01-30T11:00:00.123Z",
            "datacontenttype": "application/json",
            "expirytime": "2026-12-01T00:00:00.000Z",
            "expectedversion": 7,
            "correlationid": "order-4711",
            "actor": "support/7",
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "tracestate": "vendor=1",
            "data": {"reason": "spam"},
        }
    ]


def test_what_is_left_out_is_filled_in(users: UserCommands, sqs: FakeSqs) -> None:
    """A new id, the time, and the id for the correlation; nothing that is not known."""
    before = datetime.now(UTC)
    command_id = users.send(commands.BanUser(reason="spam"), user_id=USER)
    (body,) = bodies(sqs)
    assert str(UUID(command_id)) == body["id"] == body["correlationid"]
    assert before - timedelta(seconds=1) < datetime.fromisoformat(body["time"])
    assert not body.keys() & {"expirytime", "expectedversion", "traceparent", "actor"}


def test_many_commands_take_a_call_for_ten(users: UserCommands, sqs: FakeSqs) -> None:
    """The order is kept."""
    requests = bans(25)
    assert users.send_many(requests) == ids(requests)
    assert [len(call) for call in sqs.calls] == [10, 10, 5]
    assert [body["id"] for body in bodies(sqs)] == ids(requests)


def test_large_commands_take_more_calls(users: UserCommands, sqs: FakeSqs) -> None:
    """A call has at most 256 KiB."""
    users.send_many([ban(traceparent="x" * 100_000) for _ in range(5)])
    assert [len(call) for call in sqs.calls] == [2, 2, 1]


def test_nothing_to_send_makes_no_call(users: UserCommands, sqs: FakeSqs) -> None:
    """Not even to find the queue."""
    assert users.send_many([]) == []
    assert sqs.calls == []


def test_the_queue_is_looked_up_by_name_once(sqs: FakeSqs) -> None:
    """Later calls use its URL."""
    asked: list[str] = []
    look_up = sqs.get_queue_url
    sqs.get_queue_url = lambda QueueName: asked.append(QueueName) or look_up(QueueName)  # type: ignore[method-assign, func-returns-value]  # noqa: N803
    users = UserCommands("user-commands", source="/test", client=lambda: sqs)
    users.send_many(bans(1))
    users.send_many(bans(1))
    assert asked == ["user-commands"]


# --- groups ----------------------------------------------------------------------------------


def test_on_a_fifo_queue_a_user_s_commands_are_in_one_group_and_in_calls_of_their_own(
    sqs: FakeSqs,
) -> None:
    """SQS could refuse the first of a group and accept the second."""
    users = UserCommands(QUEUE + ".fifo", source="/test", client=sqs)
    other = CommandRequest(command=commands.UnbanUser(), user_id=uuid4())
    users.send_many([*bans(2), other])
    assert [[e["MessageGroupId"] for e in call] for call in sqs.calls] == [
        [str(USER)],
        [str(USER), str(other.user_id)],
    ]
    assert len({entry["MessageDeduplicationId"] for entry in sqs.accepted}) == 3


def test_the_group_of_an_address_does_not_contain_it(sqs: FakeSqs) -> None:
    """Groups are visible to everyone who reads the queue."""
    users = UserCommands(QUEUE + ".fifo", source="/test", client=sqs)
    for email in ("Ada@Example.com", " ada@example.COM"):
        users.send(commands.RequestPasswordReset(email=email, **TOKEN))
    groups = {entry["MessageGroupId"] for entry in sqs.accepted}
    assert len(groups) == 1
    assert "ada" not in groups.pop()


def test_a_registration_without_a_user_is_in_the_group_of_the_user_that_it_creates(
    sqs: FakeSqs,
) -> None:
    """The worker derives the same id; the value is also in the test of the TypeScript client."""
    users = UserCommands(QUEUE + ".fifo", source="/test", client=sqs)
    users.send(
        commands.CreateUser(email="a@example.com", first_name="A", roles=["customer"]),
        command_id="0190b6d2-7d8a-7c1e-9a53-0a1f5d0c9b11",
    )
    assert sqs.accepted[0]["MessageGroupId"] == "7642c4c5-062b-59e6-9b59-7f849c18442c"


@pytest.mark.parametrize(
    ("own", "given", "group"), [(None, None, None), ("a", None, "a"), ("a", "b", "b")]
)
def test_on_a_standard_queue_a_group_is_the_tenant(
    sqs: FakeSqs, own: str | None, given: str | None, group: str | None
) -> None:
    """The tenant of a request replaces that of the sender."""
    users = UserCommands(QUEUE, source="/test", client=sqs, fair_group=own)
    users.send_many([ban(fair_group=given)])
    assert sqs.accepted[0].get("MessageGroupId") == group
    assert "MessageDeduplicationId" not in sqs.accepted[0]


# --- what SQS refuses ------------------------------------------------------------------------


def test_refused_entries_are_sent_again_until_they_are_accepted(
    users: UserCommands, sqs: FakeSqs
) -> None:
    """Only the refused and the omitted ones are sent again."""
    sqs.refusals = [{"1": refused("InternalError"), "3": None}, {"3": refused("Throttled")}]
    requests = bans(5)
    assert users.send_many(requests) == ids(requests)
    assert [[entry["Id"] for entry in call] for call in sqs.calls] == [
        ["0", "1", "2", "3", "4"],
        ["1", "3"],
        ["3"],
    ]


@pytest.mark.parametrize(
    ("row", "code", "calls"),
    [
        (refused("InvalidMessageContents", sender=True), "InvalidMessageContents", 2),
        (refused("InternalError"), "InternalError", 5),
        (None, "NoAnswer", 5),
    ],
)
def test_an_entry_that_stays_refused_ends_the_sending(
    users: UserCommands, sqs: FakeSqs, row: Any, code: str, calls: int
) -> None:
    """The error tells the ids that are on the queue from the others, which were not tried."""
    requests = bans(22)
    sqs.refusals = [{}, *[{"12": row}] * 4]
    with pytest.raises(NotSentError, match=f"11 of 22|{code}") as caught:
        users.send_many(requests)
    error = caught.value
    assert error.code == code
    assert len(sqs.calls) == calls
    assert list(error.sent) == [i for i in ids(requests)[:20] if i != ids(requests)[12]]
    assert list(error.unsent) == [requests[12], *requests[20:]]
    assert error.unsent_ids == tuple(ids(list(error.unsent)))
    sqs.refusals = []
    users.send_many(error.unsent)
    assert sorted(body["id"] for body in bodies(sqs)) == sorted(ids(requests))


@pytest.mark.parametrize("error", ARBITRARY, ids=repr)
def test_any_error_of_the_sdk_keeps_the_ids(
    users: UserCommands, sqs: FakeSqs, error: Exception
) -> None:
    """The rest can be sent again under the same ids."""
    sqs.errors = [None, error]
    requests = bans(15)
    with pytest.raises(NotSentError) as caught:
        users.send_many(requests)
    assert list(caught.value.sent) == ids(requests)[:10]
    assert list(caught.value.unsent) == requests[10:]
    assert caught.value.__cause__ is error
    assert isinstance(caught.value, UsersError)
    assert users.send_many(caught.value.unsent) == ids(requests)[10:]


@pytest.mark.parametrize("error", [*ARBITRARY, KeyboardInterrupt()], ids=repr)
def test_an_error_while_connecting_is_not_remembered(sqs: FakeSqs, error: BaseException) -> None:
    """The next call connects again."""
    errors = [error]

    def connect() -> FakeSqs:
        if errors:
            raise errors.pop()
        return sqs

    users = UserCommands(QUEUE, source="/test", client=connect)
    requests = bans(1)
    with pytest.raises(NotSentError if isinstance(error, Exception) else KeyboardInterrupt):
        users.send_many(requests)
    assert users.send_many(requests) == ids(requests)


def test_an_interruption_passes_with_the_ids_as_its_cause(
    users: UserCommands, sqs: FakeSqs
) -> None:
    """KeyboardInterrupt must end the program."""
    sqs.errors = [None, KeyboardInterrupt()]
    requests = bans(15)
    with pytest.raises(KeyboardInterrupt) as caught:
        users.send_many(requests)
    cause = caught.value.__cause__
    assert isinstance(cause, NotSentError)
    assert list(cause.unsent) == requests[10:]


@pytest.mark.parametrize(
    "page", [None, [], "junk", {"Successful": 7}, {"Successful": [None, {}, {"Id": 3}]}]
)
def test_an_answer_that_is_not_of_sqs_keeps_the_ids(sqs: FakeSqs, page: Any) -> None:
    """A proxy answers anything; the commands may be sent, or not."""
    sqs.send_message_batch = lambda **_: page  # type: ignore[method-assign]
    users = UserCommands(QUEUE, source="/test", client=sqs, sleep=lambda _: None)
    requests = bans(2)
    with pytest.raises(NotSentError) as caught:
        users.send_many(requests)
    assert list(caught.value.unsent) == requests


def test_a_queue_that_does_not_exist_is_looked_up_again(sqs: FakeSqs) -> None:
    """It may be created later."""
    real = sqs.get_queue_url
    users = UserCommands("missing", source="/test", client=sqs)
    for _ in range(2):
        sqs.get_queue_url = Mock(side_effect=client_error("QueueDoesNotExist"))  # type: ignore[method-assign]
        with pytest.raises(NotSentError, match=r"1 of 1 .*QueueDoesNotExist"):
            users.send_many(bans(1))
    sqs.get_queue_url = real  # type: ignore[method-assign]
    assert len(users.send_many(bans(1))) == 1


def test_the_same_command_twice_in_a_call_is_counted_by_its_position(
    users: UserCommands, sqs: FakeSqs
) -> None:
    """One is sent and the other is not."""
    twice = ban()
    sqs.refusals = [{"1": refused("Invalid", sender=True)}]
    with pytest.raises(NotSentError) as caught:
        users.send_many([twice, twice])
    assert (caught.value.sent, caught.value.unsent) == ((str(twice.command_id),), (twice,))


# --- what is wrong before -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("envelope", "problem"),
    [
        ({"user_id": "42"}, "user_id"),
        ({"user_id": None}, "user_id is required"),
        ({"user_id": USER, "expected_version": -1}, "expected_version"),
        ({"user_id": USER, "actor": "ada@example.com"}, "actor"),
        ({"user_id": USER, "actor": ""}, "actor"),
        ({"user_id": USER, "correlation_id": "x" * 129}, "correlation_id"),
        ({"user_id": USER, "time": datetime(2026, 11, 30)}, "time"),  # noqa: DTZ001 - what is refused
        ({"user_id": USER, "time": "yesterday"}, "time"),
        ({"user_id": USER, "time": datetime(2130, 1, 1, tzinfo=UTC)}, "time is in the future"),
        ({"user_id": USER, "expires_at": datetime(2030, 1, 1)}, "expires_at"),  # noqa: DTZ001 - as above
        ({"user_id": USER, "expected_version": b"hunter2"}, "expected_version"),
        ({"user_id": USER, "correlation_id": "hunter2\n"}, "correlation_id"),
        ({"user_id": USER, "actor": "hunter2\n"}, "actor"),
        ({"user_id": USER, "command_id": b"hunter2"}, "command_id"),
        ({"user_id": 7}, "user_id"),
        ({"user_id": USER, "fair_group": 7}, "fair_group"),
        ({"user_id": USER, "surprise": 1}, "surprise"),
        ({"user_id": USER, "traceparent": "\ud800"}, "Unicode"),
        ({"user_id": USER, "traceparent": "x" * 300_000}, "larger than"),
    ],
)
def test_an_invalid_envelope_is_refused_before_anything_is_sent(
    users: UserCommands, sqs: FakeSqs, envelope: dict[str, Any], problem: str
) -> None:
    """The error names the field as the caller wrote it, and no value."""
    with pytest.raises(InvalidCommandError, match=problem) as caught:
        users.send(commands.BanUser(reason="spam"), **envelope)
    assert sqs.calls == []
    assert "hunter2" not in str(caught.value)


def test_one_invalid_command_keeps_all_others_from_being_sent(
    users: UserCommands, sqs: FakeSqs
) -> None:
    """All commands are checked first."""
    with pytest.raises(InvalidCommandError):
        users.send_many([ban(), CommandRequest(command=commands.UpdateProfile(), user_id=USER)])
    with pytest.raises(InvalidCommandError):
        users.send_many([ban(), commands.BanUser(reason="x")])  # type: ignore[list-item]
    assert sqs.calls == []


def test_all_invalid_commands_are_listed_and_the_text_stays_short(users: UserCommands) -> None:
    """A caller repairs a file once, not once a row."""
    bad = [CommandRequest(command=commands.UnbanUser()) for _ in range(12)]
    with pytest.raises(InvalidCommandError) as caught:
        users.send_many([ban(), *bad])
    places = [problem.partition(":")[0] for problem in caught.value.problems]
    assert places == [f"command {place}" for place in range(1, 13)]
    assert str(caught.value).endswith("; and 7 more")


@pytest.mark.parametrize("source", ["", "x" * 257, "not a URI", "/sign\n", "/é"])
def test_a_source_is_a_uri_reference_of_1_to_256_characters(source: str) -> None:
    """Every command with another source would be dead-lettered."""
    with pytest.raises(ValueError, match="source"):
        UserCommands(QUEUE, source=source)


# --- threads and coroutines ------------------------------------------------------------------


def test_32_threads_share_one_connection_while_sqs_is_silent(sqs: FakeSqs) -> None:
    """All threads wait for the same connection, without a lock, and all their ids arrive."""
    connections: list[int] = []
    together = threading.Barrier(32, timeout=20)

    def connect() -> FakeSqs:
        connections.append(1)
        time.sleep(0.3)
        return sqs

    users = UserCommands(QUEUE, source="/test", client=connect)
    sqs.before = together.wait  # no call returns before all were made
    sent: list[str] = []
    threads = [
        threading.Thread(target=lambda: sent.append(users.send_many(bans(1))[0])) for _ in range(32)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert connections == [1]
    assert sorted(sent) == sorted(body["id"] for body in bodies(sqs))
    assert len(sent) == 32


def test_all_threads_fail_within_one_timeout_while_sqs_is_silent(sqs: FakeSqs) -> None:
    """One asks for the queue; the others share its error and do not ask in turn."""
    asked: list[str] = []
    together = threading.Barrier(32, timeout=20)

    def silent(QueueName: str) -> dict[str, str]:  # noqa: N803 - boto3's name
        asked.append(QueueName)
        time.sleep(0.5)
        raise ConnectTimeoutError(endpoint_url=QUEUE)

    real, sqs.get_queue_url = sqs.get_queue_url, silent  # type: ignore[method-assign]
    users = UserCommands("q", source="/test", client=sqs)

    def one(_: int) -> str:
        together.wait()
        with pytest.raises(NotSentError) as caught:
            users.send_many(bans(1))
        return caught.value.unsent_ids[0]

    with ThreadPoolExecutor(32) as pool:
        began = time.monotonic()
        unsent = set(pool.map(one, range(32)))
        took = time.monotonic() - began
    assert (len(unsent), len(asked)) == (32, 1)
    assert took < 3  # one after the other, it would be 16 s
    sqs.get_queue_url = real  # type: ignore[method-assign]
    assert len(users.send_many(bans(1))) == 1  # the error is not remembered


def test_an_interruption_of_the_thread_that_connects_is_no_error_of_another(sqs: FakeSqs) -> None:
    """The thread that waited for it connects by itself."""
    waiting = threading.Event()
    calls: list[str] = []

    def interrupted(QueueName: str) -> dict[str, str]:  # noqa: N803 - boto3's name
        calls.append(QueueName)
        if len(calls) == 1:
            waiting.wait(10)
            time.sleep(0.05)
            raise KeyboardInterrupt
        return {"QueueUrl": QUEUE}

    sqs.get_queue_url = interrupted  # type: ignore[method-assign]
    users = UserCommands("q", source="/test", client=sqs)

    def first() -> None:
        with pytest.raises(KeyboardInterrupt):
            users.send_many(bans(1))

    def second() -> list[str]:
        while not calls:
            time.sleep(0.001)
        waiting.set()
        return users.send_many(bans(1))

    with ThreadPoolExecutor(2) as pool:
        leader, follower = pool.submit(first), pool.submit(second)
        assert follower.result(30) == [body["id"] for body in bodies(sqs)]
        leader.result(30)
    assert len(calls) == 2


def test_each_process_has_a_connection_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes must not write to one socket."""
    made: list[FakeSqs] = []

    def connect() -> FakeSqs:
        made.append(FakeSqs())
        return made[-1]

    users = UserCommands("q", source="/test", client=connect)
    here = os.getpid()
    users.send_many(bans(1))
    monkeypatch.setattr("biome_users.sender.os.getpid", lambda: here + 1)
    users.send_many(bans(1))
    users.send_many(bans(1))
    assert [len(each.calls) for each in made] == [1, 2]


def test_coroutines_continue_while_a_command_is_sent(sqs: FakeSqs) -> None:
    """The calls are made in threads: two of them can wait for each other."""
    both = threading.Barrier(2)
    sqs.before = lambda: both.wait(10)
    users = UserCommands(QUEUE, source="/test", client=sqs)

    async def two() -> list[Any]:
        one = users.asend(commands.BanUser(reason="spam"), user_id=USER)
        return list(await asyncio.gather(users.asend_many(bans(2)), one))

    many, one = asyncio.run(two())
    assert len({*many, one}) == 3


@pytest.fixture
def current_span(monkeypatch: pytest.MonkeyPatch) -> str:
    """An OpenTelemetry, as far as the client calls it, with a current span."""
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


def test_the_current_span_is_sent_unless_the_caller_passes_another(
    users: UserCommands, sqs: FakeSqs, current_span: str
) -> None:
    """The context of an OpenTelemetry that the process uses."""
    own = "00-11111111111111111111111111111111-2222222222222222-01"
    users.send_many([ban(), ban(traceparent=own)])
    assert [body["traceparent"] for body in bodies(sqs)] == [current_span, own]


def test_a_cancelled_coroutine_can_send_its_command_again(sqs: FakeSqs) -> None:
    """The call continues in its thread; the same id is sent again, which has no second effect."""
    silent = threading.Event()
    sqs.before = lambda: silent.wait(10)
    users = UserCommands(QUEUE, source="/test", client=sqs)
    request = ban()

    async def cancelled() -> None:
        task = asyncio.create_task(users.asend_many([request]))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        silent.set()
        assert await users.asend_many([request]) == [str(request.command_id)]

    asyncio.run(cancelled())
    assert {body["id"] for body in bodies(sqs)} == {str(request.command_id)}


def test_nothing_secret_is_logged(
    users: UserCommands, sqs: FakeSqs, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither an address nor a hash is in logs, errors or reprs."""
    caplog.set_level(logging.DEBUG)
    sqs.errors = [RuntimeError("no credentials")]
    hashed = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo"
    command = commands.RegisterUser(email="ada@example.com", first_name="Ada", password_hash=hashed)
    with pytest.raises(NotSentError) as caught:
        users.send(command)
    shown = f"{caplog.text} {caught.value} {caught.value!r} {caught.value.unsent!r} {command!r}"
    assert "ada@example.com" not in shown
    assert hashed not in shown
