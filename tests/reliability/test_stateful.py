"""Random commands in random batches: the worker agrees with the model.

Hypothesis acts as a producer: it sends batches, sends old messages again, lets time pass, and runs
the relay. After each step the worker's outcomes and all of its stored state equal those of the
model (`model.py`), which has no versions, batches and tables. Hypothesis shrinks a failure and
prints it as a short program.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import cycle
from typing import Any, ClassVar

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from moto import mock_aws

from adapters.aws import client as aws
from adapters.dynamodb.provision import provision_table
from adapters.memory import MemoryEventPublisher, MemoryOutbox, MemoryStore, MemoryUserRepository
from application.batch import BatchHandler, Ports
from application.disposition import Ack, ReceivedMessage
from application.messages import render_events
from application.outbox import SHARDS
from application.pending_command import PendingCommand
from application.ports import CommandKey
from application.relay import Relay, RelayPolicy
from application.repository import HELD, Snapshot
from application.rounds import registrations_first
from domain import commands as c
from domain.commands import CommandEnvelope
from tests.builders import NOW, message, register
from tests.reliability.invariants import Stored, check
from tests.reliability.model import Model
from tests.reliability.process import PARSER, Process, policy
from tests.reliability.schedules import USERS, draw_command
from tests.reliability.wire import Wire
from tests.reliability.world import (
    AFTER_THE_GRACE,
    InProcessWorld,
    Sent,
    StandingClock,
    sent,
)

KINDS = [
    *[kind for kind in c.COMMANDS.values() if kind is not c.EraseUser] * 2,
    *[c.RecordLoginFailure, c.StartSession, c.RotateRefreshToken] * 2,
    c.EraseUser,  # rare, because it ends the story of a user
]
COMMANDS = st.randoms(use_true_random=False).map(lambda chance: draw_command(chance, KINDS))
BATCHES = st.lists(
    st.tuples(COMMANDS, st.sampled_from(USERS[:2]), st.booleans()), min_size=1, max_size=10
)


class WorkerAndModel(RuleBasedStateMachine):
    """Rules and invariants for any store of users."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.messages: list[Sent] = []
        self.answers: dict[str, object] = {}
        self.clock = StandingClock(NOW)

    def deliver(self, messages: Sequence[Sent]) -> None:
        """Process one batch; all of its messages must be acknowledged."""
        raise NotImplementedError

    def relay(self) -> None:
        """Run the relay for every shard."""
        raise NotImplementedError

    def stored(self) -> Stored:
        """Return everything that is stored."""
        raise NotImplementedError

    # --- what may happen -------------------------------------------------------------------

    @initialize(people=st.sets(st.sampled_from(USERS), min_size=1))
    def sign_up(self, people: set[str]) -> None:
        """Start with some users, so that later commands have an effect."""
        self.send([(register(name), name, False) for name in sorted(people)])

    @precondition(lambda self: self.model.people)
    @rule(user=st.sampled_from(USERS), times=st.integers(2, 6))
    def mistype_the_password(self, user: str, times: int) -> None:
        """Enough failures lock the user; the next lock lasts longer."""
        self.send([(c.RecordLoginFailure(), user, False)] * times)

    @rule(batch=BATCHES, hours=st.sampled_from((None, None, None, 2, 25)))
    def send(self, batch: list[tuple[Any, str, bool]], hours: int | None = None) -> None:
        """Send commands; their outcomes must be those of the model, one by one.

        The commands are so many hours old, or young.
        """
        time = None if hours is None else self.clock.time - timedelta(hours=hours)
        new: list[Sent] = []
        for command, user, by_address in batch:
            named = by_address and getattr(command, "email", None) and not command.creates_user
            if not named and hasattr(command, "email") and not command.creates_user:
                command = type(command)(  # noqa: PLW2901 - the same, without the address
                    **{f: getattr(command, f) for f in command.__slots__ if f != "email"}
                )
            name = str(len(self.messages) + len(new))
            new.append(sent(command, None if named else user, name, time=time))
        expected_order = in_order(new, self.stored())
        self.deliver(new)
        outcomes = self.stored().outcomes
        for each in expected_order:
            assert each.command is not None
            expected = self.model.decide(each.user_id, each.command, self.clock.time, time)
            outcome = outcomes[CommandKey(each.user_id, each.command_id)]
            code = None if outcome.code is None else str(outcome.code)
            assert code == expected[0], each.command
            if each.user_id is not None:  # a record under the command alone has no events
                names = tuple(event.type.split(".")[2] for event in outcome.events)
                assert names == expected[1], each.command
        self.messages += new

    @precondition(lambda self: self.messages)
    @rule(choice=st.lists(st.integers(0, 10**6), min_size=1, max_size=5))
    def send_again(self, choice: list[int]) -> None:
        """Sending again has no effect: nothing stored changes, and nothing is published."""
        before, published = self.stored(), self.published()
        self.deliver([self.messages[number % len(self.messages)] for number in choice])
        assert self.stored() == before
        assert self.published() == published

    @rule(minutes=st.sampled_from((1, 4, 6, 61, 130)))
    def wait(self, minutes: int) -> None:
        """Advance the clock, so that locks, bans and tokens expire."""
        self.clock.time += timedelta(minutes=minutes)

    @rule()
    def let_the_relay_look(self) -> None:
        """The relay scrubs erased users, without any other visible effect."""
        # An erasure takes two scrubs, and each may take several passes for a long history.
        for _ in range(5):
            self.clock.time += timedelta(seconds=31)
            self.relay()
        assert self.stored().entries == []
        self.model.held.clear()

    # --- what holds after each step --------------------------------------------------------

    @invariant()
    def state_is_the_models(self) -> None:
        """This includes every field of every user, session, address and second factor."""
        stored = self.stored()
        live = {u for u, user in stored.users.items() if not user.erased}
        stored.sessions = {k: v for k, v in stored.sessions.items() if k[0] in live}
        assert self.model.differences(stored) == []
        owned = {p.email.key: u for u, p in self.model.people.items() if p.email}
        assert stored.owners == owned | dict.fromkeys(self.model.held, HELD)

    def published(self) -> list[str]:
        """Return the ids of all published events, in order."""
        raise NotImplementedError


def in_order(messages: Sequence[Sent], stored: Stored) -> list[Sent]:
    """Return a batch in the order in which it is applied: the registration of a user first."""
    works = [
        PendingCommand.of(
            index,
            message(),
            CommandEnvelope(each.command_id, each.user_id, each.command, "", "/test", NOW),
        )
        for index, each in enumerate(messages)
        if each.command is not None
    ]
    return [messages[w.index] for w in registrations_first(works, Snapshot(users=stored.users))]


class OverMemory(WorkerAndModel):
    """The batch handler over the adapters in memory."""

    def __init__(self) -> None:
        super().__init__()
        self._store = MemoryStore()
        outbox = MemoryOutbox(self._store, cycle(range(SHARDS)).__next__)
        self._publisher = MemoryEventPublisher()
        ports = Ports(MemoryUserRepository(self._store), outbox, self._publisher, self.clock)
        limits = policy(lambda _: None, lambda _, high: high, self.clock)
        self._handler = BatchHandler(ports, PARSER, limits)
        age = RelayPolicy(1, timedelta(seconds=30), second_scrub_after=timedelta())
        self._relay = Relay(outbox, self._publisher, self.clock, age, render_events)

    def deliver(self, messages: Sequence[Sent]) -> None:
        """See `WorkerAndModel`."""
        sent_at = (self.clock.time - AFTER_THE_GRACE).timestamp()
        batch: list[ReceivedMessage] = [
            {**message(each.body), "sent_at": sent_at} for each in messages
        ]
        assert set(self._handler.handle(batch).items) == {Ack()}

    def relay(self) -> None:
        """See `WorkerAndModel`."""
        for _ in range(SHARDS):
            self._relay.run_once()

    def stored(self) -> Stored:
        """See `WorkerAndModel`."""
        store = self._store
        return Stored(
            dict(store.users), dict(store.sessions), dict(store.two_factors),
            dict(store.addresses), dict(store.outcomes), [str(key) for key in store.entries],
            banned=dict(store.banned),
        )  # fmt: skip

    def published(self) -> list[str]:
        """See `WorkerAndModel`."""
        return [event.event_id for event in self._publisher.published]


class OverDynamoDB(WorkerAndModel):
    """A worker process over DynamoDB, SNS and SQS in this process."""

    def __init__(self) -> None:
        super().__init__()
        self.world = InProcessWorld()
        self.world.clock = self.clock
        self._start()

    def _start(self) -> None:
        self._process = Process(self.world, Wire())

    @rule()
    def start_another_worker(self) -> None:
        """A new worker keeps no state and needs none."""
        self._start()

    def deliver(self, messages: Sequence[Sent]) -> None:
        """See `WorkerAndModel`."""
        self.world.send(*messages)
        while self._process.poll():
            pass
        assert self.world.waiting() == 0

    def relay(self) -> None:
        """See `WorkerAndModel`."""
        self._process.relay()

    def stored(self) -> Stored:
        """See `WorkerAndModel`."""
        return Stored.read(self.world.items())

    def published(self) -> list[str]:
        """See `WorkerAndModel`."""
        return [event["id"] for event in self.world.sns.published]

    def teardown(self) -> None:
        """Check the invariants, once the scrub jobs are done."""
        self.let_the_relay_look()
        check(self.world)


class OverMoto(OverDynamoDB):
    """The same, with boto3's own client and moto's DynamoDB behind it."""

    _client: ClassVar[Any] = None

    def __init__(self) -> None:
        super().__init__()
        self._mock = mock_aws()
        self._mock.start()
        # Creating it takes half a second.
        type(self)._client = type(self)._client or aws.client("dynamodb")
        provision_table(self._client, self.world.table)
        self.world.dynamodb = self._client
        self._start()

    def stored(self) -> Stored:
        """See `WorkerAndModel`."""
        return Stored.read(self._client.scan(TableName=self.world.table)["Items"])

    def teardown(self) -> None:
        """Delete the table by stopping moto."""
        self._mock.stop()


OverMemory.TestCase.settings = settings(max_examples=60, stateful_step_count=20)
OverDynamoDB.TestCase.settings = settings(max_examples=60, stateful_step_count=20)
OverMoto.TestCase.settings = settings(max_examples=3, stateful_step_count=8)
TestOverMemory = OverMemory.TestCase
TestOverDynamoDB = OverDynamoDB.TestCase
TestOverMoto = OverMoto.TestCase
