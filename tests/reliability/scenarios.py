"""Work for the workers: every kind of command, and batches of related commands.

A scenario is a history, which is applied without faults, and the messages that are on the queue
when the faults begin.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from domain import commands as c
from tests.builders import (
    NOW,
    PASSWORD,
    email,
    example_command,
    register,
    request_change,
    rotation,
    start_session,
    token,
    uid,
)
from tests.reliability.world import Sent, malformed, sent

IN_A_MONTH = NOW + timedelta(days=30)
SESSION = uid("session")
CODES = tuple(token(f"code {n}") for n in range(8))

START = start_session(SESSION, token("r0"), IN_A_MONTH)
ENABLE = c.EnableTwoFactor("c2VjcmV0", CODES)
VERIFICATION = c.RequestEmailVerification(uid("v"), token("v"), IN_A_MONTH)
CHANGE = c.RequestEmailChange(email("ada.new"), uid("e"), token("e"), IN_A_MONTH)
RESET = c.RequestPasswordReset(uid("p"), token("p"), IN_A_MONTH)
RESET_BY_EMAIL = c.RequestPasswordReset(uid("p"), token("p"), IN_A_MONTH, email("ada"))


def rotate(number: int) -> c.RotateRefreshToken:
    """Create the exchange of the session's token of this number for the next."""
    following = token(f"r{number + 1}")
    return rotation(SESSION, token(f"r{number}"), following, IN_A_MONTH)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A history, and the messages on the queue after it."""

    name: str
    history: tuple[Sent, ...]
    messages: tuple[Sent, ...]
    fifo: bool = False

    def __str__(self) -> str:
        """Return the name of the test case."""
        return self.name


def _for_ada(*commands: c.Command) -> tuple[Sent, ...]:
    return tuple(sent(command, "ada", str(number)) for number, command in enumerate(commands))


# A command, and the history of Ada after which it is accepted. A command that is not listed here is
# created from the examples of its fields, and sent without a history.
ACCEPTED: tuple[tuple[c.Command, tuple[c.Command, ...]], ...] = (
    (c.UpdateProfile("Augusta"), ()),
    (VERIFICATION, ()),
    (c.VerifyEmail(token("v")), (VERIFICATION,)),
    (CHANGE, ()),
    (c.ConfirmEmailChange(token("e")), (CHANGE,)),
    (c.ChangePassword(PASSWORD, 1), ()),
    (RESET, ()),
    (c.ResetPassword(token("p"), PASSWORD), (RESET,)),
    (START, ()),
    (rotate(0), (START,)),
    (c.RevokeSession(SESSION), (START,)),
    (c.RevokeAllSessions(), (START,)),
    (c.RecordLoginFailure(), ()),
    (c.UnlockUser(), (c.RecordLoginFailure(),)),
    (ENABLE, ()),
    (c.DisableTwoFactor(), (ENABLE,)),
    (c.UseRecoveryCode(CODES[0]), (ENABLE,)),
    (c.AssignRole("admin"), ()),
    (c.RevokeRole("admin"), (c.AssignRole("admin"),)),
    (c.BanUser("Spam", IN_A_MONTH), (START,)),
    (c.UnbanUser(), (c.BanUser("Spam"),)),
    (c.DeactivateUser("On leave"), ()),
    (c.ReactivateUser(), (c.DeactivateUser(),)),
    (c.EraseUser(), (START, ENABLE, VERIFICATION, CHANGE, rotate(0))),
)


def every_kind() -> Iterable[Scenario]:
    """Yield every kind of command: accepted, and rejected or without effect."""
    create = c.CreateUser(email("ada"), "Ada", ("customer",), last_name="Lovelace")
    for creation in (register("ada"), create):
        kind = type(creation).__name__
        yield Scenario(f"{kind} accepted", (), (sent(creation, "ada"),))
        taken = (sent(register("ada"), "eve"),)
        yield Scenario(f"{kind} refused", taken, (sent(creation, "ada"),))
    told = {type(command) for command, _ in ACCEPTED}
    others = [kind for kind in c.COMMANDS.values() if not (kind.creates_user or kind in told)]
    for command, before in (*ACCEPTED, *((example_command(kind), ()) for kind in others)):
        kind = type(command).__name__
        history = _for_ada(register("ada"), *before)
        yield Scenario(f"{kind} accepted", history, (sent(command, "ada"),))
        yield Scenario(f"{kind} refused", (), (sent(command, "ada"),))
    yield from _by_address()
    yield _reuse()
    yield _stale()
    banned = _for_ada(register("ada"), c.BanUser("Spam"))
    yield Scenario("a banned user is erased", banned, (sent(c.EraseUser(), "ada"),))
    erased = _for_ada(register("ada"), c.BanUser("Spam"), c.EraseUser())
    yield Scenario("the ban of an erased user ends", erased, (sent(c.UnbanUser(), "ada"),))


def _by_address() -> Iterable[Scenario]:
    history = _for_ada(register("ada"))
    reset = c.ResetPassword(token("p"), PASSWORD, email("ada"))
    asked = (*history, sent(RESET_BY_EMAIL, None))
    yield Scenario("RequestPasswordReset by address", history, (sent(RESET_BY_EMAIL, None),))
    yield Scenario("ResetPassword by address", asked, (sent(reset, None),))
    yield Scenario("RequestPasswordReset of nobody", (), (sent(RESET_BY_EMAIL, None),))
    yield Scenario("ResetPassword of nobody", (), (sent(reset, None),))


def _reuse() -> Scenario:
    history = _for_ada(register("ada"), START, rotate(0))
    return Scenario("a used token comes back", history, (sent(rotate(0), "ada", "thief"),))


def _stale() -> Scenario:
    history = _for_ada(register("ada"), c.BanUser("Spam"), c.UnbanUser(), c.BanUser("Fraud"))
    old = sent(c.UnbanUser(), "ada", "dead-lettered before", time=NOW - timedelta(days=20))
    return Scenario("an old UnbanUser meets a newer ban", history, (old,))


def mixed_batches() -> Iterable[Scenario]:
    """Yield batches of related commands."""
    yield ten_users()
    yield one_life()
    yield disputed_addresses()
    yield a_swap()
    yield junk_and_doubles()
    yield by_address_and_by_id()
    yield erasures()
    yield two_groups()


def ten_users() -> Scenario:
    """Return ten unrelated users: five new, five known."""
    known = [f"u{n}" for n in range(5)]
    history = tuple(sent(register(name), name) for name in known)
    renamed = [sent(c.UpdateProfile("Grace"), name) for name in known]
    new = [sent(register(f"n{n}"), f"n{n}") for n in range(5)]
    mixed = [message for pair in zip(renamed, new, strict=True) for message in pair]
    return Scenario("ten users", history, tuple(mixed))


def one_life() -> Scenario:
    """Return ten commands of one user, from registration to erasure, in one batch."""
    life = _for_ada(
        register("ada"), START, rotate(0), ENABLE, c.UseRecoveryCode(CODES[3]), CHANGE,
        c.ConfirmEmailChange(token("e")), c.RevokeSession(SESSION), rotate(1), c.EraseUser(),
    )  # fmt: skip
    return Scenario("one life", (), life)


def disputed_addresses() -> Scenario:
    """Return a batch in which three users want one address, which is freed and taken again."""
    return Scenario(
        "disputed addresses",
        (sent(register("x"), "old"),),
        (
            sent(register("x"), "a"),
            sent(c.EraseUser(), "old"),
            sent(register("X"), "b"),
            sent(register("x"), "c"),
            sent(register("y"), "c"),
            sent(request_change("y"), "b"),
            sent(c.EraseUser(), "c"),
            sent(request_change("y"), "b", "again"),
            sent(c.ConfirmEmailChange(token("y")), "b"),
            sent(register("x"), "d"),
        ),
    )


def a_swap() -> Scenario:
    """Return a batch in which two users swap addresses by a third one."""
    moves = [("a", "spare"), ("b", "a"), ("a", "b")]
    history = [sent(register(name), name) for name in ("a", "b")]
    batch = [
        message
        for user, address in moves
        for message in (
            sent(request_change(address), user),
            sent(c.ConfirmEmailChange(token(address)), user, address),
        )
    ]
    return Scenario("a swap", tuple(history), tuple(batch))


def junk_and_doubles() -> Scenario:
    """Return malformed bodies, a command twice, its id for another command, and valid commands."""
    ada = sent(register("ada"), "ada")
    body = ada.body.replace("RegisterUser", "EraseUser").partition(',"data"')[0] + ',"data":{}}'
    other = Sent(ada.command_id, ada.user_id, c.EraseUser(), body, dead=True)
    bob = sent(register("bob"), "bob")
    junk = (malformed("{"), malformed('{"specversion":"1.0"}'))
    tail = (other, sent(c.UnlockUser(), "bob"), ada)
    return Scenario("junk and doubles", (), (junk[0], ada, bob, ada, junk[1], *tail))


def by_address_and_by_id() -> Scenario:
    """Return resets by address, for users whose addresses change at the same time."""
    return Scenario(
        "by address and by id",
        (*_for_ada(register("ada"), CHANGE), sent(register("bob"), "bob")),
        (
            sent(RESET_BY_EMAIL, None),
            sent(c.ConfirmEmailChange(token("e")), "ada"),
            sent(RESET_BY_EMAIL, None, "of nobody by now"),
            sent(c.ResetPassword(token("p"), PASSWORD, email("ada.new")), None),
            sent(register("ada"), "eve"),
            sent(RESET_BY_EMAIL, None, "of another by now"),
            sent(c.ResetPassword(token("p"), PASSWORD), "eve"),
            sent(c.UpdateProfile("Bob"), "bob"),
        ),
    )


def erasures() -> Scenario:
    """Return erasures of two users with a history, and later commands to them."""
    past = (START, ENABLE, VERIFICATION, CHANGE, rotate(0), c.UpdateProfile("Augusta"))
    history = (*_for_ada(register("ada"), *past), sent(register("bob"), "bob"))
    asked = sent(c.RequestPasswordReset(uid("b"), token("b"), IN_A_MONTH, email("bob")), None)
    return Scenario(
        "erasures",
        (*history, asked),
        (
            sent(c.EraseUser(), "ada"),
            sent(c.UpdateProfile("Nobody"), "ada"),
            sent(c.EraseUser(), "bob"),
            sent(register("ada"), "eve"),
            sent(c.EraseUser(), "bob", "again"),
        ),
    )


def two_groups() -> Scenario:
    """Return two groups of a FIFO queue, whose users want the same address."""
    commands = (
        ("a", register("x")),
        ("b", register("y")),
        ("a", request_change("z")),
        ("b", request_change("z")),
        ("a", c.ConfirmEmailChange(token("z"))),
        ("b", c.ConfirmEmailChange(token("z"))),
        ("a", c.UpdateProfile("Grace")),
        ("b", c.UpdateProfile("Grace")),
    )
    messages = tuple(sent(command, user, group=user) for user, command in commands)
    return Scenario("two FIFO groups", (), messages, fifo=True)
