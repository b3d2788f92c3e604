"""Publish events to an SNS topic.

https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError, ParamValidationError

from adapters.aws.batching import MAX_CALL_BYTES, in_calls
from adapters.aws.client import error_code
from application.backoff import Backoff
from application.ports import EventMessage, EventPublisher, PublishFailure
from application.queue_port import FIFO_SUFFIX

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

MAX_ATTEMPTS = 4
BACKOFF = Backoff(0.1)
PATIENCE = 2.0
"""Seconds after which a batch is not tried again: the topic does not answer, and the outbox keeps
the events."""

MAX_MISSES = 2
"""Calls in a row that publish nothing, after which the topic is considered unavailable."""

# Characters that XML 1.0, and so SNS, does not allow: https://www.w3.org/TR/xml/#charsets
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Errors of the configuration; the event itself is valid and waits.
_SET_UP = re.compile(
    r"AuthorizationError|AccessDenied|NotFound|TopicMissing|KMS|InvalidClientTokenId|SignatureDoesNotMatch"
    r"|ExpiredToken|UnrecognizedClient|MissingAuthenticationToken|InvalidSecurity|OptInRequired"
)
# Errors of the total request rate.
_RATE = re.compile(r"Throttl|TooManyRequests|RequestLimit|SlowDown")
# Temporary errors, whether or not SNS marks them as the sender's fault.
_MOMENT = re.compile(r"Internal|Unavailable|Timeout")
# Errors of the content of a call, possibly of one message only.
_CONTENT = re.compile(r"Invalid|Validation|TooLong|TooLarge|EmptyBatch|Malformed|InvalidBatch")


class TopicMissingError(LookupError):
    """The topic does not exist; it may be created later."""


class _Entry(NamedTuple):
    event_id: str
    size: int
    fields: dict[str, Any]
    """The fields of a PublishBatchRequestEntry, except its id."""


_SIZE: Callable[[_Entry], int] = attrgetter("size")


class _Verdict(NamedTuple):
    """The meaning of one attempt's error for an event."""

    failure: PublishFailure
    again: bool
    """Whether another attempt at once could succeed."""


class SnsPublisher(EventPublisher):
    """Publish to one topic, standard or FIFO, in batches."""

    def __init__(
        self,
        client: SNSClient,
        topic: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        backoff: Backoff = BACKOFF,
    ) -> None:
        """Publish through `client` to the topic with this name or ARN.

        A name is looked up at the first publication, so that a worker can start without SNS.
        `sleep` waits for seconds.
        """
        self._client = client
        self._topic = topic
        self._arn: str | None = None
        self._fifo = topic.endswith(FIFO_SUFFIX)
        self._sleep = sleep
        self._backoff = backoff

    def publish(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        """Publish events in as few calls as possible; return failures by event id. Never raises.

        If the first call publishes nothing, the last call is tried next: only if that publishes
        nothing either, the topic is considered unavailable, and the rest is not tried. After a
        success, only calls that fail as a whole count as misses.
        """
        entries, failures = self._entries(messages)
        calls = deque(in_calls(entries, _SIZE))
        accepted, misses = False, 0
        while calls:
            call = calls.popleft()
            failed = self._publish_chunk(call)
            failures |= failed
            if len(failed) < len(call) or any(f.permanent for f in failed.values()):
                accepted, misses = True, 0
                continue
            misses += not (accepted and any(failure.answered for failure in failed.values()))
            if misses == MAX_MISSES:
                unavailable = failed[call[0].event_id]._replace(answered=False)
                return failures | {e.event_id: unavailable for rest in calls for e in rest}
            if not accepted:
                calls.rotate(1)
        return failures

    def _entries(
        self, messages: Sequence[EventMessage]
    ) -> tuple[list[_Entry], dict[str, PublishFailure]]:
        entries, failures = [], {}
        for message in {message.event_id: message for message in messages}.values():
            try:
                entry = self._entry(message)
            except UnicodeEncodeError:
                failures[message.event_id] = PublishFailure("not valid Unicode", permanent=True)
                continue
            if entry.size > MAX_CALL_BYTES:
                reason = f"more than {MAX_CALL_BYTES} bytes"
                failures[message.event_id] = PublishFailure(reason, permanent=True)
            else:
                entries.append(entry)
        return entries, failures

    def _entry(self, message: EventMessage) -> _Entry:
        attributes = filter_attributes(message)
        fields: dict[str, Any] = {"Message": message.body, "MessageAttributes": attributes}
        if self._fifo:
            fields["MessageGroupId"] = message.user_id
            fields["MessageDeduplicationId"] = message.event_id
        size = len(message.body.encode()) + sum(
            len(name) + len(value["DataType"]) + len(value["StringValue"].encode())
            for name, value in attributes.items()
        )
        return _Entry(message.event_id, size, fields)

    def _publish_chunk(self, chunk: Sequence[_Entry]) -> dict[str, PublishFailure]:
        """Publish one batch, retrying what may succeed; return the failures."""
        failures: dict[str, PublishFailure] = {}
        deadline = time.monotonic() + PATIENCE
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                if time.monotonic() > deadline:
                    break
                self._sleep(self._backoff.delay(attempt))
            verdicts = self._attempt(chunk)
            for entry in chunk:
                failures.pop(entry.event_id, None)
            failures |= {event_id: verdict.failure for event_id, verdict in verdicts.items()}
            chunk = [entry for entry in chunk if _again(verdicts.get(entry.event_id))]
            if not chunk:
                break
        return failures

    def _attempt(self, chunk: Sequence[_Entry]) -> dict[str, _Verdict]:
        """Make one call; if it is refused for its content, bisect to find the entries at fault."""
        try:
            return self._call(chunk)
        except Exception as error:  # noqa: BLE001 - anything that the network or a proxy returns
            verdict = _of_exception(error)
        if verdict.failure.permanent and len(chunk) > 1:
            half = len(chunk) // 2
            return self._attempt(chunk[:half]) | self._attempt(chunk[half:])
        return {entry.event_id: verdict for entry in chunk}

    def _call(self, chunk: Sequence[_Entry]) -> dict[str, _Verdict]:
        self._arn = self._arn or topic_arn(self._client, self._topic)
        answer: Any = self._client.publish_batch(
            TopicArn=self._arn,
            PublishBatchRequestEntries=[
                {"Id": str(index), **entry.fields}  # type: ignore[typeddict-item]
                for index, entry in enumerate(chunk)
            ],
        )
        published = {result["Id"] for result in answer.get("Successful") or ()}
        failed = {result["Id"]: result for result in answer.get("Failed") or ()}
        return {
            entry.event_id: _of_result(failed.get(str(index)))
            for index, entry in enumerate(chunk)
            if str(index) in failed or str(index) not in published
        }


def topic_arn(client: SNSClient, name: str) -> str:
    """Return the ARN of an existing topic; return an ARN unchanged.

    Needs `sns:ListTopics`, but no permission to create topics.

    Raises:
        TopicMissingError: no topic with this name exists in the account and region.
    """
    if name.startswith("arn:"):
        return name
    for page in client.get_paginator("list_topics").paginate():
        for topic in page.get("Topics", ()):
            arn = topic.get("TopicArn", "")
            if arn.rpartition(":")[2] == name:
                return arn
    raise TopicMissingError(f"topic {name} does not exist")


def filter_attributes(message: EventMessage) -> dict[str, dict[str, str]]:
    """Return the attributes for filter policies, without characters that SNS refuses."""
    values = {
        "type": message.type,
        "category": message.category,
        "command_source": message.command_source,
    }
    texts = ((name, _FORBIDDEN.sub("", value)) for name, value in values.items())
    return {name: {"DataType": "String", "StringValue": text} for name, text in texts if text}


def _again(verdict: _Verdict | None) -> bool:
    return verdict is not None and verdict.again


def _of_result(result: dict[str, Any] | None) -> _Verdict:
    """Classify the error of an entry that was not published, by its part of the answer."""
    if result is None:
        return _Verdict(
            PublishFailure("SNS returned no result for the event", permanent=False), again=True
        )
    failure, again = _verdict(str(result.get("Code")), content=result.get("SenderFault") is True)
    return _Verdict(failure._replace(answered=True), again)


def _of_exception(error: Exception) -> _Verdict:
    """Classify the error of a call that failed as a whole."""
    code = error_code(error)
    if isinstance(error, ClientError):
        problem = error.response.get("Error", {})
        if "TopicArn" in str(problem.get("Message")):  # the configuration is wrong, not the event
            return _Verdict(PublishFailure(code, permanent=False, shared=True), again=False)
        return _verdict(code, content=_CONTENT.search(code) is not None)
    return _verdict(code, content=isinstance(error, ParamValidationError))


def _verdict(code: str, *, content: bool) -> _Verdict:
    if _RATE.search(code):
        return _Verdict(PublishFailure(code, permanent=False, shared=True), again=True)
    if _MOMENT.search(code):
        return _Verdict(PublishFailure(code, permanent=False), again=True)
    if _SET_UP.search(code):
        return _Verdict(PublishFailure(code, permanent=False, shared=True), again=False)
    return _Verdict(PublishFailure(code, permanent=content), again=not content)
