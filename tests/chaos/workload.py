"""What the producers send: seeded stories of a few users who compete for a few addresses.

A story is a short, plausible sequence of commands: a login with its rotations, a change of address,
a swap. Stories are drawn from a shuffled deck, so that a short run has all of them, and overlap in
time, so that workers conflict on the same users. A message may be sent again seconds later, with
the same id; some bodies are malformed, and some ids are used twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from application.messages import render_command
from application.messages.commands import command_data
from domain import commands as c
from tests.builders import (
    PASSWORD,
    email,
    example_command,
    register,
    rotation,
    start_session,
    token,
    uid,
)

USERS = 24
ADDRESSES = 36
"""Few more than users, so that most requests for an address conflict with its owner."""
LATEST_COPY = 8.0
"""Maximum delay, in seconds, of a second copy of a message."""
OLD = 0.03
"""Share of commands that are more than a day old, as after a redrive."""
BANNED_ERASURES = 6
"""Erasures of banned users, besides those that the other stories bring about."""
SECRET = "correct horse battery staple"


@dataclass(frozen=True, slots=True)
class Planned:
    """One message, and its one to three sending times, in seconds from the start."""

    at: tuple[float, ...]
    command_id: str
    user_id: str | None
    command: c.Command | None
    """`None` for a malformed body, which must end in the dead-letter queue."""
    body: str
    urgent: bool = False
    """Whether it goes to the priority queue."""
    rival: bool = False
    """Whether another command has the same id: one of the two must be dead-lettered."""
    time: datetime | None = None
    """The `time` of an old command; `None`: left out."""


Step = tuple[float, str | None, c.Command]
"""Seconds after the previous step, the user's name, the command."""
Steps = Iterator[Step]


class Workload:
    """Creates the messages from a seed."""

    def __init__(self, seed: int, now: datetime) -> None:
        """Take the seed, and the current time: tokens expire a day after it."""
        self._random = random.Random(f"workload {seed}")
        self._yesterday = (now - timedelta(hours=25)).replace(microsecond=0)
        self._expiry = (now + timedelta(days=1)).replace(microsecond=0)
        self._number = 0
        self._users = [f"user {seed} {n}" for n in range(USERS)]
        self._addresses = [f"address-{n}" for n in range(ADDRESSES)]
        self._seed = seed

    def plan(self, seconds: float, rate: float) -> list[Planned]:
        """Return all messages of a run, in the order of first sending; about `rate` a second."""
        planned: list[Planned] = []
        for user in self._users:
            planned += self._tell(self._arrival(user), self._random.uniform(0, 3))
        deck: list[Callable[[], Steps]] = []
        while (at := len(planned) / rate) < seconds:
            if not deck:
                planned += self._oddities(at)
                deck = self._stories()
                self._random.shuffle(deck)
            planned += self._tell(deck.pop()(), at)
        planned += self._untold(planned, seconds / 2)
        for number in range(BANNED_ERASURES):
            erasure = self._banned_erasure(unbanned=number % 2 == 1)
            planned += self._tell(erasure, seconds * (number + 1) / (BANNED_ERASURES + 2), old=0)
        in_time = (replace(p, at=tuple(min(at, seconds) for at in p.at)) for p in planned)
        return sorted(in_time, key=lambda each: each.at[0])

    def _untold(self, planned: list[Planned], at: float) -> Iterator[Planned]:
        """Yield a command of every kind that no story has, created from the examples of its fields.

        Each goes to a new user, so that it is accepted whatever the seed.
        """
        told = {type(each.command) for each in planned}
        for kind in c.COMMANDS.values():
            if kind not in told and not kind.creates_user:
                yield from self._tell(self._untold_story(kind), at, old=0)
        yield from self._tell(self._secured_life(), at, old=0)

    def _untold_story(self, kind: type[c.Command]) -> Steps:
        name = f"untold {self._seed} {self._next()}"
        yield 0, name, register(name.replace(" ", "-"))
        yield 1, name, example_command(kind)

    def _secured_life(self) -> Steps:
        """A user with a second factor; every session is ended in the end."""
        name = f"secured {self._seed} {self._next()}"
        codes = [tuple(token(f"{name} {batch} {n}") for n in range(8)) for batch in range(2)]
        yield 0, name, register(name.replace(" ", "-"))
        yield 1, name, c.EnableTwoFactor("c2VjcmV0", codes[0])
        yield 1, name, c.RegenerateRecoveryCodes(codes[1])
        factors: tuple[dict[str, Any], ...] = (
            {"totp_step": 1},
            {"totp_step": 1},  # used already
            {"recovery_code_hash": codes[1][0]},
        )
        sessions = [self._id() for _ in factors]
        for session, factor in zip(sessions, factors, strict=True):
            yield 1, name, start_session(session, token(session), self._expiry, **factor)
        yield 1, name, c.RevokeOtherSessions(sessions[-1])
        yield 1, name, c.RevokeAllSessions()

    # --- one message ---------------------------------------------------------------------------

    def _tell(self, steps: Steps, at: float, old: float = OLD) -> Iterator[Planned]:
        for pause, user, command in steps:
            at += pause
            time = self._yesterday if self._random.random() < old else None
            yield self._message(at, user, command, time)

    def _message(
        self, at: float, user: str | None, command: c.Command, time: datetime | None
    ) -> Planned:
        body_id, user_id = self._id(), uid(user) if user else None
        body = render_command(
            command.type,
            command_data(command),
            command_id=body_id,
            source="/chaos",
            user_id=user_id,
            time=time,
        )
        urgent = self._random.random() < 0.1
        return Planned(self._copies(at), body_id, user_id, command, body, urgent, time=time)

    def _copies(self, at: float) -> tuple[float, ...]:
        again = self._random.choices((0, 1, 2), (75, 18, 7))[0]
        return (at, *(at + self._random.uniform(0, LATEST_COPY) for _ in range(again)))

    def _id(self) -> str:
        return uid(f"{self._seed} {self._next()}")

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _oddities(self, at: float) -> Iterator[Planned]:
        """Yield malformed bodies, and two commands with one id."""
        good = c.RegisterUser(email(f"odd-{self._next()}"), "Ada", PASSWORD, last_name="Lovelace")
        data = command_data(good)
        for fields in ({"password_hash": SECRET}, {"nickname": "Ada"}, {"first_name": ""}):
            yield self._odd(at, data | fields)
        for body in ("{", f'{{"specversion":"1.0","n":{self._next()}}}', "[]"):
            yield Planned(self._copies(at), self._id(), None, None, body)
        one, other = self._odd(at, data), self._odd(at, data | {"first_name": "Eve"})
        body = other.body.replace(other.command_id, one.command_id)
        body = body.replace(str(other.user_id), str(one.user_id))
        for each in (one.body, body):
            yield Planned(self._copies(at), one.command_id, one.user_id, good, each, rival=True)

    def _odd(self, at: float, data: dict[str, Any]) -> Planned:
        command_id, user_id = self._id(), uid(f"odd {self._seed} {self._next()}")
        body = render_command(
            "RegisterUser", data, command_id=command_id, source="/chaos", user_id=user_id
        )
        return Planned(self._copies(at), command_id, user_id, None, body)

    # --- the stories ---------------------------------------------------------------------------

    def _stories(self) -> list[Callable[[], Steps]]:
        user = lambda: self._random.choice(self._users)  # noqa: E731
        often: list[Callable[[], Steps]] = [
            lambda: self._login(user()),
            lambda: self._move(user(), self._address()),
            self._swap,
            self._forgotten_password,
            lambda: self._arrival(user()),
        ]
        seldom: list[Callable[[], Steps]] = [
            lambda: self._logout(user()),
            lambda: self._profile(user()),
            lambda: self._verification(user()),
            lambda: self._passwords(user()),
            lambda: self._wrong_passwords(user()),
            lambda: self._second_factor(user()),
            lambda: self._roles(user()),
            lambda: self._ban(user()),
            lambda: self._rest(user()),
            self._erasure,
        ]
        return often * 3 + seldom

    def _address(self) -> str:
        return self._random.choice(self._addresses)

    def _pause(self) -> float:
        return self._random.choice((0.0, 0.0, 0.2, 1.0, 2.5))

    def _arrival(self, user: str) -> Steps:
        for _ in range(self._random.randint(1, 3)):
            address = email(self._address())
            name = self._random.choice(("Ada", "Grace", "Edsger"))
            if self._random.random() < 0.7:
                yield (
                    self._pause(),
                    user,
                    c.RegisterUser(address, name, PASSWORD, last_name="Lovelace"),
                )
            else:
                yield (
                    self._pause(),
                    user,
                    c.CreateUser(address, name, ("customer",), last_name="Lovelace"),
                )

    def _move(self, user: str, address: str) -> Steps:
        secret, token_id = token(f"move {self._next()}"), self._id()
        request = c.RequestEmailChange(email(address), token_id, secret, self._expiry)
        yield self._pause(), user, request
        yield self._pause(), user, c.ConfirmEmailChange(secret)
        if self._random.random() < 0.2:
            yield self._pause(), user, c.ConfirmEmailChange(secret)

    def _swap(self) -> Steps:
        one, other = self._random.sample(self._users, 2)
        spare, first, second = self._random.sample(self._addresses, 3)
        for user, address in ((one, first), (other, second), (one, spare), (other, first)):
            yield from self._move(user, address)
        yield from self._move(one, second)

    def _forgotten_password(self) -> Steps:
        secret, token_id = token(f"reset {self._next()}"), self._id()
        by_email = self._random.random() < 0.7
        user = None if by_email else self._random.choice(self._users)
        address = email(self._address()) if by_email else None
        yield 0, user, c.RequestPasswordReset(token_id, secret, self._expiry, address)
        yield self._pause(), user, c.ResetPassword(secret, PASSWORD, address)

    def _login(self, user: str) -> Steps:
        number, session = self._next(), self._id()
        tokens = [token(f"refresh {number} {n}") for n in range(6)]
        yield self._pause(), user, start_session(session, tokens[0], self._expiry)
        last = self._random.randint(0, 5)
        for old, new in pairwise(tokens[: last + 1]):
            yield self._pause() + 0.2, user, rotation(session, old, new, self._expiry)
        if last and self._random.random() < 0.2:
            # the second use of a token that was just replaced is another tab, or a lost answer
            second = tokens[0], token(f"second {number}")
            yield self._pause(), user, rotation(session, *second, self._expiry)
        if self._random.random() < 0.3:
            yield self._pause(), user, c.RevokeSession(session)

    def _logout(self, user: str) -> Steps:
        yield from self._login(user)
        yield self._pause(), user, c.RevokeAllSessions()

    def _profile(self, user: str) -> Steps:
        names = ("Ada", "Grace", "Barbara")
        yield 0, user, c.UpdateProfile(self._random.choice(names), f"L{self._next()}")
        yield self._pause(), user, c.UpdateProfile(first_name=self._random.choice(names))

    def _verification(self, user: str) -> Steps:
        secret = token(f"verify {self._next()}")
        yield 0, user, c.RequestEmailVerification(self._id(), secret, self._expiry)
        yield self._pause(), user, c.VerifyEmail(secret)

    def _passwords(self, user: str) -> Steps:
        for version in range(self._random.randint(0, 2), 4):
            yield self._pause(), user, c.ChangePassword(PASSWORD, version)

    def _wrong_passwords(self, user: str) -> Steps:
        for _ in range(self._random.randint(1, 7)):
            yield self._random.choice((0, 0.1)), user, c.RecordLoginFailure()
        yield self._pause(), user, c.UnlockUser()

    def _second_factor(self, user: str) -> Steps:
        number = self._next()
        codes = tuple(token(f"code {number} {n}") for n in range(8))
        yield 0, user, c.EnableTwoFactor("c2VjcmV0", codes)
        for code in (codes[0], codes[3], codes[0]):
            yield self._pause(), user, c.UseRecoveryCode(code)
        yield 2, user, c.DisableTwoFactor()

    def _roles(self, user: str) -> Steps:
        for role in ("admin", "customer"):
            yield self._pause(), user, c.AssignRole(role)
        yield self._pause(), user, c.RevokeRole(self._random.choice(("admin", "customer")))

    def _ban(self, user: str) -> Steps:
        until = self._random.choice((None, self._expiry))
        yield 0, user, c.BanUser("Spam", until)
        yield self._pause(), user, c.BanUser("Spam again", self._random.choice((None, until)))
        yield 2, user, c.UnbanUser()

    def _rest(self, user: str) -> Steps:
        yield 0, user, c.DeactivateUser("On leave")
        yield self._pause() + 1, user, c.ReactivateUser()

    def _erasure(self) -> Steps:
        """Erase a user, who is replaced by a new one."""
        place = self._random.randrange(USERS)
        gone, fresh = self._users[place], f"user {self._seed} {USERS + self._next()}"
        self._users[place] = fresh
        yield 0, gone, c.EraseUser()
        yield self._pause(), gone, c.UpdateProfile("Nobody")
        yield from self._arrival(fresh)

    def _banned_erasure(self, *, unbanned: bool) -> Steps:
        """Erase a banned user, whose address others request before and after the end of the ban."""
        gone = f"banned {self._seed} {self._next()}"
        address = gone.replace(" ", "-")
        yield 0, gone, register(address)
        yield 3, gone, c.BanUser("Spam", self._random.choice((None, self._expiry)))
        yield 3, gone, c.EraseUser()  # attacks delay commands: few overtake one sent 3 s before
        yield self._pause(), f"{gone} again", register(address)
        if unbanned:
            yield 1, gone, c.UnbanUser()
        yield from self._move(self._random.choice(self._users), address)
