"""Schedules drawn from a seed: commands, faults, and the order of turns.

A seed always gives the same run: `Schedule(seed).run()` replays it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any, Protocol
from unittest.mock import patch
from uuid import UUID

from domain import commands as c
from domain.fields import FieldDefinition, fields_of
from tests.builders import FAMILY, NOW, PASSWORD, email, example_value, token, uid
from tests.reliability.invariants import check
from tests.reliability.process import Process, run_to_rest
from tests.reliability.serial import Order, explain
from tests.reliability.turns import Turns
from tests.reliability.wire import Fault, ProcessCrash, Wire, applicable
from tests.reliability.world import InProcessWorld, Sent, World, malformed, sent

USERS = ("a", "b", "c")
ADDRESSES = ("x", "X", "y", "z")
COMMON = (c.RegisterUser, c.RequestEmailChange, c.ConfirmEmailChange, c.EraseUser)
"""Kinds that are drawn more often, because they concern more than one user."""
SERVICES = (
    {"publish_batch"},
    {"batch_get_item", "transact_write_items", "query", "delete_item", "batch_write_item"},
    {"receive_message", "delete_message_batch", "change_message_visibility_batch"},
)
"""The operations of each service."""
MOST_COMMANDS = 9
"""Small enough that all orders can be searched."""
MOST_POLLS = 4
"""Receives of one worker before the schedule leaves the rest to a last worker."""

OLD = ((0.1, timedelta(hours=2)), (0.15, timedelta(hours=25)))
"""Ages of old commands; each is drawn if a number from 0 to 1 is less than its limit."""

FIELDS: dict[str, Callable[[random.Random], Any]] = {
    "email": lambda chance: email(chance.choice(ADDRESSES)),
    "new_email": lambda chance: email(chance.choice(ADDRESSES)),
    "first_name": lambda chance: chance.choice(("Ada", "Grace")),
    "last_name": lambda chance: chance.choice((None, "Lovelace")),
    "password_hash": lambda _: PASSWORD,
    "credential_version": lambda chance: chance.randint(1, 2),
    "roles": lambda chance: tuple(chance.sample(("admin", "customer"), chance.randint(0, 2))),
    "email_verified": lambda chance: chance.choice((None, False, True)),
    "created_at": lambda chance: chance.choice((None, NOW - timedelta(days=3000))),
    "role": lambda chance: chance.choice(("admin", "customer")),
    "token_id": lambda _: uid("token"),
    "token_hash": lambda _: token("mailed"),
    "session_id": lambda chance: uid(chance.choice(("phone", "laptop"))),
    "refresh_family_hash": lambda chance: chance.choice((*[FAMILY] * 9, token("other family"))),
    "refresh_token_hash": lambda chance: token(chance.choice(("r0", "r1"))),
    "next_refresh_token_hash": lambda chance: token(chance.choice(("r1", "r2"))),
    "code_hash": lambda chance: token(f"code {chance.randint(0, 8)}"),
    "methods": lambda _: ("pwd",),
    "totp_step": lambda chance: chance.choice((None, 1, 2, 3)),
    "recovery_code_hash": lambda chance: chance.choice(
        (None, None, token(f"code {chance.randint(0, 8)}"))
    ),
    "recovery_code_hashes": lambda _: tuple(token(f"code {n}") for n in range(8)),
    "secret_ciphertext": lambda _: "c2VjcmV0",
    "expires_at": lambda chance: NOW + timedelta(hours=chance.choice((0, 2, 200, 200))),
    "reason": lambda _: "Spam",
    "until": lambda chance: chance.choice((None, NOW + timedelta(hours=1))),
}
"""Values of a command's fields; few values, so that commands concern each other."""


def _draw_value(field: FieldDefinition, chance: random.Random) -> Any:
    """Draw a value of a field; for a field that is not in `FIELDS`, return its example."""
    draw = FIELDS.get(field.name)
    return example_value(field) if draw is None else draw(chance)


KINDS = (*c.COMMANDS.values(), *COMMON * 3)


def draw_command(chance: random.Random, kinds: Sequence[type[c.Command]] = KINDS) -> c.Command:
    """Draw a command of one of the kinds."""
    kind: Any = chance.choice(kinds)
    values = {field.name: _draw_value(field, chance) for field in fields_of(kind)}
    if kind is c.RegisterUser:
        values["last_name"] = "Lovelace"
    elif kind is c.CreateUser:
        values["last_name"] = "Hopper"
    command: c.Command = kind(**values)
    return command


def draw_message(chance: random.Random, name: str, *, fifo: bool) -> Sent:
    """Draw a message: usually a command to a user, sometimes an old one or a malformed body."""
    command, user = draw_command(chance), chance.choice(USERS)
    group = user if fifo else None
    kind = chance.random()
    if kind < 0.05:
        return malformed(f"{{{name}", group)
    time = next((NOW - age for limit, age in OLD if kind < limit), None)
    by_address = isinstance(command, c.RequestPasswordReset | c.ResetPassword)
    if by_address and chance.random() < 0.5:
        return sent(command, None, name, group="by-address" if fifo else None, time=time)
    if by_address:
        command = replace(command, email=None)  # type: ignore[type-var]
    return sent(command, user, name, group=group, time=time)


class MakeWorld(Protocol):
    """Creates a world, with or without FIFO queues."""

    def __call__(self, *, fifo: bool) -> World:
        """Create a world."""
        ...


class Schedule:
    """One run of several workers, with faults."""

    def __init__(self, seed: int, make_world: MakeWorld = InProcessWorld) -> None:
        """Draw everything that does not depend on the course of the run."""
        self.seed = seed
        self._chance = random.Random(seed)
        chance = self._chance
        self._fifo = chance.random() < 0.3
        self._rate = chance.choice((0.0, 0.03, 0.1, 0.25))
        start = chance.randint(0, 40)
        self._outage = range(start, start + chance.choice((0, 10, 30)))
        """Numbers of the calls during which a service is unavailable."""
        self._away = chance.choice(SERVICES)
        self._workers = chance.choice((1, 2, 2, 3))
        self.world = make_world(fifo=self._fifo)
        self.messages = self._draw_messages(chance.randint(2, MOST_COMMANDS))
        self._turns = Turns(chance.choice)
        self.wire = Wire(self._fault, lambda _: self._turns.pause())

    def run(self) -> None:
        """Run the schedule, let a last worker finish, and check the result.

        The worker's own random choices (shards, ids of pointers, jitter) depend on the seed too.
        """
        numbers = (UUID(int=self._chance.getrandbits(128)) for _ in count())
        before = random.getstate()
        random.seed(self.seed)
        try:
            with patch("adapters.dynamodb.change.uuid4", numbers.__next__):
                self._run()
        finally:
            random.setstate(before)

    def _run(self) -> None:
        chance, world = self._chance, self.world
        settle_down = chance.randint(1, len(self.messages))
        for wave in (self.messages[:settle_down], self.messages[settle_down:]):
            world.send(*wave)
            self._between_reads(self._turns.pause)
            actors = {f"worker {n}": self._work for n in range(self._workers)}
            self._turns.run({**actors, "relay": self._relay, "time": self._time})
        self._between_reads(lambda: None)
        self._rate = 0.0
        run_to_rest(world, self.wire)
        order = Order.AS_SENT_BY_GROUP if self._fifo else Order.ANY
        explain(self.messages, check(world), order)

    def _between_reads(self, pause: Callable[[], object]) -> None:
        """Run other processes between two items of a batch read, in an in-process world."""
        if isinstance(self.world, InProcessWorld):
            self.world.dynamodb.between_reads = pause
            self.world.dynamodb.in_order = self._chance.shuffle

    def _draw_messages(self, count: int) -> Sequence[Sent]:
        messages: list[Sent] = []
        for number in range(count):
            if messages and self._chance.random() < 0.1:
                messages.append(self._chance.choice(messages))
            else:
                messages.append(draw_message(self._chance, str(number), fifo=self._fifo))
        return messages

    def _fault(self, number: int, operation: str) -> Fault | None:
        if self._rate and number in self._outage and operation in self._away:
            return Fault.REFUSED
        if self._chance.random() >= self._rate:
            return None
        return self._chance.choice(sorted(applicable(operation)))

    def _work(self) -> None:
        process = self._new_process()
        for _ in range(MOST_POLLS):
            try:
                process.poll(self._chance.choice((1, 3, 10)))
            except ProcessCrash:
                process = self._new_process()

    def _relay(self) -> None:
        with suppress(ProcessCrash):
            self._new_process().relay()

    def _time(self) -> None:
        """Sometimes let visibility timeouts expire while a worker still has the messages."""
        for _ in range(self._chance.choice((0, 2, 8))):
            self._turns.pause()
            self.world.clock.time += timedelta(seconds=self._chance.choice((1, 31, 61)))

    def _new_process(self) -> Process:
        return Process(
            self.world,
            self.wire,
            sleep=lambda _: self._turns.pause(),
            draw=self._chance.uniform,
        )
