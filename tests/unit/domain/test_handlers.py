"""Every command through `handle`: what is accepted, refused, or so already."""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from domain import commands as c
from domain import events as e
from domain.errors import RejectionCode as Code
from domain.events import EVENTS, RecordedEvent
from domain.user import Ban, User
from tests.builders import example_command
from tests.unit.domain import access_cases, identity_cases
from tests.unit.domain.given import (
    ADA,
    COMMAND_ID,
    NOW,
    OLDEST,
    OTHER_ID,
    USER_ID,
    Case,
    ada,
    decide,
    erased,
    password,
)

CASES = identity_cases.CASES + access_cases.CASES
REGISTER = c.RegisterUser(ADA, "Ada", password("first"), last_name="Lovelace")
CREATE = c.CreateUser(ADA, "Ada", ("admin", "customer", "admin"), last_name="Lovelace")
ERASE = c.EraseUser()


def _refused(command: c.Command, code: Code) -> RecordedEvent:
    return RecordedEvent.of(e.CommandRejected(COMMAND_ID, command.type, code.value), None)


def _no_effect(command: c.Command) -> RecordedEvent:
    return RecordedEvent.of(e.CommandHadNoEffect(COMMAND_ID, command.type), None)


def _named(case: Case) -> str:
    return f"{type(case.command).__name__}: {case.promise}"


def _answer(case: Case) -> tuple[RecordedEvent, ...]:
    version = case.user.version if case.user else 0
    facts = tuple(
        RecordedEvent.of(event, number) for number, event in enumerate(case.events, version + 1)
    )
    if case.code is not None:
        return (*facts, _refused(case.command, case.code))
    return facts or (_no_effect(case.command),)


def _afterwards(case: Case) -> User | None:
    if case.user is None or not case.events:
        return case.user
    version = case.user.version + len(case.events)
    return replace(case.user, version=version, updated_at=NOW, **case.after)


@pytest.mark.parametrize("case", CASES, ids=_named)
def test_a_command_has_the_answer_and_the_effect_of_its_case_and_no_other(case: Case) -> None:
    """Code, events with their numbers, and the whole state afterwards are as the table says."""
    decision = decide(
        case.command, copy.deepcopy(case.user), addresses=case.addresses, **case.around
    )

    assert decision.code == case.code
    assert decision.events == _answer(case)
    assert decision.changed == bool(case.events)
    assert decision.user == _afterwards(case)


@pytest.mark.parametrize("case", CASES, ids=_named)
def test_a_decision_depends_on_its_arguments_alone(case: Case) -> None:
    """The same command on the same facts is decided the same way, and the facts stay as given."""
    addresses = dict(case.addresses)
    first, second = (
        decide(case.command, copy.deepcopy(case.user), addresses=addresses, **case.around)
        for _ in range(2)
    )

    assert first == second
    assert addresses == case.addresses


def test_a_registered_user_has_a_password_and_no_role() -> None:
    """RegisterUser makes version 1 with credential version 1."""
    decision = decide(REGISTER, None)

    assert decision.user == User(
        USER_ID,
        1,
        NOW,
        NOW,
        ADA,
        "Ada",
        "Lovelace",
        password_hash=password("first").value,
        credential_version=1,
    )
    assert decision.events == (RecordedEvent.of(e.UserRegistered(ADA.value), 1),)
    assert decision.code is None
    assert decision.changed


def test_a_created_user_has_roles_and_no_password() -> None:
    """CreateUser keeps the roles in order, each once."""
    decision = decide(CREATE, None)

    roles = ("admin", "customer")
    assert decision.user == User(USER_ID, 1, NOW, NOW, ADA, "Ada", "Lovelace", roles=roles)
    created = e.UserCreated(ADA.value, roles, email_verified=False)
    assert decision.events == (RecordedEvent.of(created, 1),)
    assert decision.code is None
    assert decision.changed


def test_an_imported_user_keeps_the_verification_and_the_age_of_the_account() -> None:
    """The event has its own time, and states that no verification mail is needed."""
    earlier = NOW - timedelta(days=3000)
    command = replace(CREATE, email_verified=True, created_at=earlier)
    decision = decide(command, None)

    assert decision.user is not None
    assert (decision.user.created_at, decision.user.updated_at) == (earlier, NOW)
    assert decision.user.email_verified
    created = e.UserCreated(ADA.value, ("admin", "customer"), email_verified=True)
    assert decision.events == (RecordedEvent.of(created, 1),)


@pytest.mark.parametrize("verified", [None, False])
def test_an_address_is_verified_only_if_the_command_states_it(verified: bool | None) -> None:
    """A field that is left out is the same as false."""
    decision = decide(replace(CREATE, email_verified=verified), None)
    assert decision.user is not None
    assert not decision.user.email_verified


@pytest.mark.parametrize("command", [REGISTER, CREATE], ids=["RegisterUser", "CreateUser"])
@pytest.mark.parametrize(
    ("user", "addresses", "expected_version", "code"),
    [
        pytest.param(None, {ADA.key: OTHER_ID}, None, Code.EMAIL_TAKEN, id="address owned"),
        pytest.param(None, {ADA.key: OTHER_ID}, 0, Code.EMAIL_TAKEN, id="version right"),
        pytest.param(None, {}, 1, Code.VERSION_CONFLICT, id="version of somebody who is not"),
        pytest.param(ada(), {}, None, Code.USER_ALREADY_EXISTS, id="id used"),
        pytest.param(
            ada(), {ADA.key: OTHER_ID}, None, Code.USER_ALREADY_EXISTS, id="before the address"
        ),
        pytest.param(ada(), {}, 3, Code.USER_ALREADY_EXISTS, id="before the version"),
        pytest.param(erased(), {}, None, Code.USER_ERASED, id="a tombstone stays one"),
    ],
)
def test_a_creation_is_refused(
    command: c.Command,
    user: User | None,
    addresses: dict[str, str],
    expected_version: int | None,
    code: Code,
) -> None:
    """The id is looked at before the address, and nothing is created or changed."""
    before = copy.deepcopy(user)

    decision = decide(
        command, copy.deepcopy(user), addresses=addresses, expected_version=expected_version
    )

    assert decision.code is code
    assert decision.events == (_refused(command, code),)
    assert not decision.changed
    assert decision.user == before


@pytest.mark.parametrize(
    ("user", "around", "code"),
    [
        pytest.param(None, {}, Code.USER_NOT_FOUND, id="nobody"),
        pytest.param(None, {"expected_version": 1}, Code.USER_NOT_FOUND, id="before the version"),
        pytest.param(erased(), {}, Code.USER_ERASED, id="erased"),
        pytest.param(erased(), {"expected_version": 1}, Code.USER_ERASED, id="before version"),
        pytest.param(ada(), {"expected_version": 6}, Code.VERSION_CONFLICT, id="older version"),
        pytest.param(ada(), {"expected_version": 8}, Code.VERSION_CONFLICT, id="newer version"),
        pytest.param(ada(), {"expected_version": 0}, Code.VERSION_CONFLICT, id="version 0"),
        pytest.param(ada(), {"expires_at": NOW}, Code.COMMAND_EXPIRED, id="at its expiry"),
        pytest.param(
            ada(),
            {"sent_at": OLDEST - timedelta(milliseconds=1)},
            Code.COMMAND_EXPIRED,
            id="older than what is remembered",
        ),
        pytest.param(None, {"expires_at": NOW}, Code.COMMAND_EXPIRED, id="before the user"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(case.command, id=type(case.command).__name__)
        for case in {type(case.command): case for case in CASES}.values()
    ],
)
def test_any_command_is_refused_by_the_common_rules_first(
    command: c.Command, user: User | None, around: dict[str, Any], code: Code
) -> None:
    """The common rules come in order, before the command's own, and nothing is changed."""
    before = copy.deepcopy(user)

    decision = decide(command, copy.deepcopy(user), **around)

    assert decision.code is code
    assert decision.events == (_refused(command, code),)
    assert not decision.changed
    assert decision.user == before


SESSION_COMMANDS = {
    c.StartSession,
    c.RotateRefreshToken,
    c.RecordLoginFailure,
    c.UseRecoveryCode,
}
ACCESS_COMMANDS = {
    c.UnbanUser,
    c.UnlockUser,
    c.ReactivateUser,
    c.EnableTwoFactor,
    c.DisableTwoFactor,
    c.RegenerateRecoveryCodes,
    c.AssignRole,
    c.RevokeRole,
}


@pytest.mark.parametrize("kind", c.COMMANDS.values(), ids=lambda kind: kind.__name__)
def test_a_command_expires_at_the_maximum_age_of_its_type(kind: type[c.Command]) -> None:
    """One hour for logins, a day for what restores access; the others have the general limit.

    What ends access (a ban, a revoked session) has no limit of its own.
    """
    limit = NOW - OLDEST
    if kind in SESSION_COMMANDS:
        limit = timedelta(hours=1)
    elif kind in ACCESS_COMMANDS:
        limit = timedelta(hours=24)
    command, second = example_command(kind), timedelta(seconds=1)

    for age, expired in ((limit - second, False), (limit, False), (limit + second, True)):
        decision = decide(command, None if kind.creates_user else ada(), sent_at=NOW - age)
        assert (decision.code is Code.COMMAND_EXPIRED) is expired, age


def test_an_old_unban_does_not_lift_a_newer_ban() -> None:
    """As after a redrive of a command that was dead-lettered before the ban."""
    decision = decide(c.UnbanUser(), ada(ban=Ban("Fraud", None)), sent_at=NOW - timedelta(days=20))

    assert decision.code is Code.COMMAND_EXPIRED
    assert decision.user is not None
    assert decision.user.ban == Ban("Fraud", None)


@pytest.mark.parametrize("age", [timedelta(hours=24), timedelta(hours=24, milliseconds=1)])
@pytest.mark.parametrize("before", [None, NOW + timedelta(hours=2)], ids=["permanent", "longer"])
def test_an_old_ban_does_not_shorten_a_newer_one(before: datetime | None, age: timedelta) -> None:
    """A ban that ends earlier restores access, so it may be a day old at most."""
    ban = c.BanUser("Spam", NOW + timedelta(hours=1))
    decision = decide(ban, ada(ban=Ban("Fraud", before)), sent_at=NOW - age)

    late = age > timedelta(hours=24)
    assert decision.code is (Code.COMMAND_EXPIRED if late else None)
    assert decision.user is not None
    assert decision.user.ban == (Ban("Fraud", before) if late else Ban("Spam", ban.until))


@pytest.mark.parametrize("until", [None, NOW + timedelta(hours=3)], ids=["permanent", "longer"])
@pytest.mark.parametrize("present", [None, Ban("Fraud", NOW + timedelta(hours=2)), Ban("x", NOW)])
def test_an_old_ban_that_ends_later_is_imposed(until: datetime | None, present: Ban | None) -> None:
    """A rejection would leave access open."""
    decision = decide(c.BanUser("Spam", until), ada(ban=present), sent_at=NOW - timedelta(days=20))

    assert decision.code is None
    assert decision.user is not None
    assert decision.user.ban == Ban("Spam", until)


def test_a_command_is_good_on_the_edge_of_its_time_and_at_the_expected_version() -> None:
    """The oldest time that is remembered, a moment before expiry, and the version as expected."""
    decision = decide(
        ERASE,
        ada(),
        sent_at=OLDEST,
        expires_at=NOW + timedelta(milliseconds=1),
        expected_version=7,
    )

    assert decision.code is None


def test_every_command_has_cases() -> None:
    """No command is left out of the tables."""
    covered = {type(case.command) for case in CASES} | {type(REGISTER), type(CREATE)}

    assert covered == set(c.COMMANDS.values())


def test_every_rejection_has_a_case() -> None:
    """The codes that the tables expect are those that the commands declare."""
    seen: dict[type[c.Command], set[Code]] = defaultdict(set)
    for case in CASES:
        if case.code is not None:
            seen[type(case.command)].add(case.code)

    for command in c.COMMANDS.values():
        if not command.creates_user:  # commands that create users have their own table above
            declared = set(command.rejections)
            assert seen[command] - set(c.ANY_COMMAND_REJECTIONS) == declared, command.__name__
    assert {Code.USER_ALREADY_EXISTS, Code.EMAIL_TAKEN} == {
        *c.RegisterUser.rejections,
        *c.CreateUser.rejections,
    }


def test_every_event_has_a_case() -> None:
    """No event is declared that no command brings about, except that of a dead letter."""
    recorded = {event.type for case in CASES for event in _answer(case)}
    recorded |= {
        event.type for command in (REGISTER, CREATE) for event in decide(command, None).events
    }

    assert recorded == set(EVENTS) - {e.CommandDeadLettered.type}
