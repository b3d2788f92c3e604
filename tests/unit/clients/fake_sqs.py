"""A stand-in for boto3's SQS client, with answers that a test chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

Answer = Mapping[str, Any] | BaseException
QUEUE = "http://sqs/1/commands"


def refused(code: str, *, sender: bool = False) -> dict[str, Any]:
    """Return the result row of an entry that SQS refuses, without its id."""
    return {"Code": code, "SenderFault": sender}


def client_error(code: str) -> ClientError:
    """Return botocore's error for a call that AWS refuses as a whole."""
    return ClientError({"Error": {"Code": code}}, "SendMessageBatch")


class FakeSqs:
    """Accepts every entry, unless `refusals` or `error` say otherwise."""

    def __init__(self) -> None:
        self.calls: list[Sequence[Mapping[str, Any]]] = []
        self.accepted: list[Mapping[str, Any]] = []
        self.refusals: list[dict[str, Mapping[str, Any] | None]] = []
        """For each of the next calls: rows of refused entries by id; `None` omits the entry."""
        self.errors: list[BaseException | None] = []
        """For each of the next calls: an exception in place of an answer."""
        self.before: Callable[[], object] = lambda: None

    def get_queue_url(self, QueueName: str) -> dict[str, str]:  # noqa: N803 - boto3's name
        """Return the URL of any queue."""
        return {"QueueUrl": f"http://sqs/1/{QueueName}"}

    def send_message_batch(self, QueueUrl: str, Entries: Sequence[Any]) -> dict[str, Any]:  # noqa: N803 - boto3's names
        """Accept or refuse entries."""
        self.before()
        self.calls.append(Entries)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        refusals = self.refusals.pop(0) if self.refusals else {}
        done = [entry for entry in Entries if entry["Id"] not in refusals]
        self.accepted += done
        return {
            "Successful": [{"Id": entry["Id"], "MessageId": "m"} for entry in done],
            "Failed": [{"Id": name, **row} for name, row in refusals.items() if row is not None],
        }
