"""The part of SQS that the worker uses, in this process, with a clock that the test sets.

Messages that are not deleted become visible again after their visibility timeout. On a FIFO queue a
group waits while one of its messages is in flight. A message that was received too often goes to
the dead-letter queue without a reason, which no schedule here should cause.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

ANSWERED = {"ResponseMetadata": {"RequestId": "in-process", "HTTPStatusCode": 200}}
VISIBILITY_TIMEOUT = 60
MAX_RECEIVES = 12


@dataclass(slots=True)
class Stored:
    """One message of a queue."""

    message_id: str
    body: str
    group: str | None
    sent_at: float
    attributes: Mapping[str, Any] = field(default_factory=dict)
    visible_at: float = 0.0
    receives: int = 0
    receipt: str = ""


class InProcessSqs:
    """Queues by name; the name is also the URL."""

    def __init__(
        self, now: Callable[[], float], redrive: Mapping[str, str], quarantine: str
    ) -> None:
        """Take the clock (epoch seconds), dead-letter queues by queue, and a quarantine queue."""
        self._now = now
        self._redrive = redrive
        self._numbers = count(1)
        self.queues: dict[str, list[Stored]] = {
            name: [] for pair in (*redrive.items(), (quarantine,)) for name in pair
        }
        self.given_up: list[Stored] = []
        """Messages that the redrive policy moved to a dead-letter queue."""

    def send(self, queue: str, body: str, group: str | None, sent_at: float) -> None:
        """Put a message on a queue, like a producer."""
        message_id = f"00000000-0000-4000-8000-{next(self._numbers):012}"
        self.queues[queue].append(Stored(message_id, body, group, sent_at))

    # --- the client's methods --------------------------------------------------------------

    def get_queue_url(self, *, QueueName: str) -> dict[str, Any]:  # noqa: N803
        """Return the name, which is also the URL."""
        return {"QueueUrl": QueueName, **ANSWERED}

    def receive_message(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        MaxNumberOfMessages: int,  # noqa: N803
        VisibilityTimeout: int = VISIBILITY_TIMEOUT,  # noqa: N803
        **_: Any,
    ) -> dict[str, Any]:
        """Return visible messages, in the order they were sent."""
        self._give_up(QueueUrl)
        now, given, waiting = self._now(), list[Stored](), set[str]()
        for stored in self.queues[QueueUrl]:
            if stored.visible_at > now or stored.group in waiting:
                waiting |= {stored.group} if stored.group else set()
            elif len(given) < MaxNumberOfMessages:
                stored.receives += 1
                stored.receipt = f"{stored.message_id}/{next(self._numbers)}"
                given.append(stored)
        for stored in given:
            stored.visible_at = now + VisibilityTimeout
        return {"Messages": [_render(stored) for stored in given], **ANSWERED}

    def delete_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> dict[str, Any]:  # noqa: N803
        """Delete messages. An old receipt is accepted without effect, as on a standard queue."""
        receipts = {entry["ReceiptHandle"] for entry in Entries}
        self.queues[QueueUrl] = [m for m in self.queues[QueueUrl] if m.receipt not in receipts]
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries], **ANSWERED}

    def change_message_visibility_batch(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        Entries: Sequence[Any],  # noqa: N803
    ) -> dict[str, Any]:
        """Change the visibility timeouts of messages; an old receipt fails."""
        answer: dict[str, Any] = {"Successful": [], "Failed": [], **ANSWERED}
        by_receipt = {stored.receipt: stored for stored in self.queues[QueueUrl]}
        for entry in Entries:
            stored = by_receipt.get(entry["ReceiptHandle"])
            if stored is None or stored.visible_at <= self._now():
                code = "AWS.SimpleQueueService.MessageNotInflight"
                answer["Failed"].append({"Id": entry["Id"], "Code": code, "SenderFault": True})
            else:
                stored.visible_at = self._now() + entry["VisibilityTimeout"]
                answer["Successful"].append({"Id": entry["Id"]})
        return answer

    def send_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> dict[str, Any]:  # noqa: N803
        """Put messages on a queue."""
        for entry in Entries:
            group = entry.get("MessageGroupId")
            self.send(QueueUrl, entry["MessageBody"], group, self._now())
            self.queues[QueueUrl][-1].attributes = entry.get("MessageAttributes", {})
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries], **ANSWERED}

    def _give_up(self, queue: str) -> None:
        now, dead_letters = self._now(), self._redrive.get(queue)
        for stored in list(self.queues[queue]):
            if dead_letters and stored.receives >= MAX_RECEIVES and stored.visible_at <= now:
                self.queues[queue].remove(stored)
                self.given_up.append(stored)


def _render(stored: Stored) -> dict[str, Any]:
    attributes = {
        "ApproximateReceiveCount": str(stored.receives),
        "SentTimestamp": str(int(stored.sent_at * 1000)),
    }
    if stored.group is not None:
        attributes["MessageGroupId"] = stored.group
    return {
        "MessageId": stored.message_id,
        "ReceiptHandle": stored.receipt,
        "Body": stored.body,
        "Attributes": attributes,
        "MessageAttributes": dict(stored.attributes),
    }
