from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError

from adapters.sqs.sending import (
    BACKOFF,
    MAX_ATTEMPTS,
    NO_ANSWER,
    BatchSender,
    QueueMessage,
    SendReport,
)

LONGEST = replace(BACKOFF, draw=lambda _low, high: high)
"""Without jitter."""
URL = "http://sqs/commands"
FIFO_URL = f"{URL}.fifo"
MESSAGES = [QueueMessage(str(i), f"g{i}") for i in range(3)]


class Sqs:
    """An SQS that refuses some bodies a number of times, and fails one call with an error."""

    def __init__(
        self,
        refusals: dict[str, int] | None = None,
        *,
        fault: bool = False,
        breaks_at: int = 0,
        breaks_with: BaseException | None = None,
    ) -> None:
        self.calls: list[list[dict[str, Any]]] = []
        self._refusals = refusals or {}
        self._fault = fault
        self._breaks_at = breaks_at
        self._breaks_with = breaks_with or ConnectTimeoutError(endpoint_url=URL)

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        """Answer in another order, as SQS may."""
        self.calls.append(Entries)
        if len(self.calls) == self._breaks_at:
            raise self._breaks_with
        good, bad = [], []
        for entry in Entries:
            left = self._refusals.get(entry["MessageBody"], 0)
            self._refusals[entry["MessageBody"]] = left - 1
            if left > 0:
                row = {"Id": entry["Id"], "Code": "InternalError", "SenderFault": self._fault}
                bad.append(row)
            else:
                good.append({"Id": entry["Id"], "MessageId": f"m{entry['MessageBody']}"})
        return {"Successful": good[::-1], "Failed": bad}

    @property
    def bodies(self) -> list[list[str]]:
        """The bodies of each call."""
        return [[entry["MessageBody"] for entry in call] for call in self.calls]


def send(sqs: Any, messages: Sequence[QueueMessage], url: str = URL) -> tuple[SendReport, list]:  # type: ignore[type-arg]
    """Send; return the report and the delays."""
    pauses: list[float] = []
    sender = BatchSender(sqs, url, sleep=pauses.append, backoff=LONGEST)
    return sender.send(messages), pauses


def test_only_what_was_refused_is_sent_again() -> None:
    """After growing delays; in the end all have their ids, by position."""
    sqs = Sqs({"1": 2})
    report, pauses = send(sqs, MESSAGES)
    assert sqs.bodies == [["0", "1", "2"], ["1"], ["1"]]
    assert (report.message_ids, report.code) == ({0: "m0", 1: "m1", 2: "m2"}, None)
    assert pauses == [BACKOFF.base, 2 * BACKOFF.base]


def test_what_is_refused_again_and_again_is_given_up() -> None:
    """The report names the code and what was sent."""
    sqs = Sqs({"1": 99})
    report, _ = send(sqs, MESSAGES)
    assert len(sqs.calls) == MAX_ATTEMPTS
    assert (set(report.message_ids), report.code) == ({0, 2}, "InternalError")


def test_what_is_the_senders_fault_is_not_tried_again() -> None:
    """It would be refused again."""
    sqs = Sqs({"1": 99}, fault=True)
    report, pauses = send(sqs, MESSAGES)
    assert (len(sqs.calls), pauses, report.code) == (1, [], "InternalError")


def test_after_a_failure_nothing_more_is_sent() -> None:
    """So the unsent messages are a known rest, and the order of a group is kept."""
    sqs = Sqs(breaks_at=2)
    report, _ = send(sqs, [QueueMessage(str(i)) for i in range(25)])
    assert len(sqs.calls) == 2
    assert (len(report.message_ids), report.code) == (10, "ConnectTimeoutError")
    assert isinstance(report.error, ConnectTimeoutError)


ANYTHING = [
    RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a proxy's page"),
    KeyError("Successful"),
    RecursionError(),
    MemoryError(),
    OSError(24, "too many open files"),
]
"""Errors of botocore, and errors that no list of its exceptions contains."""


@pytest.mark.parametrize("error", ANYTHING, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("url", [URL, FIFO_URL])
def test_whatever_is_raised_is_in_the_report_with_what_was_sent(error: Exception, url: str) -> None:
    """Otherwise it would be unknown which messages are on the queue."""
    sqs = Sqs(breaks_at=2, breaks_with=error)
    report, _ = send(sqs, [QueueMessage(str(i), f"g{i}") for i in range(25)], url)
    assert (sorted(report.message_ids), report.error) == (list(range(10)), error)
    assert report.code == type(error).__name__


def test_what_cannot_be_written_ends_it_with_what_was_sent() -> None:
    """An unpaired surrogate in the 15th of 25 messages."""
    messages = [QueueMessage("\ud800" if i == 14 else str(i)) for i in range(25)]
    report, _ = send(Sqs(), messages)
    assert (sorted(report.message_ids), report.code) == (list(range(10)), "UnicodeEncodeError")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "page",
        {"Successful": 7},
        {"Successful": "page"},
        {"Successful": [None, [], {}, {"Id": 0}, {"Id": "nine"}, {"Id": "99"}]},
        {"Successful": {"Id": "0"}, "Failed": "page"},
        {"Failed": [None, {"Id": "0", "Code": 7}]},
    ],
)
def test_an_answer_that_is_not_from_sqs_is_a_failure(answer: Any) -> None:
    """A proxy may answer anything."""

    class Proxy:
        def send_message_batch(self, **_: object) -> Any:
            """Answer with it."""
            return answer

    report, _ = send(Proxy(), MESSAGES)
    assert report.message_ids == {}
    assert report.code is not None


def test_after_an_interruption_the_callers_report_has_what_was_sent() -> None:
    """Ctrl-C passes through."""
    report = SendReport()
    sender = BatchSender(Sqs(breaks_at=2, breaks_with=KeyboardInterrupt()), URL)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        sender.send([QueueMessage(str(i)) for i in range(25)], report)
    assert sorted(report.message_ids) == list(range(10))


def test_an_answer_without_a_result_for_a_message_is_a_failure() -> None:
    """Such a message is sent again, and given up in the end."""

    class Silent:
        def send_message_batch(self, **_: object) -> dict[str, Any]:
            """Answer with nothing."""
            return {}

    report, pauses = send(Silent(), MESSAGES)
    assert (report.message_ids, report.code) == ({}, NO_ANSWER)
    assert len(pauses) == MAX_ATTEMPTS - 1


def test_on_a_fifo_queue_no_call_carries_two_of_one_group() -> None:
    """SQS may refuse the first and accept the second; they would apply in the wrong order."""
    sqs = Sqs({"0": 1})
    messages = [QueueMessage(str(i), group) for i, group in enumerate("aabbc")]
    report, _ = send(sqs, messages, FIFO_URL)
    assert sqs.bodies == [["0"], ["0"], ["1", "2"], ["3", "4"]]
    assert report.message_ids.keys() == set(range(5))


def test_a_deduplication_id_stays_when_a_message_is_sent_again() -> None:
    """SQS may have accepted what it reported as refused; ids of two messages always differ."""
    sqs = Sqs({"0": 1})
    send(sqs, MESSAGES, FIFO_URL)
    first, again = sqs.calls
    assert again[0]["MessageDeduplicationId"] == first[0]["MessageDeduplicationId"]
    assert len({entry["MessageDeduplicationId"] for entry in first}) == 3


@pytest.mark.parametrize("group", [None, "tenant"])
def test_on_a_standard_queue_a_group_is_optional_and_nothing_deduplicates(
    group: str | None,
) -> None:
    """A standard queue refuses deduplication ids."""
    sqs = Sqs()
    send(sqs, [QueueMessage("0", group), QueueMessage("1", group)])
    ((entry, _),) = sqs.calls
    assert entry.get("MessageGroupId") == group
    assert "MessageDeduplicationId" not in entry
