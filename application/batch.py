"""Process one batch: parse, load, decide, commit, publish, and return a disposition per message.

The order of the steps is the guarantee. No message is acknowledged before its command is committed,
and nothing that was committed depends on being published here: after a crash there is either
nothing in the store, or an outbox entry that the relay publishes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import ceil

import structlog

from application.batch_policy import BatchPolicy
from application.batch_results import BatchResults
from application.change_builder import UserChangeBuilder
from application.cool_down import CoolDown
from application.disposition import Dispositions, ReceivedMessage
from application.key_ring import KeyRing
from application.messages import (
    MalformedMessageError,
    UnknownTypeError,
    read_attributes,
    render_dead_lettered,
    render_events,
)
from application.observer import NULL_OBSERVER, WorkerObserver
from application.outbox import Outbox
from application.pending_command import Parser, PendingCommand
from application.permissions import ALLOW_ALL, NOT_PERMITTED, NotPermittedError, Permissions
from application.ports import (
    Clock,
    CommandKey,
    EventMessage,
    EventPublisher,
    JobKind,
    OutboxEntry,
    PublishFailure,
    StoreUnavailableError,
    ThrottledError,
    TopicKind,
)
from application.reads import claimed_address, pending_address, reads_of
from application.repository import (
    HELD,
    CommitReport,
    LoadRequest,
    Outcome,
    Snapshot,
    UserRepository,
)
from application.retry import Failure
from application.rounds import Round, decide_round, registrations_first

logger = structlog.get_logger(__name__)

MAX_ATTEMPTS = 5
"""Commits of one command in one delivery, before its message is retried.

Simulated (`python -m benchmarks.scale celebrity`): with 32 tasks and 50 commands a second for one
user, p99 is 49 s with three attempts, 14 s with five and 8 s with eight; eight would occupy a slot
of the pool for up to 2.8 s.
"""
FACTS_LIFETIME = timedelta(seconds=20)
"""Maximum age of the facts a decision is based on, when the decision is committed.

A command that does not change its user is committed without a condition on the user. Its outcome
could therefore be written after the user was erased and scrubbed, with a fingerprint of personal
data. A scrub starts 30 s after its erasure at the earliest: a batch that stalled for longer decides
again.
"""
UNKNOWN_TYPE_DELAY = 60
"""Seconds until the second receive of a message of an unknown type, on a standard queue.

Only a deployment can make the type known, and thousands of such messages must not keep the worker
busy.
"""

UNKNOWN_TYPE = "UnknownType"
UNAVAILABLE = Failure("Unavailable", "the store did not answer", store=True)
THROTTLED = Failure("Throttled", "the store throttles the items of this user")
CONTENDED = Failure("Contended", "other commands changed the user at the same time")
UNFORESEEN = Failure("Unforeseen", "an unexpected error; see the worker's log")
UNREADABLE = Failure("Unreadable", "a stored item of the user cannot be read")
HEALTH_CHECK_KEY = "00000000-0000-0000-0000-000000000000"
"""Key that does not exist; used to check that the store answers."""
NOT_PUBLISHED = PublishFailure("the publisher failed", permanent=False)
NEVER = datetime.min.replace(tzinfo=UTC)
UNKNOWN_USER = Failure("UserNotFound", "the user does not exist yet")


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that a batch uses."""

    repository: UserRepository
    outbox: Outbox[Outcome]
    publisher: EventPublisher
    clock: Clock


class BatchHandler:
    """Process batches. One instance serves all threads of a process."""

    def __init__(
        self,
        ports: Ports,
        parser: Parser,
        policy: BatchPolicy,
        observer: WorkerObserver = NULL_OBSERVER,
        permissions: Permissions = ALLOW_ALL,
    ) -> None:
        """Set the ports, the parser, the policy, the observer and who may send what."""
        self._permissions = permissions
        self._ports = ports
        self._parser = parser
        self._policy = policy
        self._observer = observer
        self._cool_down = CoolDown(policy.monotonic)

    def handle(self, messages: Sequence[ReceivedMessage]) -> Dispositions:
        """Process the messages of one task; return one disposition per message, in their order.

        Without messages, only check that the store can be read and written.
        Raises nothing that a message or AWS can cause: such failures become dispositions.
        """
        if not messages:
            return self._probe()
        with self._observer.batch(messages):
            results = BatchResults(
                messages,
                self._policy.max_receives,
                self._policy.draw,
                self._parser.redact,
                observer=self._observer,
                permissions=self._permissions,
            )
            batch = _Batch(
                messages,
                self._ports,
                self._parser,
                self._policy,
                results=results,
                cool_down=self._cool_down,
                permissions=self._permissions,
                observer=self._observer,
            )
            return batch.run()

    def _probe(self) -> Dispositions:
        """Read and delete keys that do not exist: the same capacity as a command, and no trace."""
        try:
            self._ports.repository.load(LoadRequest(outcomes={CommandKey(None, HEALTH_CHECK_KEY)}))
            self._ports.outbox.close(
                [OutboxEntry(HEALTH_CHECK_KEY, HEALTH_CHECK_KEY, JobKind.PUBLISH, (), NEVER)]
            )
        except Exception as error:  # noqa: BLE001 - any error means that the store is unavailable
            logger.warning("store_unavailable", reason=str(error))
            return Dispositions((), store=False)
        return Dispositions((), store=True)


class _Batch:
    """State of one batch, for the duration of the call."""

    def __init__(
        self,
        messages: Sequence[ReceivedMessage],
        ports: Ports,
        parser: Parser,
        policy: BatchPolicy,
        *,
        results: BatchResults,
        cool_down: CoolDown,
        permissions: Permissions,
        observer: WorkerObserver,
    ) -> None:
        self._messages = messages
        self._ports = ports
        self._parser = parser
        self._policy = policy
        self._results = results
        self._cool_down = cool_down
        self._permissions = permissions
        self._observer = observer
        self._pending: list[PendingCommand] = []
        self._duplicates_in_batch: list[tuple[PendingCommand, PendingCommand]] = []
        self._unpublished: list[tuple[OutboxEntry, list[Outcome]]] = []

    def run(self) -> Dispositions:
        self._parse()
        while self._pending:
            commands = [w for w in self._pending if not self._results.held_back(w.index)]
            self._pending = []
            self._try_round(commands)
        for pending, first in self._duplicates_in_batch:
            self._results.duplicate_in_batch(pending, first)
        self._publish(self._announcements())
        return self._results.result()

    def _try_round(self, commands: Sequence[PendingCommand]) -> None:
        """Run one round; an error of the round as a whole fails the commands of this round only."""
        try:
            self._round(commands)
        except ThrottledError as error:
            one_user = len({pending.user_id or pending.key for pending in commands}) == 1
            logger.warning("store_throttled", reason=str(error), commands=len(commands))
            if one_user:
                self._throttled(commands)
            else:
                self._results.failed(commands, UNAVAILABLE)
        except StoreUnavailableError as error:
            logger.warning("store_unavailable", reason=str(error))
            self._results.failed(commands, UNAVAILABLE)
        except Exception:
            logger.exception("batch_failed", commands=len(commands))
            self._isolate(commands)

    def _throttled(self, commands: Sequence[PendingCommand]) -> None:
        """Fail the commands of throttled users, and start the cool-down of these users."""
        self._cool_down.start(pending.user_id for pending in commands)
        self._wait_for_cool_down(commands)

    def _wait_for_cool_down(self, commands: Iterable[PendingCommand]) -> None:
        """Retry commands of throttled users when the cool-down of the user has ended."""
        for pending in commands:
            seconds = self._cool_down.remaining(pending.user_id)
            self._results.failed([pending], replace(THROTTLED, min_delay=ceil(seconds)))

    def _isolate(self, commands: Sequence[PendingCommand]) -> None:
        """Run the commands of each user in a round of their own, because one of them met a bug."""
        parts: dict[object, list[PendingCommand]] = {}
        for pending in self._results.without_disposition(commands):
            parts.setdefault(pending.group or pending.user_id or pending.key, []).append(pending)
        if len(parts) <= 1:
            self._results.failed(commands, UNFORESEEN)
            return
        for part in parts.values():
            self._try_round(
                [pending for pending in part if not self._results.held_back(pending.index)]
            )

    def _parse(self) -> None:
        first_of: dict[tuple[str | None, CommandKey], PendingCommand] = {}
        for index, message in enumerate(self._messages):
            if self._results.held_back(index):
                continue
            try:
                envelope = self._parser.parse(message)
                traceparent = self._observer.command_parsed(message, envelope)
                if traceparent != envelope.traceparent:
                    envelope = replace(envelope, traceparent=traceparent)
                producer = self._permissions.check(message, envelope)
            except MalformedMessageError as error:
                reason = Failure(error.code, error.detail, permanent=True)
                self._results.unreadable(index, reason)
            except UnknownTypeError as error:
                self._results.unreadable(
                    index,
                    Failure(
                        UNKNOWN_TYPE,
                        error.detail,
                        # on a FIFO queue, a retry would delay every later message of the group
                        permanent=message["fifo"],
                        first_delay=UNKNOWN_TYPE_DELAY,
                    ),
                )
            except NotPermittedError as error:
                self._results.not_permitted(index, error.detail)
            except Exception:  # a bug must not fail the other messages, nor log personal data
                logger.exception("parse_failed", message_id=message["message_id"])
                self._results.unreadable(index, UNFORESEEN)
            else:
                pending = PendingCommand.of(index, message, envelope)
                pending.producer = producer
                pending.principal = self._permissions.principal_of(message) or None
                address = envelope.by_email.key if envelope.by_email else None
                first = first_of.setdefault((address, pending.key), pending)
                if first is pending:
                    self._pending.append(pending)
                else:
                    self._duplicates_in_batch.append((pending, first))

    def _round(self, commands: Sequence[PendingCommand]) -> None:
        throttled = [pending for pending in commands if self._cool_down.remaining(pending.user_id)]
        if throttled:
            self._wait_for_cool_down(throttled)
            rest = [pending for pending in commands if pending not in throttled]
            commands = [pending for pending in rest if not self._results.held_back(pending.index)]
        if not commands:
            return
        now, started = self._ports.clock.now(), time.monotonic()
        snapshot = self._load(commands)
        commands = registrations_first(commands, snapshot)
        decided = decide_round(commands, snapshot, self._policy, now)
        for pending, outcome in decided.duplicates:
            content = pending.envelope.content_hash
            same = self._policy.hash_keys.may_be(outcome.fingerprint, content)
            self._results.duplicate(pending, same_command=same)
        self._results.failed(decided.unknown, UNKNOWN_USER)
        self._results.failed(decided.unreadable, UNREADABLE)
        if decided.throttled:
            self._throttled(decided.throttled)
            logger.warning("store_throttled", reason="unread keys", commands=len(decided.throttled))
        again = [*self._commit(decided, now, started), *decided.inconsistent]
        left = {*decided.deferred, *self._retriable(again)}
        self._pending += [pending for pending in commands if pending in left]

    def _load(self, commands: Sequence[PendingCommand]) -> Snapshot:
        repository = self._ports.repository
        keys = self._policy.hash_keys
        snapshot = repository.load(_named_by(commands, keys))
        for pending in commands:
            if pending.envelope.by_email is not None:
                owner = snapshot.addresses.get(pending.envelope.by_email.key, HELD)
                pending.user_id = None if owner == HELD else owner
        if (rest := _found_by(commands, snapshot, keys)) != LoadRequest():
            more = repository.load(rest)
            snapshot.users.update(more.users)
            snapshot.addresses.update(more.addresses)
            snapshot.banned.update(more.banned)
            snapshot.outcomes.update(more.outcomes)
            snapshot.unreadable.update(more.unreadable)
            snapshot.unread.update(more.unread)
        return snapshot

    def _commit(self, decided: Round, read_at: datetime, started: float) -> list[PendingCommand]:
        """Commit the round's changes; return the commands that have to be decided again.

        The facts were read after `read_at` by the clock, and `started` by `time.monotonic`. Either
        may show that they are old: a clock may be set back meanwhile.
        """
        if not decided.builders:
            return []
        now = self._ports.clock.now()
        seconds = max((now - read_at).total_seconds(), time.monotonic() - started)
        if seconds > FACTS_LIFETIME.total_seconds():
            logger.warning("facts_outdated", commands=len(decided.commands), seconds=round(seconds))
            return decided.commands
        changes = [builder.change() for builder in decided.builders]
        with self._observer.committing(len(changes)):
            report = self._ports.repository.commit(changes, now)
            self._observer.committed(len(report.conflicts), len(report.failures))
        again: list[PendingCommand] = []
        for index, builder in enumerate(decided.builders):
            if index in report.conflicts:
                logger.info("conflict", kind=report.conflicts[index], user_id=builder.user_id)
                again += builder.commands
            elif index in report.failures:
                self._commit_failed(builder, report.failures[index])
            else:
                for pending, outcome in zip(builder.commands, builder.outcomes, strict=True):
                    self._results.committed(pending, outcome)
        self._remember(decided.builders, report)
        return again

    def _commit_failed(self, builder: UserChangeBuilder, error: Exception) -> None:
        if isinstance(error, ThrottledError):
            logger.warning("store_throttled", reason=str(error), user_id=builder.user_id)
            self._throttled(builder.commands)
        elif isinstance(error, StoreUnavailableError):
            logger.warning("store_unavailable", reason=str(error), user_id=builder.user_id)
            self._results.failed(builder.commands, UNAVAILABLE)
        else:
            logger.error("commit_failed", user_id=builder.user_id, exc_info=error)
            self._results.failed(builder.commands, UNFORESEEN)

    def _remember(self, builders: Sequence[UserChangeBuilder], report: CommitReport) -> None:
        """Keep what was committed, and nothing else, for publishing.

        A change that was not committed may hold another outcome under the same key: two commands
        with one id that name unknown addresses.
        """
        outcomes = {
            CommandKey(outcome.user_id, outcome.command_id): outcome
            for index, builder in enumerate(builders)
            if index not in report.conflicts and index not in report.failures
            for outcome in builder.outcomes
        }
        self._unpublished += [
            (entry, [outcomes[key] for key in entry.commands]) for entry in report.entries
        ]

    def _retriable(self, commands: Sequence[PendingCommand]) -> list[PendingCommand]:
        for pending in commands:
            pending.attempts += 1
        self._results.failed([w for w in commands if w.attempts >= MAX_ATTEMPTS], CONTENDED)
        left = [pending for pending in commands if pending.attempts < MAX_ATTEMPTS]
        if left:
            self._publish()  # committed events are published before the pause
            # Full jitter up to 100 to 400 ms: the competing writer needs one or two calls to
            # finish.
            self._policy.sleep(
                self._policy.draw(0, 0.1 * max(pending.attempts for pending in left))
            )
        return left

    def _announcements(self) -> list[tuple[int, EventMessage]]:
        """Return the event of each dead letter whose sender gets an answer, with its index.

        It needs no stored outcome, because the store may be the cause. A sender that is not
        permitted, and a message without a command's id, type and source, get no answer.
        """
        found: list[tuple[int, EventMessage]] = []
        for index, letter in self._results.dead_letters():
            if letter.code == NOT_PERMITTED:
                continue
            message = self._messages[index]
            try:
                sent = read_attributes(message["body"])
                if sent and self._permissions.allows(message, sent.type, sent.source):
                    now, message_id = self._ports.clock.now(), message["message_id"]
                    found.append((index, render_dead_lettered(sent, letter.code, message_id, now)))
            except Exception:  # a bug must not keep the message from the dead-letter queue
                logger.exception("dead_letter_not_announced", message_id=message["message_id"])
        return found

    def _publish(self, announcements: Sequence[tuple[int, EventMessage]] = ()) -> None:
        """Publish the committed events and those of dead letters.

        The relay publishes committed events that fail here. A dead letter whose event fails is
        retried.
        """
        if not self._unpublished and not announcements:
            return
        unpublished, self._unpublished = self._unpublished, []
        unanswered = {event.event_id: NOT_PUBLISHED for _, event in announcements}
        try:
            messages = [
                [event for outcome in outcomes for event in render_events(outcome)]
                for _, outcomes in unpublished
            ]
            events = [m for each in messages for m in each]
            events += {event.event_id: event for _, event in announcements}.values()
            failures = self._ports.publisher.publish(events)
            unanswered = {name: failures[name] for name in unanswered if name in failures}
            # the ordinary topic carries all events: only its failures slow the receiving
            refused = sum(each.topic is TopicKind.ORDINARY for each in failures.values())
            self._results.published(any_event=refused < len(events))
            if failures:
                reasons = sorted({failure.reason for failure in failures.values()})
                logger.warning("publish_deferred", events=len(failures), reasons=reasons)
            published = [
                entry
                for (entry, _), each in zip(unpublished, messages, strict=True)
                if not any(message.event_id in failures for message in each)
            ]
            if published:
                self._ports.outbox.close(published)
        except StoreUnavailableError as error:  # published, but not closed
            logger.warning("outbox_pointer_left", reason=str(error))
        except Exception:  # the entries stay in the outbox, and the relay publishes them
            logger.exception("publish_failed")
        for index, event in announcements:
            if event.event_id in unanswered:
                self._results.unannounced(index, unanswered[event.event_id])


def _named_by(commands: Sequence[PendingCommand], keys: KeyRing) -> LoadRequest:
    """Return the keys that the messages themselves name."""
    reads = [(pending, reads_of(pending.envelope)) for pending in commands]
    return LoadRequest(
        users={pending.envelope.user_id for pending in commands if pending.envelope.user_id},
        sessions={
            (pending.envelope.user_id, read.session_id)
            for pending, read in reads
            if pending.envelope.user_id and read.session_id
        },
        two_factors={
            pending.envelope.user_id
            for pending, read in reads
            if pending.envelope.user_id and read.two_factor
        },
        addresses={read.address for _, read in reads if read.address},
        banned={
            address_hash
            for pending in commands
            if (address := claimed_address(pending.envelope, None)) is not None
            for address_hash in keys.address_hashes(address)
        },
        outcomes={pending.key for pending in commands},
    )


def _found_by(commands: Sequence[PendingCommand], snapshot: Snapshot, keys: KeyRing) -> LoadRequest:
    """Return the keys known only after the first read: users by address, and pending addresses.

    What is read of a user again replaces what the first read found, so it includes the items that
    the user's other commands need.
    """
    by_email = [each for each in commands if each.envelope.by_email and each.user_id]
    again = {
        each.user_id
        for each in by_email
        if each.user_id not in snapshot.users or reads_of(each.envelope).two_factor
    }
    reads = [
        (each.user_id, reads_of(each.envelope))
        for each in commands
        if each.user_id and each.user_id in again
    ]
    addresses = {
        address
        for each in commands
        if (address := pending_address(each.envelope, snapshot.users.get(each.user_id or "")))
    }
    return LoadRequest(
        users={user_id for user_id, _ in reads},
        sessions={(user_id, read.session_id) for user_id, read in reads if read.session_id},
        addresses=addresses - snapshot.addresses.keys(),
        banned={
            address_hash for address in addresses for address_hash in keys.address_hashes(address)
        }
        - snapshot.banned.keys(),
        two_factors={user_id for user_id, read in reads if read.two_factor},
        outcomes={CommandKey(each.user_id, each.envelope.command_id) for each in by_email},
    )
