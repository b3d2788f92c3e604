"""Collect the disposition of each message of a batch, and log one line per command."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import structlog

from application.backoff import Draw
from application.disposition import (
    Ack,
    DeadLetter,
    Disposition,
    Dispositions,
    ReceivedMessage,
    Retry,
)
from application.messages import Redacted
from application.observer import NULL_OBSERVER, WorkerObserver
from application.pending_command import PendingCommand
from application.permissions import ALLOW_ALL, NOT_PERMITTED, Permissions
from application.ports import PublishFailure
from application.repository import Outcome
from application.retry import Failure, decide_disposition, delay

logger = structlog.get_logger(__name__)

REUSED_ID = Failure("CommandIdReused", "id: was used for another command", permanent=True)
OTHER_FIRST = Failure("Twin", "an earlier message with this id failed")


class BatchResults:
    """The dispositions of one batch; the first disposition of a message is final."""

    def __init__(
        self,
        messages: Sequence[ReceivedMessage],
        max_receives: int,
        draw: Draw,
        redact: Callable[[str], Redacted | None],
        *,
        observer: WorkerObserver = NULL_OBSERVER,
        permissions: Permissions = ALLOW_ALL,
    ) -> None:
        """Start without dispositions.

        `redact` returns the body of a dead letter; `observer` is called for each message that is
        finished.
        """
        self._observer = observer
        self._redact = redact
        self._permissions = permissions
        self._messages = messages
        self._max_receives = max_receives
        self._draw = draw
        self._dispositions: dict[int, Disposition] = {}
        self._held_groups: dict[str, tuple[int, Retry]] = {}
        """By FIFO group: the index of the first message to retry, and its disposition."""
        self._store: bool | None = None
        self._known_before = False
        """Whether the store answered a read; writes may still fail."""
        self._topic: bool | None = None
        self._started = time.perf_counter()

    def committed(self, pending: PendingCommand, outcome: Outcome) -> None:
        """Record that a command was decided and its outcome is stored."""
        self._store = True
        events = [event.type.split(".")[2] for event in outcome.events]
        self._dispositions[pending.index] = Ack()
        self._report(
            pending, outcome.status, code=outcome.code, events=events, version=outcome.version
        )

    def duplicate(self, pending: PendingCommand, *, same_command: bool) -> None:
        """Record a message whose command id was decided before, for the same command or not."""
        self._known_before = True
        if same_command:
            self._dispositions[pending.index] = Ack()
            self._report(pending, "duplicate")
        else:
            self.failed([pending], REUSED_ID)

    def duplicate_in_batch(self, pending: PendingCommand, first: PendingCommand) -> None:
        """Record that a message repeats the id of an earlier message of the batch.

        It shares the disposition of the earlier message unless that is a dead letter, since the
        cause may concern the earlier message only: it may hold another body under this id, or was
        received once too often.
        """
        disposition = self._dispositions[first.index]
        same = pending.envelope.content_hash == first.envelope.content_hash
        if isinstance(disposition, Ack):
            self.duplicate(pending, same_command=same)
        elif isinstance(disposition, Retry):
            self._dispositions[pending.index] = disposition
            self._report(pending, "later", code=OTHER_FIRST.code)
        else:
            reused = same and disposition.code == REUSED_ID.code
            self.failed([pending], REUSED_ID if reused else OTHER_FIRST)

    def failed(self, commands: Iterable[PendingCommand], failure: Failure) -> None:
        """Record that commands failed; commands that have a disposition already keep it."""
        for pending in commands:
            if pending.index not in self._dispositions and not self.held_back(pending.index):
                disposition = self._decide(pending.index, failure)
                self._report_failure(pending, disposition, failure)

    def without_disposition(self, commands: Iterable[PendingCommand]) -> list[PendingCommand]:
        """Return the commands whose messages have no disposition yet."""
        return [pending for pending in commands if pending.index not in self._dispositions]

    def unreadable(self, index: int, failure: Failure) -> None:
        """Record a message that could not be parsed; it is dead-lettered, or retried if useful."""
        message = self._messages[index]
        disposition = self._decide(index, failure)
        outcome = "dead" if isinstance(disposition, DeadLetter) else "later"
        self._observer.message_not_understood(outcome, failure.code)
        logger.warning(
            "message_not_understood",
            outcome=outcome,
            code=failure.code,
            detail=failure.detail,
            message_id=message["message_id"],
            receives=message["receives"],
        )

    def not_permitted(self, index: int, detail: str) -> None:
        """Record a command that its sender may not send: it is dead-lettered."""
        message = self._messages[index]
        failure = Failure(NOT_PERMITTED, detail, permanent=True)
        self._decide(index, failure)
        self._observer.message_not_understood("dead", failure.code)
        logger.warning(
            "message_not_permitted",
            code=failure.code,
            detail=detail,
            message_id=message["message_id"],
            queue=message.get("queue"),
            principal=self._permissions.principal_of(message) or None,
        )

    def _decide(self, index: int, failure: Failure) -> Disposition:
        if failure.store and self._store is None:
            self._store = False
        message = self._messages[index]
        disposition = decide_disposition(
            failure, message["receives"], self._max_receives, self._draw
        )
        if isinstance(disposition, DeadLetter):
            principal = self._permissions.principal_of(message) or None
            disposition = replace(disposition, principal=principal)
            if (redacted := self._redact(message["body"])) is not None:
                disposition = replace(disposition, body=redacted.body, complete=redacted.complete)
        self._dispositions[index] = disposition
        if isinstance(disposition, Retry):
            self._hold_group(index, disposition)
        return disposition

    def held_back(self, index: int) -> bool:
        """Return True, and retry this message, if an earlier one of its FIFO group is retried."""
        first, disposition = self._held_groups.get(self._group(index) or "", (index, None))
        if disposition is None or index <= first:
            return False
        self._dispositions.setdefault(index, disposition)
        return True

    def dead_letters(self) -> list[tuple[int, DeadLetter]]:
        """Return the dead letters, each with the index of its message."""
        return [
            (index, disposition)
            for index, disposition in self._dispositions.items()
            if isinstance(disposition, DeadLetter)
        ]

    def unannounced(self, index: int, failure: PublishFailure) -> None:
        """Retry a dead letter whose event the topic did not accept.

        Unless a retry cannot help, or SQS would move the message without a reason.
        """
        message = self._messages[index]
        last = failure.permanent or message["receives"] >= self._max_receives
        if not last:
            disposition = Retry(delay(message["receives"], self._draw))
            self._dispositions[index] = disposition
            self._hold_group(index, disposition)
        logger.warning(
            "dead_letter_not_announced" if last else "dead_letter_postponed",
            reason=failure.reason,
            message_id=message["message_id"],
            receives=message["receives"],
        )

    def result(self) -> Dispositions:
        """Return the dispositions in the order of the messages; a FIFO group has one delay."""
        items = tuple(self._final(index) for index in range(len(self._messages)))
        store = (self._known_before or None) if self._store is None else self._store
        return Dispositions(items, store, self._topic)

    def published(self, *, any_event: bool) -> None:
        """Record whether the topic accepted any of the committed events."""
        self._topic = any_event

    def _final(self, index: int) -> Disposition:
        disposition = self._dispositions[index]
        group = self._group(index)
        if group is None or not isinstance(disposition, Retry):
            return disposition
        return self._held_groups.get(group, (index, disposition))[1]

    def _group(self, index: int) -> str | None:
        message = self._messages[index]
        return message["group_id"] if message["fifo"] else None

    def _hold_group(self, index: int, disposition: Retry) -> None:
        """Make the later messages of the FIFO group wait for this one, but no earlier one."""
        group = self._group(index)
        if group is not None and index < self._held_groups.get(group, (index + 1,))[0]:
            self._held_groups[group] = (index, disposition)

    def _report_failure(
        self, pending: PendingCommand, disposition: Disposition, failure: Failure
    ) -> None:
        delay = disposition.delay if isinstance(disposition, Retry) else None
        outcome = "dead" if isinstance(disposition, DeadLetter) else "later"
        self._report(pending, outcome, code=failure.code, detail=failure.detail, delay=delay)

    def _report(
        self, pending: PendingCommand, outcome: str, *, code: str | None = None, **fields: object
    ) -> None:
        seconds = time.perf_counter() - self._started
        self._observer.command_finished(
            pending.message, pending.envelope, outcome, code, seconds=seconds
        )
        pending.log.info(
            "command",
            outcome=outcome,
            type=pending.envelope.type,
            receives=pending.message["receives"],
            duration_ms=round(seconds * 1000, 1),
            **{k: v for k, v in {"code": code, **fields}.items() if v is not None},
        )
