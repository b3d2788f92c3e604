"""Invariants after any commands in any order."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import commands as c
from domain.errors import RejectionCode as Code
from domain.events import PERSONAL_FIELDS
from domain.fields import FieldDefinition, fields_of
from domain.handlers import Context, Decision, handle
from domain.policy import DEFAULT_POLICY, MAX_LIVE_REFRESH_TOKENS, MAX_SESSIONS
from domain.sessions import Session
from domain.tokens import OneTimeToken
from domain.user import Ban, EmailChange, TwoFactor, User
from domain.values import EmailAddress
from tests.builders import FAMILY, example_value, rotation, start_session
from tests.unit.domain.given import NOW, OTHER_ID, USER_ID, envelope, hash_address, password, token

LONG_AGO = NOW - timedelta(days=60)
TOKENS = [token(str(number)) for number in range(3)]
CODES = [token(f"code {number}") for number in range(16)]
PASSWORDS = [password("first"), password("second")]
EMAILS = [EmailAddress.parse(f"{name}@mail.example") for name in ("ada", "ADA", "grace", "edsger")]
NAMES = ["Ada-the-name", "Grace-the-name"]
REASONS = ["some-reason", "other-reason"]
CIPHERTEXT = "some-ciphertext"
SECRETS = [
    CIPHERTEXT,
    *(hashed.value for hashed in PASSWORDS),
    *(hashed.value[:16] for hashed in TOKENS + CODES),
    *(hashed.stored[:16] for hashed in TOKENS + CODES),
]
PRIVATE = [*NAMES, *REASONS]

a_token = st.sampled_from(TOKENS)
a_code = st.sampled_from(CODES)
an_id = st.sampled_from([str(UUID(int=number)) for number in range(1, 3)])
a_time = st.integers(-2, 48).map(lambda hours: NOW + timedelta(hours=hours))
a_name = st.sampled_from(NAMES)
a_reason = st.sampled_from(REASONS)
a_role = st.sampled_from(["customer", "admin"])
an_email = st.sampled_from(EMAILS)

# Few values of a command's field, by its name, so that commands meet; of other fields, the example.
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "email": an_email,
    "new_email": an_email,
    "first_name": a_name,
    "last_name": a_name,
    "password_hash": st.sampled_from(PASSWORDS),
    "credential_version": st.integers(0, 2),
    "roles": st.lists(a_role, max_size=3).map(tuple),
    "role": a_role,
    "token_id": an_id,
    "session_id": an_id,
    "token_hash": a_token,
    "refresh_family_hash": st.just(FAMILY),
    "refresh_token_hash": a_token,
    "next_refresh_token_hash": a_token,
    "code_hash": a_code,
    "recovery_code_hash": st.none() | a_code,
    "totp_step": st.none() | st.integers(0, 5),
    "methods": st.just(("pwd",)),
    "recovery_code_hashes": st.lists(a_code, min_size=8, max_size=16).map(tuple),
    "secret_ciphertext": st.just(CIPHERTEXT),
    "expires_at": a_time,
    "reason": a_reason,
    "until": st.none() | a_time,
}


def commands_of(kind: type[c.Command]) -> st.SearchStrategy[c.Command]:
    """Draw commands of one kind, from few values, so that they meet."""
    return st.builds(kind, **{field.name: _values(field) for field in fields_of(kind)})


def _values(field: FieldDefinition) -> st.SearchStrategy[Any]:
    if field.name in FIELDS:
        return FIELDS[field.name]
    example = st.just(example_value(field))
    return st.none() | example if field.nullable else example


# erasure ends the story: it comes once in a while, and everything else more often
A_COMMAND = st.sampled_from(
    [kind for kind in c.COMMANDS.values() if kind is not c.EraseUser] * 2 + [c.EraseUser]
).flatmap(commands_of)


@dataclass(frozen=True)
class Step:
    """One command, and the facts around it."""

    command: c.Command
    by_email: bool
    minutes_later: int
    expected_version: int | None
    lifetime: int | None
    owned: frozenset[str]


def step_of(command: c.Command) -> Step:
    """Send a command with nothing around it."""
    return Step(command, False, 0, None, None, frozenset())


A_STEP = A_COMMAND.map(step_of) | st.builds(
    Step,
    A_COMMAND,
    st.booleans(),
    st.integers(0, 90),
    st.none() | st.integers(0, 9),
    st.none() | st.integers(0, 10),
    st.frozensets(st.sampled_from([email.key for email in EMAILS]), max_size=1),
)

A_TOKEN_OUT = st.builds(OneTimeToken, a_token.map(lambda hashed: hashed.stored), a_time)
a_part = a_token.map(lambda hashed: hashed.stored[:32])
A_SESSION = st.builds(
    Session,
    an_id,
    st.just(FAMILY.stored),
    st.lists(a_part, min_size=1, max_size=4, unique=True).map(tuple),
    a_time,
    st.none() | a_part,
    st.none() | a_time,
    revision=st.integers(1, 3),
)


@st.composite
def users(draw: st.DrawFn) -> User:
    """Draw a user in any state that is not erased."""
    codes = draw(st.none() | st.frozensets(a_code, max_size=16))
    sessions = draw(st.lists(A_SESSION, max_size=2))
    reason = draw(st.none() | a_reason)
    return User(
        USER_ID,
        draw(st.integers(1, 9)),
        NOW,
        NOW,
        draw(an_email),
        draw(a_name),
        draw(a_name),
        email_verified=draw(st.booleans()),
        password_hash=draw(st.sampled_from(PASSWORDS)).value,
        credential_version=draw(st.integers(1, 2)),
        roles=tuple(draw(st.frozensets(a_role))),
        failed_logins=draw(st.integers(0, 4)),
        lock_count=draw(st.integers(0, 12)),
        locked_until=draw(st.none() | a_time),
        ban=draw(st.none() | st.builds(Ban, a_reason, st.none() | a_time)),
        deactivated=reason is not None,
        deactivation_reason=reason,
        two_factor_enabled=codes is not None,
        email_verification=draw(st.none() | A_TOKEN_OUT),
        email_change=draw(st.none() | st.builds(EmailChange, an_email, A_TOKEN_OUT)),
        password_reset=draw(st.none() | A_TOKEN_OUT),
        sessions={session.session_id: session for session in sessions},
        live_sessions={
            each.session_id: each.expires_at for each in sessions[draw(st.integers(0, 1)) :]
        },
        two_factor=None
        if codes is None
        else TwoFactor(CIPHERTEXT, tuple(code.stored for code in codes)),
    )


@dataclass(frozen=True)
class Story:
    """A user, or none yet, and the commands for that user."""

    start: User | None
    steps: list[Step]


STORIES = st.builds(Story, st.none() | users() | users(), st.lists(A_STEP, max_size=20))


def play(story: Story) -> list[tuple[User | None, Decision]]:
    """Decide the steps one after the other; give each decision with a copy of the user before."""
    played: list[tuple[User | None, Decision]] = []
    user, now = copy.deepcopy(story.start), NOW
    for step in story.steps:
        now += timedelta(minutes=step.minutes_later)
        before = copy.deepcopy(user)
        decision = decide_step(step, user, now)
        note(f"{type(step.command).__name__}: {decision.code or decision.changed}")
        played.append((before, copy.deepcopy(decision)))
        user = decision.user
    return played


def decide_step(step: Step, user: User | None, now: datetime) -> Decision:
    """Decide one step at a time, with the addresses that are owned then."""
    named_by_email = step.by_email and isinstance(
        step.command, c.RequestPasswordReset | c.ResetPassword
    )
    message = envelope(
        step.command,
        user_id=None if named_by_email else USER_ID,
        sent_at=now,
        expected_version=step.expected_version,
        expires_at=None if step.lifetime is None else now + timedelta(minutes=step.lifetime),
    )
    addresses = dict.fromkeys(step.owned, OTHER_ID)
    if user is not None and user.email is not None:
        addresses[user.email.key] = USER_ID
    return handle(message, user, Context(now, addresses, LONG_AGO, hash_address))


@given(STORIES)
def test_versions_count_the_events_without_gaps(story: Story) -> None:
    """From 1, over the whole life of a user; events about commands have no number."""
    played = play(story)

    recorded = [event for _, decision in played for event in decision.events]
    numbers = [event.sequence for event in recorded if event.category != "command"]
    first = story.start.version if story.start else 0
    last = played[-1][1].user if played else story.start
    assert numbers == list(range(first + 1, first + len(numbers) + 1))
    assert (last.version if last else 0) == first + len(numbers)
    assert all(event.sequence is None for event in recorded if event.category == "command")


@given(STORIES)
def test_a_command_that_is_refused_or_has_no_effect_changes_nothing(story: Story) -> None:
    """The only exception is a used refresh token. Changes have numbered events."""
    for before, decision in play(story):
        about_command = [event for event in decision.events if event.category == "command"]
        if decision.changed:
            assert decision.user != before
            assert decision.code in (None, Code.REFRESH_TOKEN_REUSED, Code.CODE_INVALID)
            assert len(about_command) == (decision.code is not None)
            assert len(decision.events) > len(about_command)
        else:
            assert decision.user == before
            assert decision.events == tuple(about_command)
            assert len(about_command) == 1


@given(STORIES)
def test_no_event_holds_a_secret_or_what_only_the_user_may_know(story: Story) -> None:
    """No hash, ciphertext, name or reason; an address in the fields that an erasure empties."""
    for _, decision in play(story):
        for event in decision.events:
            text = json.dumps(event.data)
            assert not any(secret in text for secret in SECRETS)
            assert not any(private in text for private in PRIVATE)
            rest = {key: value for key, value in event.data.items() if key not in PERSONAL_FIELDS}
            assert "@" not in json.dumps(rest)


@given(STORIES)
def test_an_erased_user_contains_no_personal_data_and_does_not_change(story: Story) -> None:
    """The tombstone has the id, times and counters; no later command changes it."""
    erase = step_of(c.EraseUser())

    for before, decision in play(Story(story.start, [*story.steps, erase, *story.steps])):
        if before is not None and before.erased and decision.changed:
            assert before.ban is not None
            assert decision.events[0].type == "biome.user.UserUnbanned.v1"
        user = decision.user
        if user is not None and user.erased:
            kept = User(user.user_id, user.version, user.created_at, user.updated_at, None, "", "")
            kept.erased = True
            kept.credential_version = user.credential_version
            if (ban := user.ban) is not None:  # all that is known of the address is its hash
                assert ban.address_hash is not None
                kept.ban = Ban("", ban.until, address_hash=ban.address_hash)
            assert user == kept


@given(STORIES)
def test_nothing_grows_without_bound(story: Story) -> None:
    """Live tokens, sessions, recovery codes, roles and failures are all limited."""
    for _, decision in play(story):
        if decision.user is None:
            continue
        assert decision.user.failed_logins < DEFAULT_POLICY.failures_before_lock
        assert len(decision.user.roles) == len(set(decision.user.roles)) <= 2
        for session in decision.user.sessions.values():
            assert len(session.refresh_token_hashes) <= MAX_LIVE_REFRESH_TOKENS
        assert len(decision.user.live_sessions) <= MAX_SESSIONS
        if decision.user.two_factor is not None:
            assert len(decision.user.two_factor.recovery_code_hashes) <= 16


@given(STORIES)
def test_no_ended_session_is_restored(story: Story) -> None:
    """Version and credential version never decrease."""
    for before, decision in play(story):
        if before is None or decision.user is None:
            continue
        assert decision.user.version >= before.version
        assert decision.user.credential_version >= before.credential_version


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 15)), max_size=30))
@settings(max_examples=100)
def test_a_refresh_token_is_accepted_while_it_is_live_or_was_just_replaced(
    steps: list[tuple[int, int]],
) -> None:
    """For any order of exchanges and pauses; each exchange has a next token of its own."""
    session_id, now = str(UUID(int=1)), NOW
    user = User.create(USER_ID, EMAILS[0], PASSWORDS[0], NOW, first_name=NAMES[0])
    start = start_session(session_id, token("0"), NOW + timedelta(days=1))
    handle(envelope(start), user, Context(now, {}, LONG_AGO, hash_address))
    live, replaced = ["0"], ("", NOW)

    for number, (shown, pause) in enumerate(steps, 1):
        now += timedelta(seconds=pause)
        command = rotation(session_id, token(f"{shown}"), token(f"{number}"), now + timedelta(1))
        decision = handle(
            envelope(command, sent_at=now), user, Context(now, {}, LONG_AGO, hash_address)
        )
        if f"{shown}" in live:
            live.remove(f"{shown}")
            replaced = f"{shown}", now
        elif replaced[0] != f"{shown}" or now - replaced[1] >= timedelta(seconds=10):
            assert decision.code is Code.REFRESH_TOKEN_REUSED
            assert session_id not in user.sessions
            return
        live = [*live, f"{number}"][-MAX_LIVE_REFRESH_TOKENS:]
        assert decision.code is None
        parts = tuple(token(name).stored[:32] for name in live)
        assert user.sessions[session_id].refresh_token_hashes == parts
