"""Decide one round of a batch: commands, in order, against the facts read; writes nothing.

A round holds, per user, as many commands as can be decided on stored facts. A command that touches
an address which another command of the round writes waits for the next round. So do the later
commands of its user, the commands of others that touch its address and, on a FIFO queue, the rest
of its group.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from application.batch_policy import BatchPolicy
from application.change_builder import UserChangeBuilder
from application.pending_command import PendingCommand
from application.ports import CommandKey
from application.reads import claimed_address, reads_of, touched_addresses
from application.repository import Outcome, Snapshot, Status
from domain.commands import CreateUser, RegisterUser
from domain.errors import RejectionCode
from domain.handlers import Context, Decision, handle
from domain.user import User


@dataclass(slots=True)
class Round:
    """The result of a round."""

    builders: list[UserChangeBuilder] = field(default_factory=list)
    """Changes to commit."""
    duplicates: list[tuple[PendingCommand, Outcome]] = field(default_factory=list)
    """Commands that were decided before."""
    unknown: list[PendingCommand] = field(default_factory=list)
    """Commands whose user may still be registered: retry later."""
    unreadable: list[PendingCommand] = field(default_factory=list)
    """Commands that need a stored item which cannot be read: retry later."""
    throttled: list[PendingCommand] = field(default_factory=list)
    """Commands that need items which the store throttles: retry later."""
    inconsistent: list[PendingCommand] = field(default_factory=list)
    """Commands whose items changed between the reads: read again."""
    deferred: list[PendingCommand] = field(default_factory=list)
    """Commands for the next round."""

    @property
    def commands(self) -> list[PendingCommand]:
        """The commands that were decided, with their changes in `builders`."""
        return [pending for builder in self.builders for pending in builder.commands]


def registrations_first(
    commands: Sequence[PendingCommand], snapshot: Snapshot
) -> list[PendingCommand]:
    """Return the commands with each registration of an unknown user before the user's others.

    A standard queue does not keep the order in which messages were sent. The order changes for
    nothing else: not within a FIFO group, and not for commands about the registered address.
    """
    ordered: list[PendingCommand] = []
    for pending in commands:
        ordered.insert(_place_of(pending, ordered, snapshot), pending)
    return ordered


def _place_of(pending: PendingCommand, before: Sequence[PendingCommand], snapshot: Snapshot) -> int:
    command = pending.envelope.command
    here = len(before)
    if not isinstance(command, RegisterUser | CreateUser) or pending.group is not None:
        return here
    waiting = [place for place, other in enumerate(before) if other.user_id == pending.user_id]
    if not waiting or pending.user_id in snapshot.users:
        return here
    for other in before[waiting[0] :]:
        if other.user_id == pending.user_id and other.envelope.command.creates_user:
            return here
        user = snapshot.users.get(other.user_id or "")
        if command.email.key in touched_addresses(other.envelope, user):
            return here
    return waiting[0]


def decide_round(
    commands: Sequence[PendingCommand], snapshot: Snapshot, policy: BatchPolicy, now: datetime
) -> Round:
    """Decide what can be decided on the facts in `snapshot`, and change its users in place."""
    return _Decider(snapshot, policy, now).run(commands)


class _Decider:
    def __init__(self, snapshot: Snapshot, policy: BatchPolicy, now: datetime) -> None:
        self._snapshot = snapshot
        self._policy = policy
        self._now = now
        self._addresses = dict(snapshot.addresses)
        self._context = Context(
            now,
            self._addresses,
            now - policy.command_lifetime,
            policy.hash_keys.address_hash,
            policy.user,
        )
        self._round = Round()
        self._builders: dict[str, UserChangeBuilder] = {}
        self._disputed: set[str] = set()
        """Addresses that the round writes, or that a waiting command touches."""
        self._waiting_users: set[str] = set()
        self._waiting_groups: set[str] = set()
        self._group_users: dict[str, str | None] = {}
        self._recorded: dict[str | None, int] = {}
        """By user: the latest version in the outcomes read. An older user item is inconsistent."""
        for outcome in snapshot.outcomes.values():
            latest = self._recorded.get(outcome.user_id, 0)
            self._recorded[outcome.user_id] = max(latest, outcome.version)

    def run(self, commands: Sequence[PendingCommand]) -> Round:
        for pending in commands:
            outcome = self._snapshot.outcomes.get(pending.key) or self._snapshot.outcomes.get(
                CommandKey(pending.user_id, pending.envelope.command_id)
            )
            if outcome is not None:
                self._round.duplicates.append((pending, outcome))
                if pending.group:  # the other items read may be older than this outcome
                    self._waiting_groups.add(pending.group)
            elif self._needs_one_of(self._snapshot.unread, pending):
                self._round.throttled.append(pending)
                if pending.group:
                    self._waiting_groups.add(pending.group)
            elif self._must_wait(pending):
                self._put_off(pending, self._round.deferred)
            else:
                self._decide(pending)
        return self._round

    def _must_wait(self, pending: PendingCommand) -> bool:
        if pending.user_id in self._waiting_users or pending.group in self._waiting_groups:
            return True
        if any(
            o.command_id == pending.envelope.command_id for o in self._builder(pending).outcomes
        ):
            return True  # the same id, once with the user's id and once with the user's address
        if (
            pending.group
            and self._group_users.setdefault(pending.group, pending.user_id) != pending.user_id
        ):
            return True
        user = self._builder(pending).user
        return not self._disputed.isdisjoint(touched_addresses(pending.envelope, user))

    def _put_off(self, pending: PendingCommand, among: list[PendingCommand]) -> None:
        """Leave a command for later, and make every command wait that must not overtake it."""
        among.append(pending)
        if pending.user_id:
            self._waiting_users.add(pending.user_id)
        if pending.group:
            self._waiting_groups.add(pending.group)
        if (named := pending.envelope.by_email) is not None:  # claimed in this round
            owners = (builder.user_id for builder in self._builders.values() if builder.owns(named))
            self._waiting_users.update(owner for owner in owners if owner is not None)
        self._disputed |= touched_addresses(pending.envelope, self._builder(pending).user)

    def _builder(self, pending: PendingCommand) -> UserChangeBuilder:
        if pending.user_id is None:
            return UserChangeBuilder(None, None)
        if pending.user_id not in self._builders:
            user = self._snapshot.users.get(pending.user_id)
            self._builders[pending.user_id] = UserChangeBuilder.of(pending.user_id, user)
        return self._builders[pending.user_id]

    def _decide(self, pending: PendingCommand) -> None:
        builder = self._builder(pending)
        if self._needs_one_of(self._snapshot.unreadable, pending):
            self._put_off(pending, self._round.unreadable)
            return
        if self._is_inconsistent(pending, builder.user):
            self._put_off(pending, self._round.inconsistent)
            return
        self._add_banned_owner(pending)
        email = builder.user.email if builder.user else None
        decision = handle(pending.envelope, builder.user, self._context)
        if decision.code is RejectionCode.USER_NOT_FOUND and self._may_be_on_its_way(pending):
            self._round.unknown.append(pending)
            if pending.group:  # the user's later commands may register
                self._waiting_groups.add(pending.group)
            return
        self._record(builder, pending, decision)
        after = decision.user.email if decision.user else None
        if decision.changed and email != after:
            self._disputed |= {address.key for address in (email, after) if address}

    def _needs_one_of(self, items: AbstractSet[str], pending: PendingCommand) -> bool:
        """Return True if a command needs one of the items.

        The set is usually empty, so it is checked first.
        """
        return bool(items) and not items.isdisjoint(self._needed(pending))

    def _needed(self, pending: PendingCommand) -> set[str]:
        """Return the items that a command needs, named as in `Snapshot.unread` and `unreadable`."""
        user = self._builder(pending).user
        addresses = touched_addresses(pending.envelope, user)
        named = {pending.envelope.command_id, pending.user_id or pending.envelope.command_id}
        return addresses | named | {*self._hashes(claimed_address(pending.envelope, user))}

    def _hashes(self, address: str | None) -> tuple[str, ...]:
        return () if address is None else self._policy.hash_keys.address_hashes(address)

    def _add_banned_owner(self, pending: PendingCommand) -> None:
        """Count the address that a command claims as owned while a ban of the address is in force.

        The rejection is that of an address in use, so the answer does not reveal the ban.
        """
        if not self._snapshot.banned:
            return
        address = claimed_address(pending.envelope, self._builder(pending).user)
        for address_hash in self._hashes(address):
            ban = self._snapshot.banned.get(address_hash)
            if address is not None and ban is not None and ban.is_in_force(self._now):
                self._addresses.setdefault(address, ban.user_id)

    def _is_inconsistent(self, pending: PendingCommand, user: User | None) -> bool:
        """Return True if items changed between the reads.

        A rejected command, or one without effect, is committed without a condition, so an
        inconsistent read would store a wrong outcome permanently.
        """
        reads = reads_of(pending.envelope)
        if (user.version if user else 0) < self._recorded.get(pending.user_id, 0):
            return True
        named = pending.envelope.by_email
        if user is not None and named is not None and not self._builder(pending).owns(named):
            return True  # another user may have the address by now
        if user is None:
            owners = map(self._snapshot.addresses.get, touched_addresses(pending.envelope, None))
            return pending.user_id is not None and pending.user_id in owners
        return reads.two_factor and user.two_factor_enabled != (user.two_factor is not None)

    def _may_be_on_its_way(self, pending: PendingCommand) -> bool:
        receives = pending.message["receives"]
        if receives >= self._policy.max_receives:
            return False
        if receives < self._policy.registration_receives:
            return True
        first = pending.message.get("first_received_at", pending.message["sent_at"])
        waited = self._now.timestamp() - first
        return waited < self._policy.registration_grace.total_seconds()

    def _record(
        self, builder: UserChangeBuilder, pending: PendingCommand, decision: Decision
    ) -> None:
        if not builder.commands:
            self._round.builders.append(builder)
        builder.record(decision.user, changed=decision.changed)
        builder.commands.append(pending)
        builder.outcomes.append(_outcome(pending, decision, self._now, self._policy))


def _outcome(
    pending: PendingCommand, decision: Decision, now: datetime, policy: BatchPolicy
) -> Outcome:
    envelope = pending.envelope
    # A fingerprint is derived from personal data, and a scrub follows only a change of the user.
    erased_before = decision.user is not None and decision.user.erased and not decision.changed
    return Outcome(
        command_id=envelope.command_id,
        command_type=envelope.type,
        user_id=pending.user_id,
        by_email=envelope.user_id is None,
        fingerprint="" if erased_before else policy.hash_keys.fingerprint(envelope.content_hash),
        status=Status.REJECTED if decision.code else Status.ACCEPTED,
        code=decision.code,
        events=decision.events,
        version=decision.user.version if decision.user else 0,
        recorded_at=now,
        expires_at=now + policy.outcome_lifetime,
        source=envelope.source,
        correlation_id=envelope.correlation_id,
        traceparent=envelope.traceparent,
        tracestate=envelope.tracestate,
        actor=envelope.actor,
        producer=pending.producer,
        principal=pending.principal,
    )
