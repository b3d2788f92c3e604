"""Check a history for errors, in the manner of Jepsen.

The checker does not trust the workers: what was sent, what a subscriber received and what the table
holds must be consistent, whatever was attacked. Each check yields its findings.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid5

from application.messages import render_events
from application.ports import CommandKey, EventMessage
from application.repository import HELD, Outcome
from domain.events import CommandDeadLettered
from tests.chaos import state
from tests.chaos.history import COMMITTED, History, Sent
from tests.reliability import invariants
from tests.reliability.invariants import Stored

SURPRISES = frozenset(
    {
        "batch_failed",
        "commit_failed",
        "outbox_pointer_failed",
        "parse_failed",
        "publish_failed",
        "relay_failed",
        "settler_stumbled",
    }
)
"""Log lines of unexpected errors. They are bugs of the worker, whatever was attacked."""
Kind = Literal["lost", "doubled", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that should not be in the history."""

    kind: Kind
    what: str

    def __str__(self) -> str:
        """Return it in one line."""
        return f"{self.kind}: {self.what}"


class Evidence:
    """A history, prepared for the checks."""

    def __init__(self, history: History) -> None:
        """Parse the table by the worker's own mappers."""
        self.history = history
        self.stored = Stored.read(history.items)
        self.commands: dict[str, Sent] = {
            sent.planned.command_id: sent
            for sent in history.sent
            if sent.planned.command is not None
        }
        self.outcomes: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in self.stored.decided:
            self.outcomes[outcome.command_id].append(outcome)
        self.expected: dict[str, EventMessage] = {
            event.event_id: event
            for outcome in self.stored.decided
            for event in render_events(outcome)
        }
        self.heard: dict[str, dict[str, Any]] = {}
        for event in history.published:
            self.heard.setdefault(event["id"], event)
        self.complete: dict[str, dict[str, Any]] = {
            event["id"]: event for event in history.published_complete
        }


Check = Callable[[Evidence], Iterator[Finding]]


def check(history: History) -> list[Finding]:
    """Run every check; return all findings."""
    evidence = Evidence(history)
    return [finding for each in CHECKS for finding in each(evidence)]


# --- commands --------------------------------------------------------------------------------


def every_command_has_one_outcome(evidence: Evidence) -> Iterator[Finding]:
    """Each command was decided under its own key, once."""
    for command_id, sent in evidence.commands.items():
        outcomes = evidence.outcomes.get(command_id, [])
        if not outcomes:
            yield Finding("lost", f"{_named(sent)} has no outcome")
        elif len(outcomes) > 1:
            whose = [outcome.user_id for outcome in outcomes]
            yield Finding("doubled", f"{_named(sent)} has outcomes of {whose}")
        elif sent.planned.user_id not in (None, outcomes[0].user_id):
            yield Finding("wrong", f"{_named(sent)} was decided for {outcomes[0].user_id}")


def every_outcome_is_of_a_command(evidence: Evidence) -> Iterator[Finding]:
    """Every decided command was sent."""
    for command_id in evidence.outcomes.keys() - evidence.commands.keys():
        yield Finding("wrong", f"an outcome of {command_id}, which was never sent")


def both_records_agree(evidence: Evidence) -> Iterator[Finding]:
    """A command by e-mail left two records, or one if no user has the address."""
    for outcome in evidence.stored.decided:
        if outcome.by_email:
            other = evidence.stored.outcomes.get(CommandKey(None, outcome.command_id))
            if other is None or _essence(other) != _essence(outcome):
                yield Finding("doubled", f"{outcome.command_id} by e-mail: {other} / {outcome}")
    for key, outcome in evidence.stored.outcomes.items():
        own = CommandKey(outcome.user_id, outcome.command_id)
        if key.user_id is None and own not in evidence.stored.outcomes:
            yield Finding("lost", f"{key.command_id} by e-mail: the user's own record")


def _essence(outcome: Outcome) -> tuple[Any, ...]:
    return outcome.user_id, outcome.status, outcome.code, outcome.version, outcome.recorded_at


def nothing_was_committed_twice(evidence: Evidence) -> Iterator[Finding]:
    """By the workers' own logs, at most one of them committed a command."""
    lines = evidence.history.commands()
    told = Counter(r.row["command_id"] for r in lines if r.row["outcome"] in COMMITTED)
    for command_id, times in told.items():
        if times > 1:
            yield Finding("doubled", f"{command_id} was committed {times} times by the logs")


def no_worker_was_surprised(evidence: Evidence) -> Iterator[Finding]:
    """No worker logged an unexpected error, whatever AWS and its network did."""
    for line in evidence.history.log:
        if line.row.get("event") in SURPRISES:
            yield Finding("wrong", f"worker {line.worker} logged {line.row}")


# --- events ----------------------------------------------------------------------------------


def versions_have_no_gaps(evidence: Evidence) -> Iterator[Finding]:
    """A user's numbered events are 1, 2, 3 ... up to the user's version."""
    numbers = defaultdict[str | None, list[int]](list)
    for outcome in evidence.stored.decided:
        numbers[outcome.user_id] += [e.sequence for e in outcome.events if e.sequence is not None]
    for user_id, found in numbers.items():
        user = evidence.stored.users.get(user_id or "")
        version = user.version if user else 0
        for number, times in Counter(found).items():
            if times > 1:
                yield Finding("doubled", f"{user_id} has {times} events {number}")
        missing = sorted(set(range(1, version + 1)) - set(found))
        if missing or max(found, default=0) > version:
            yield Finding("wrong", f"{user_id} of version {version}: no events {missing}")
    for user_id in evidence.stored.users.keys() - numbers.keys():
        yield Finding("wrong", f"{user_id} is stored, and no command is known")


def every_event_is_published(evidence: Evidence) -> Iterator[Finding]:
    """Every event was published at least once."""
    for event_id in evidence.expected.keys() - evidence.heard.keys():
        event = evidence.expected[event_id]
        yield Finding("lost", f"the event {event_id} ({event.type}) of {event.user_id}")


def addresses_are_on_the_personal_topic_only(evidence: Evidence) -> Iterator[Finding]:
    """The ordinary topic has none; the personal one has each that is stored with an event."""
    for event in evidence.history.published:
        if event != invariants._impersonal(event):
            yield Finding("wrong", f"the event {event['id']} shows an address to everybody")
    for event_id, expected in evidence.expected.items():
        if expected.complete_body is not None and event_id not in evidence.complete:
            yield Finding("lost", f"the event {event_id} ({expected.type}) on the personal topic")


def nothing_else_is_published(evidence: Evidence) -> Iterator[Finding]:
    """Every event on the topics belongs to an outcome, or to a dead letter."""
    letters = [
        told["original_message_id"]["StringValue"]
        for letter in evidence.history.dead_letters
        if "original_message_id" in (told := letter.get("MessageAttributes", {}))
    ]
    heard = evidence.heard | evidence.complete
    for event_id in heard.keys() - evidence.expected.keys():
        event = heard[event_id]
        command = event.get("causationid")
        if event["type"] == CommandDeadLettered.type:
            ids = {str(uuid5(UUID(command), f"dead/{message_id}")) for message_id in letters}
            if event_id in ids:
                continue
        yield Finding("doubled", f"the event {event_id} ({event['type']}) of {command}")


def one_id_is_one_event(evidence: Evidence) -> Iterator[Finding]:
    """An event published again is the same, apart from the data that an erasure removed."""
    for event in (*evidence.history.published, *evidence.history.published_complete):
        first = evidence.heard.get(event["id"], event)
        if invariants.comparable(event) != invariants.comparable(first):
            yield Finding("wrong", f"{event['id']} reads two ways")
        stored = evidence.expected.get(event["id"])
        if stored is not None and state.unlike(event, stored):
            yield Finding("wrong", f"{event['id']} is published and stored in two ways")


# --- what is left ----------------------------------------------------------------------------


def nothing_is_left_over(evidence: Evidence) -> Iterator[Finding]:
    """No message is left, and no pointer but second scrubs, which are not due yet."""
    for queue, count in evidence.history.waiting.items():
        if count:
            yield Finding("lost", f"{count} messages are left in the {queue} queue")
    for entry in evidence.stored.entries:
        if entry in evidence.stored.scheduled:
            continue
        yield Finding("lost", f"a pointer is left: {entry}")


def dead_letters_are_what_could_not_be_understood(evidence: Evidence) -> Iterator[Finding]:
    """Each malformed message is there at least once with its reason, and no command is."""
    letters = defaultdict[str, set[str]](set)
    for letter in evidence.history.dead_letters:
        told = {k: v["StringValue"] for k, v in letter.get("MessageAttributes", {}).items()}
        if not {"error_code", "original_message_id"} <= told.keys():
            yield Finding("wrong", f"a dead letter without a reason: {letter['MessageId']}")
        else:
            letters[told["original_message_id"]].add(told["error_code"])
    known: set[str] = set()
    for sent in evidence.history.sent:
        if sent.planned.command is None or sent.planned.rival:
            known |= set(sent.message_ids)
        if sent.planned.command is None:
            for message_id in set(sent.message_ids) - letters.keys():
                yield Finding("lost", f"the malformed message {message_id}: no dead letter")
    for message_id in letters.keys() - known:
        yield Finding("lost", f"dead: the command of {message_id}: {letters[message_id]}")
    yield from _rivals(evidence, letters)


def _rivals(evidence: Evidence, letters: dict[str, set[str]]) -> Iterator[Finding]:
    """Of two commands with one id, one was decided, and every copy of the other is dead."""
    pairs = defaultdict[str, list[Sent]](list)
    for sent in evidence.history.sent:
        if sent.planned.rival:
            pairs[sent.planned.command_id].append(sent)
    for command_id, pair in pairs.items():
        dead = [[letters.get(message_id) for message_id in sent.message_ids] for sent in pair]
        losers = [reasons for reasons in dead if any(reasons)]
        reused = {"CommandIdReused"}
        if len(losers) != 1 or any(reasons != reused for reasons in losers[0]):
            yield Finding("wrong", f"two commands under {command_id}: dead letters {dead}")


# --- the users -------------------------------------------------------------------------------


def one_user_an_address(evidence: Evidence) -> Iterator[Finding]:
    """An address has one user, and a user one address; an erased user has none.

    No user has an address that is held for an erased one.
    """
    stored = evidence.stored
    holders = defaultdict[str, list[str]](list)
    for user_id, user in stored.users.items():
        if user.email is not None:
            holders[user.email.key].append(user_id)
        if (user.email is None) != user.erased:
            yield Finding("wrong", f"{user_id}: erased is {user.erased}, and has an address or not")
    for address in holders.keys() | stored.owners.keys():
        owner, users = stored.owners.get(address), holders.get(address, [])
        if owner == HELD:
            if users:
                erased = stored.held[address]
                yield Finding("doubled", f"{address} is held for {erased}, and {users} have it")
        elif users != [owner]:
            kind: Kind = "doubled" if len(users) > 1 else "wrong"
            yield Finding(kind, f"{address} is {owner}'s, and {users} have it")


def parts_are_whole(evidence: Evidence) -> Iterator[Finding]:
    """Sessions and second factors have their users, and erased users have no personal data."""
    for invariant in (
        invariants.parts_belong_to_users,
        invariants.erased_users_leave_nothing_personal,
    ):
        try:
            invariant(evidence.stored)
        except AssertionError as error:
            doc = (invariant.__doc__ or "").partition("\n")[0]
            yield Finding("wrong", f"not so: {doc} {error}")


def subscribers_know_the_state(evidence: Evidence) -> Iterator[Finding]:
    """The published events of a user, in the order of `sequence`, lead to the stored state."""
    events = defaultdict[str, list[dict[str, Any]]](list)
    for event in (evidence.heard | evidence.complete).values():
        if "sequence" in event:
            events[event["subject"]].append(event)
    for user_id, user in evidence.stored.users.items():
        in_order = sorted(events[user_id], key=lambda event: str(event["sequence"]))
        for difference in state.replayed(user, evidence.stored, in_order):
            yield Finding("wrong", f"{user_id}, by its events: {difference}")


def bans_outlive_erasures(evidence: Evidence) -> Iterator[Finding]:
    """The ban of an erased user applies to the last address, which is held at first."""
    erased = state.erased_while_banned(evidence.stored, evidence.commands)
    ended = datetime.fromtimestamp(evidence.history.quiet_at, UTC)
    for difference in state.forgotten_bans(evidence.stored, erased, ended):
        yield Finding("lost", difference)
    for difference in state.unfounded_bans(evidence.stored, erased):
        yield Finding("wrong", difference)
    for difference in state.claimed_while_banned(evidence.stored, evidence.commands, erased):
        yield Finding("doubled", difference)


def decisions_follow_the_rules(evidence: Evidence) -> Iterator[Finding]:
    """A simple model, given each user's commands in the order of versions, decides the same."""
    for user_id in {outcome.user_id for outcome in evidence.stored.decided}:
        for difference in state.decided_again(user_id, evidence.stored, evidence.commands):
            yield Finding("wrong", f"{user_id}, by the rules: {difference}")


def taken_addresses_were_somebodys(evidence: Evidence) -> Iterator[Finding]:
    """If an address was refused as taken, another user had it at some time."""
    for difference in state.taken_by_nobody(evidence.stored, evidence.commands):
        yield Finding("wrong", difference)


def groups_keep_their_order(evidence: Evidence) -> Iterator[Finding]:
    """On FIFO queues no command of a group overtook another, whatever failed or was killed."""
    if evidence.history.fifo:
        for difference in state.overtaken(evidence.stored, evidence.commands):
            yield Finding("wrong", difference)


CHECKS: tuple[Check, ...] = (
    every_command_has_one_outcome,
    every_outcome_is_of_a_command,
    both_records_agree,
    nothing_was_committed_twice,
    no_worker_was_surprised,
    versions_have_no_gaps,
    every_event_is_published,
    addresses_are_on_the_personal_topic_only,
    nothing_else_is_published,
    one_id_is_one_event,
    nothing_is_left_over,
    dead_letters_are_what_could_not_be_understood,
    one_user_an_address,
    parts_are_whole,
    subscribers_know_the_state,
    decisions_follow_the_rules,
    taken_addresses_were_somebodys,
    bans_outlive_erasures,
    groups_keep_their_order,
)


def _named(sent: Sent) -> str:
    planned = sent.planned
    return f"{type(planned.command).__name__} {planned.command_id} of {planned.user_id}"
