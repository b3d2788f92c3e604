"""One round of a batch: commands, in order, against what was read; nothing is written here.

A round holds, per user, as many commands as can be decided on stored facts. A command that
touches an address which another one of the round writes waits for the next round, and so do its
user's later commands, and others' that touch its address; on a FIFO queue, so does the rest of
its group.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from domain.commands import CommandEnvelope
from domain.errors import RejectionCode
from domain.handlers import Context, Decision, handle
from domain.model import Session, TwoFactor, User
from domain.ports import CommandKey, Outcome, Snapshot, Status, UserChange
from domain.reads import touched_addresses
from domain.values import EmailAddress
from worker.settlement import ReceivedMessage

logger = structlog.get_logger("worker.command")


@dataclass(eq=False, slots=True)
class Work:
    """A message whose command is still to be decided and committed."""

    index: int
    message: ReceivedMessage
    envelope: CommandEnvelope
    user_id: str | None
    """The user it is about; for a command by e-mail address, found when it is read."""
    log: structlog.typing.FilteringBoundLogger
    attempts: int = 0
    """Commits that failed because something had changed since it was read."""

    @classmethod
    def of(cls, index: int, message: ReceivedMessage, envelope: CommandEnvelope) -> Work:
        """Start on a command, with its ids bound to every line about it."""
        log = logger.bind(
            command_id=envelope.command_id,
            user_id=envelope.user_id,
            correlation_id=envelope.correlation_id,
        )
        return cls(index, message, envelope, envelope.user_id, log)

    @property
    def key(self) -> CommandKey:
        """Under what its outcome is looked for."""
        return CommandKey(self.envelope.user_id, self.envelope.command_id)

    @property
    def group(self) -> str | None:
        """Its FIFO group, `None` on a standard queue."""
        return self.message["group_id"] if self.message["fifo"] else None


@dataclass(frozen=True, slots=True)
class RoundRules:
    """What decides a round besides the commands and the facts."""

    now: datetime
    outcome_lifetime: timedelta
    oldest: datetime
    """Commands sent before are too old to be told from their repetition."""
    registration_grace: timedelta
    """While a message is younger, an unknown user may still be on its way."""


@dataclass(slots=True)
class Draft:
    """What one user's commands of the round amount to."""

    user_id: str | None
    user: User | None
    works: list[Work] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    changed: bool = False
    read_version: int = 0
    read_email: EmailAddress | None = None
    read_sessions: dict[str, Session] = field(default_factory=dict)
    read_two_factor: TwoFactor | None = None

    @classmethod
    def of(cls, user_id: str | None, user: User | None) -> Draft:
        """Start from what was read."""
        if user is None:
            return cls(user_id, None)
        return cls(
            user_id,
            user,
            read_version=user.version,
            read_email=user.email,
            read_sessions=dict(user.sessions),
            read_two_factor=user.two_factor,
        )

    def change(self) -> UserChange:
        """Give what has to be written, by comparing what is with what was read."""
        outcomes = tuple(self.outcomes)
        if not self.changed or self.user is None:
            return UserChange(self.user_id, outcomes, self.read_version)
        claimed, released = self._addresses(self.user)
        two_factor, was = self.user.two_factor, self.read_two_factor
        return UserChange(
            self.user_id,
            outcomes,
            self.read_version,
            self.user,
            saved_sessions=tuple(self._saved_sessions(self.user)),
            removed_sessions=tuple(
                session
                for key, session in self.read_sessions.items()
                if key not in self.user.sessions
            ),
            saved_two_factor=_at_revision(two_factor, was) if two_factor is not was else None,
            removed_two_factor=was if two_factor is None else None,
            claimed=claimed,
            released=released,
            scrub=self.user.erased,
        )

    def _addresses(self, user: User) -> tuple[EmailAddress | None, EmailAddress | None]:
        old, new = self.read_email, user.email
        if (old and old.key) == (new and new.key):
            return None, None
        return new, old

    def _saved_sessions(self, user: User) -> Iterable[Session]:
        for key, session in user.sessions.items():
            was = self.read_sessions.get(key)
            if session is not was:
                yield replace(session, revision=was.revision if was else 0)


def _at_revision(new: TwoFactor | None, was: TwoFactor | None) -> TwoFactor | None:
    return replace(new, revision=was.revision if was else 0) if new else None


@dataclass(slots=True)
class Round:
    """What a round came to."""

    drafts: list[Draft] = field(default_factory=list)
    """To commit."""
    duplicates: list[tuple[Work, Outcome]] = field(default_factory=list)
    """Decided earlier."""
    unknown: list[Work] = field(default_factory=list)
    """Their user may still be on its way: later."""
    torn: list[Work] = field(default_factory=list)
    """What was read contradicts itself, because it changed in between: read again."""
    deferred: list[Work] = field(default_factory=list)
    """For the next round."""


def decide_round(works: Sequence[Work], snapshot: Snapshot, rules: RoundRules) -> Round:
    """Decide what can be decided on the facts in `snapshot`, whose users it takes over."""
    return _Decider(snapshot, rules).run(works)


class _Decider:
    def __init__(self, snapshot: Snapshot, rules: RoundRules) -> None:
        self._snapshot = snapshot
        self._rules = rules
        self._context = Context(rules.now, snapshot.addresses, rules.oldest)
        self._round = Round()
        self._drafts: dict[str, Draft] = {}
        self._disputed: set[str] = set()
        """Addresses that the round writes, or that a waiting command touches."""
        self._waiting_users: set[str] = set()
        self._waiting_groups: set[str] = set()
        self._group_users: dict[str, str | None] = {}

    def run(self, works: Sequence[Work]) -> Round:
        for work in works:
            outcome = self._snapshot.outcomes.get(work.key) or self._snapshot.outcomes.get(
                CommandKey(work.user_id, work.envelope.command_id)
            )
            if outcome is not None:
                self._round.duplicates.append((work, outcome))
            elif self._must_wait(work):
                self._wait(work)
            else:
                self._decide(work)
        return self._round

    def _must_wait(self, work: Work) -> bool:
        if work.user_id in self._waiting_users or work.group in self._waiting_groups:
            return True
        if work.group and self._group_users.setdefault(work.group, work.user_id) != work.user_id:
            return True
        user = self._draft(work).user
        return not self._disputed.isdisjoint(touched_addresses(work.envelope, user))

    def _wait(self, work: Work) -> None:
        if work.user_id:
            self._waiting_users.add(work.user_id)
        if work.group:
            self._waiting_groups.add(work.group)
        self._disputed |= touched_addresses(work.envelope, self._draft(work).user)
        self._round.deferred.append(work)

    def _draft(self, work: Work) -> Draft:
        if work.user_id is None:
            return Draft(None, None)
        if work.user_id not in self._drafts:
            user = self._snapshot.users.get(work.user_id)
            self._drafts[work.user_id] = Draft.of(work.user_id, user)
        return self._drafts[work.user_id]

    def _decide(self, work: Work) -> None:
        draft = self._draft(work)
        if self._is_torn(work, draft):
            self._round.torn.append(work)
            self._hold_group(work)
            return
        email = draft.user.email if draft.user else None
        decision = handle(work.envelope, draft.user, self._context)
        if decision.code is RejectionCode.USER_NOT_FOUND and self._may_be_on_its_way(work):
            self._round.unknown.append(work)
            self._hold_group(work)
            return
        self._record(draft, work, decision)
        after = decision.user.email if decision.user else None
        if decision.changed and email != after:
            self._disputed |= {address.key for address in (email, after) if address}

    def _is_torn(self, work: Work, draft: Draft) -> bool:
        """Whether the user has an address and is not there: they came between the two reads."""
        if draft.user is not None or work.user_id is None:
            return False
        owners = map(self._snapshot.addresses.get, touched_addresses(work.envelope, None))
        return work.user_id in owners

    def _hold_group(self, work: Work) -> None:
        if work.group:
            self._waiting_groups.add(work.group)

    def _may_be_on_its_way(self, work: Work) -> bool:
        age = self._rules.now.timestamp() - work.message["sent_at"]
        return age < self._rules.registration_grace.total_seconds()

    def _record(self, draft: Draft, work: Work, decision: Decision) -> None:
        if not draft.works:
            self._round.drafts.append(draft)
        draft.user = decision.user
        draft.changed |= decision.changed
        draft.works.append(work)
        draft.outcomes.append(_outcome(work, decision, self._rules))


def _outcome(work: Work, decision: Decision, rules: RoundRules) -> Outcome:
    envelope = work.envelope
    return Outcome(
        command_id=envelope.command_id,
        command_type=envelope.command.type,
        user_id=work.user_id,
        by_email=envelope.user_id is None,
        fingerprint=envelope.fingerprint,
        status=Status.REJECTED if decision.code else Status.ACCEPTED,
        code=decision.code,
        events=decision.events,
        version=decision.user.version if decision.user else 0,
        recorded_at=rules.now,
        expires_at=rules.now + rules.outcome_lifetime,
        source=envelope.source,
        correlation_id=envelope.correlation_id,
        traceparent=envelope.traceparent,
        tracestate=envelope.tracestate,
    )
