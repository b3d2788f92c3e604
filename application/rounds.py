"""One round of a batch: commands, in order, against what was read; nothing is written here.

A round holds, per user, as many commands as can be decided on stored facts. A command that
touches an address which another one of the round writes waits for the next round, and so do its
user's later commands, and others' that touch its address; on a FIFO queue, so does the rest of
its group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from application.change_builder import Draft
from application.pending_command import Work
from application.ports import CommandKey, Outcome, Snapshot, Status
from application.reads import reads_of, touched_addresses
from domain.commands import CreateUser, RegisterUser
from domain.errors import RejectionCode
from domain.handlers import Context, Decision, handle
from domain.model import User

REGISTRATION_RECEIVES: Final = 5
"""Receives for which an unknown user is waited for, however much time the clocks say has passed.

The delays between them make 15 s at least. After an outage every message is old, and a clock that
is ahead makes every message look old, so age alone decides nothing.
"""


@dataclass(frozen=True, slots=True)
class RoundRules:
    """What decides a round besides the commands and the facts."""

    now: datetime
    outcome_lifetime: timedelta
    oldest: datetime
    """Commands sent before are too old to be told from their repetition."""
    registration_grace: timedelta
    """How long after a message's first receive its unknown user may still be registered."""
    max_receives: int
    """On the last receive nothing is waited for any more: the command gets its outcome."""
    registration_receives: int = REGISTRATION_RECEIVES
    """The receive from which on the user of a command must exist, once the grace is over."""


@dataclass(slots=True)
class Round:
    """What a round came to."""

    drafts: list[Draft] = field(default_factory=list)
    """To commit."""
    duplicates: list[tuple[Work, Outcome]] = field(default_factory=list)
    """Decided earlier."""
    unknown: list[Work] = field(default_factory=list)
    """Their user may still be on its way: later."""
    unreadable: list[Work] = field(default_factory=list)
    """Something stored that they need cannot be read: later."""
    throttled: list[Work] = field(default_factory=list)
    """The store throttles items that they need: later."""
    torn: list[Work] = field(default_factory=list)
    """What was read contradicts itself, because it changed in between: read again."""
    deferred: list[Work] = field(default_factory=list)
    """For the next round."""

    @property
    def works(self) -> list[Work]:
        """The commands that were decided, with what they change in `drafts`."""
        return [work for draft in self.drafts for work in draft.works]


def registrations_first(works: Sequence[Work], snapshot: Snapshot) -> list[Work]:
    """Return the commands with the registration of an unknown user before the user's others.

    A standard queue does not keep the order in which they were sent. Nothing else changes places:
    not what is of a FIFO group, and not what concerns the address that is registered.
    """
    ordered: list[Work] = []
    for work in works:
        ordered.insert(_place_of(work, ordered, snapshot), work)
    return ordered


def _place_of(work: Work, before: Sequence[Work], snapshot: Snapshot) -> int:
    command = work.envelope.command
    here = len(before)
    if not isinstance(command, RegisterUser | CreateUser) or work.group is not None:
        return here
    waiting = [place for place, other in enumerate(before) if other.user_id == work.user_id]
    if not waiting or work.user_id in snapshot.users:
        return here
    for other in before[waiting[0] :]:
        if other.user_id == work.user_id and other.envelope.command.creates_user:
            return here
        user = snapshot.users.get(other.user_id or "")
        if command.email.key in touched_addresses(other.envelope, user):
            return here
    return waiting[0]


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
        self._recorded: dict[str | None, int] = {}
        """By user: the latest version that an outcome in hand, of a duplicate, tells of."""
        for outcome in snapshot.outcomes.values():
            known = self._recorded.get(outcome.user_id, 0)
            self._recorded[outcome.user_id] = max(known, outcome.version)

    def run(self, works: Sequence[Work]) -> Round:
        for work in works:
            outcome = self._snapshot.outcomes.get(work.key) or self._snapshot.outcomes.get(
                CommandKey(work.user_id, work.envelope.command_id)
            )
            if outcome is not None:
                self._round.duplicates.append((work, outcome))
                if work.group:  # the rest of what was read may be older than this outcome
                    self._waiting_groups.add(work.group)
            elif not self._snapshot.unread.isdisjoint(self._needed(work)):
                self._round.throttled.append(work)
                if work.group:
                    self._waiting_groups.add(work.group)
            elif self._must_wait(work):
                self._put_off(work, self._round.deferred)
            else:
                self._decide(work)
        return self._round

    def _must_wait(self, work: Work) -> bool:
        if work.user_id in self._waiting_users or work.group in self._waiting_groups:
            return True
        if any(o.command_id == work.envelope.command_id for o in self._draft(work).outcomes):
            return True  # the same id, once with the user's id and once with their address
        if work.group and self._group_users.setdefault(work.group, work.user_id) != work.user_id:
            return True
        user = self._draft(work).user
        return not self._disputed.isdisjoint(touched_addresses(work.envelope, user))

    def _put_off(self, work: Work, among: list[Work]) -> None:
        """Leave a command for another time, and let nothing overtake it that must not."""
        among.append(work)
        if work.user_id:
            self._waiting_users.add(work.user_id)
        if work.group:
            self._waiting_groups.add(work.group)
        if (named := work.envelope.by_email) is not None:  # who took it over in this round
            owners = (draft.user_id for draft in self._drafts.values() if draft.owns(named))
            self._waiting_users.update(owner for owner in owners if owner is not None)
        self._disputed |= touched_addresses(work.envelope, self._draft(work).user)

    def _draft(self, work: Work) -> Draft:
        if work.user_id is None:
            return Draft(None, None)
        if work.user_id not in self._drafts:
            user = self._snapshot.users.get(work.user_id)
            self._drafts[work.user_id] = Draft.of(work.user_id, user)
        return self._drafts[work.user_id]

    def _decide(self, work: Work) -> None:
        draft = self._draft(work)
        if not self._snapshot.unreadable.isdisjoint(self._needed(work)):
            self._put_off(work, self._round.unreadable)
            return
        if self._is_torn(work, draft.user):
            self._put_off(work, self._round.torn)
            return
        email = draft.user.email if draft.user else None
        decision = handle(work.envelope, draft.user, self._context)
        if decision.code is RejectionCode.USER_NOT_FOUND and self._may_be_on_its_way(work):
            self._round.unknown.append(work)
            if work.group:  # its user's later commands may be the registration: they go on
                self._waiting_groups.add(work.group)
            return
        self._record(draft, work, decision)
        after = decision.user.email if decision.user else None
        if decision.changed and email != after:
            self._disputed |= {address.key for address in (email, after) if address}

    def _needed(self, work: Work) -> set[str]:
        """Return what a command needs, by the names of `Snapshot.unread` and `unreadable`."""
        addresses = touched_addresses(work.envelope, self._draft(work).user)
        named = {work.envelope.command_id, work.user_id or work.envelope.command_id}
        return addresses | named

    def _is_torn(self, work: Work, user: User | None) -> bool:
        """Say whether what was read item by item contradicts itself: it changed in between.

        What is refused or without effect is committed on no condition, so a torn read would
        give a false answer for good.
        """
        reads = reads_of(work.envelope)
        if (user.version if user else 0) < self._recorded.get(work.user_id, 0):
            return True
        named = work.envelope.by_email
        if user is not None and named is not None and not self._draft(work).owns(named):
            return True  # somebody else may have the address by now
        if user is None:
            owners = map(self._snapshot.addresses.get, touched_addresses(work.envelope, None))
            return work.user_id is not None and work.user_id in owners
        if reads.two_factor and user.two_factor_enabled != (user.two_factor is not None):
            return True
        session = user.sessions.get(reads.session_id or "")
        return session is not None and session.session_epoch > user.session_epoch

    def _may_be_on_its_way(self, work: Work) -> bool:
        receives = work.message["receives"]
        if receives >= self._rules.max_receives:
            return False
        if receives < self._rules.registration_receives:
            return True
        first = work.message.get("first_received_at", work.message["sent_at"])
        waited = self._rules.now.timestamp() - first
        return waited < self._rules.registration_grace.total_seconds()

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
        command_type=envelope.type,
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
