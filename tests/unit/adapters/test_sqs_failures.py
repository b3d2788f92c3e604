"""Reports of the command queue for any exception of its client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import time
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from adapters.clock import clock_difference
from adapters.sqs.command_queue import QueueMissingError, SqsCommandQueue, SqsError
from application.disposition import DeadLetter
from application.queue_port import DeadLetterMessage, RawMessage

KIB = 1024
SECRET = "ada@example.com"


def _denied(operation: str, code: str = "AccessDenied") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": SECRET}}, operation)


ERRORS: list[Exception] = [
    RuntimeError(SECRET),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, SECRET),
    KeyError(SECRET),
    ConnectTimeoutError(endpoint_url="http://x"),
    _denied("SendMessageBatch"),
    _denied("SendMessageBatch", "KMS.AccessDeniedException"),
]
NAMES = [
    getattr(e, "response", {}).get("Error", {}).get("Code") or type(e).__name__ for e in ERRORS
]


@dataclass
class ScriptedSqs:
    """A client whose batch calls succeed unless the script returns something else."""

    script: Callable[[int, list[dict[str, Any]]], Any] = lambda _number, _entries: None
    """Takes the number of the call and its entries; returns an answer, or an exception to raise."""
    sent: list[list[dict[str, Any]]] = field(default_factory=list)
    """The entries of each call that succeeded."""
    calls: int = 0

    def get_queue_url(self, QueueName: str) -> dict[str, str]:  # noqa: N803  # boto3's
        """Return the URL."""
        return {"QueueUrl": f"http://sqs/{QueueName}"}

    def _batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> Any:  # noqa: N803
        self.calls += 1
        scripted = self.script(self.calls, Entries)
        if isinstance(scripted, Exception):
            raise scripted
        if scripted is not None:
            return scripted
        self.sent.append([dict(entry) for entry in Entries])
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    send_message_batch = delete_message_batch = change_message_visibility_batch = _batch


def _queue(sqs: ScriptedSqs) -> SqsCommandQueue:
    return SqsCommandQueue("commands", "dead", "quarantine", lambda _: sqs)


def _letter(receipt: str, body: str = "{}", received_at: Any = 0.0) -> DeadLetterMessage:
    message = RawMessage(f"id-{receipt}", receipt, body, 1, 0.0, received_at, None)
    return DeadLetterMessage(message, DeadLetter("Malformed", "-", None))


@pytest.mark.parametrize("error", ERRORS, ids=NAMES)
def test_a_call_that_raises_keeps_what_other_calls_have_sent(error: Exception) -> None:
    """Otherwise dead letters would be sent twice: the second of three calls raises."""
    sqs = ScriptedSqs(lambda number, _: error if number == 2 else None)
    letters = [_letter(str(n), "x" * 200 * KIB) for n in range(3)]
    failures = _queue(sqs).dead_letter(letters)
    assert list(failures) == ["1"]
    assert failures["1"] in NAMES
    assert [entry["MessageBody"][:1] for call in sqs.sent for entry in call] == ["x", "x"]


@pytest.mark.parametrize("error", ERRORS, ids=NAMES)
def test_a_call_that_raises_alone_names_the_operation_the_queue_and_the_code(
    error: Exception,
) -> None:
    """It quotes nothing of the exception."""
    queue = _queue(ScriptedSqs(lambda *_: error))
    calls: dict[str, Callable[[], object]] = {
        "delete_message_batch on commands": lambda: queue.delete(["a", "b"]),
        "change_message_visibility_batch on commands": lambda: queue.change_visibility([("a", 1)]),
        "send_message_batch on dead": lambda: queue.dead_letter([_letter("a"), _letter("b")]),
    }
    for begin, call in calls.items():
        with pytest.raises(SqsError) as caught:
            call()
        assert caught.value.code in NAMES
        assert str(caught.value) == f"{begin}: {caught.value.code}"


def test_a_refusal_of_several_calls_is_one_of_the_whole() -> None:
    """None of the calls was answered."""
    queue = _queue(ScriptedSqs(lambda *_: _denied("SendMessageBatch")))
    with pytest.raises(SqsError, match="AccessDenied"):
        queue.dead_letter([_letter(str(n), "x" * 200 * KIB) for n in range(3)])


def test_an_entry_that_makes_sqs_refuse_its_call_fails_alone() -> None:
    """The refusal names no entry, so each is sent alone."""

    def script(_number: int, entries: list[dict[str, Any]]) -> Exception | None:
        bad = any(entry["MessageBody"] == "bad" for entry in entries)
        return _denied("SendMessageBatch", "InvalidMessageContents") if bad else None

    sqs = ScriptedSqs(script)
    letters = [_letter("a"), _letter("b", "bad"), _letter("c")]
    assert _queue(sqs).dead_letter(letters) == {"b": "InvalidMessageContents"}
    assert [len(call) for call in sqs.sent] == [1, 1]


def test_a_letter_that_cannot_be_rendered_fails_alone() -> None:
    """The others are sent."""
    sqs = ScriptedSqs()
    letters = [_letter("a"), _letter("b", received_at="never"), _letter("c")]
    assert _queue(sqs).dead_letter(letters) == {"b": "InvalidMessageContents"}
    assert [len(call) for call in sqs.sent] == [2]


def test_a_letter_outgrown_by_its_reason_is_sent_without_it() -> None:
    """A message that is refused for another cause keeps its reason, and fails."""

    def script(_number: int, entries: list[dict[str, Any]]) -> Exception | None:
        long = any("MessageAttributes" in entry for entry in entries)
        return _denied("SendMessageBatch", "BatchRequestTooLong") if long else None

    sqs = ScriptedSqs(script)
    big = _letter("a", "x" * 256 * KIB)
    assert _queue(sqs).dead_letter([big]) == {}
    assert "MessageAttributes" not in sqs.sent[0][0]
    queue = _queue(ScriptedSqs(lambda *_: RuntimeError(SECRET)))
    with pytest.raises(SqsError, match="RuntimeError"):
        queue.dead_letter([big])


@pytest.mark.parametrize("answer", [[], {"Successful": 1}, {"Failed": [3]}, "<html>", b"\xff"])
def test_an_answer_that_is_not_one_of_sqs_is_a_failed_call(answer: Any) -> None:
    """A proxy may answer anything."""
    with pytest.raises(SqsError, match="delete_message_batch on commands: "):
        _queue(ScriptedSqs(lambda *_: answer)).delete(["a"])


def test_an_answer_without_entries_fails_each_entry() -> None:
    """An entry that SQS does not name has failed."""
    failures = _queue(ScriptedSqs(lambda *_: {})).delete(["a", "b"])
    assert failures == {"a": "NoAnswer", "b": "NoAnswer"}


def test_a_missing_dead_letter_queue_is_looked_up_again() -> None:
    """It may be created again with another URL."""
    sqs = ScriptedSqs(
        lambda number, _: _denied("SendMessageBatch", "QueueDoesNotExist") if number == 1 else None
    )
    queue = _queue(sqs)
    with pytest.raises(QueueMissingError, match="queue dead does not exist") as caught:
        queue.dead_letter([_letter("a")])
    assert caught.value.code == "QueueDoesNotExist"
    assert queue.dead_letter([_letter("a")]) == {}


DATE = "Mon, 23 Nov 2026 12:00:00 GMT"
AT = 1_795_435_200.0
"""The same time in seconds since the epoch."""


@pytest.mark.parametrize(
    ("began", "ended", "seconds"),
    [(0, 0, 0), (-20, 0, 0), (0.9, 300, 0), (20, 40, 40), (-60, -40, -40), (-400, -400, -400)],
)
def test_a_date_within_the_call_is_not_a_clock_difference(
    began: float, ended: float, seconds: float
) -> None:
    """Neither a long poll nor a process that was stopped during a call counts."""
    answer = {"ResponseMetadata": {"HTTPHeaders": {"date": DATE}}}
    assert clock_difference(answer, AT + began, AT + ended) == seconds


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"ResponseMetadata": None},
        {"ResponseMetadata": {"HTTPHeaders": {}}},
        {"ResponseMetadata": {"HTTPHeaders": {"date": "soon"}}},
        {"ResponseMetadata": {"HTTPHeaders": {"date": 3}}},
        {"ResponseMetadata": {"HTTPHeaders": {"date": DATE, "age": "60"}}},
    ],
)
def test_an_answer_without_a_date_is_not_compared_with_the_clock(answer: Any) -> None:
    """Without a Date, with an invalid one, or with that of a cached answer."""
    assert clock_difference(answer, AT, AT) is None


def test_each_answer_and_each_error_of_sqs_is_compared_with_the_clock() -> None:
    """Except an error of something that answers in place of SQS."""
    headers = {"HTTPHeaders": {"date": DATE}}
    answers: list[Any] = [
        {"Successful": [{"Id": "0"}], "ResponseMetadata": headers},
        ClientError({"Error": {}, "ResponseMetadata": {**headers, "RequestId": "r"}}, "x"),  # type: ignore[typeddict-item]
        ClientError({"Error": {}, "ResponseMetadata": headers}, "x"),  # type: ignore[typeddict-item]
        RuntimeError(),
    ]
    seen: list[float] = []
    sqs = ScriptedSqs(lambda number, _: answers[number - 1])
    queue = SqsCommandQueue("commands", "dead", "quarantine", lambda _: sqs, seen.append)
    for _ in answers:
        try:
            queue.delete(["a"])
        except SqsError:
            continue
    assert len(seen) == 2
    assert all(abs(seconds - (time() - AT)) < 60 for seconds in seen)
