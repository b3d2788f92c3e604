from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from application.batch_policy import REGISTRATION_RECEIVES
from application.pending_command import PendingCommand
from application.ports import CommandKey
from application.repository import Outcome, Snapshot, Status
from application.rounds import decide_round, registrations_first
from domain import commands as c
from domain.handlers import Context, handle
from domain.user import TwoFactor, User
from tests.builders import (
    HASH_KEYS,
    NOW,
    OLDEST,
    POLICY,
    email,
    envelope,
    register,
    request_change,
    start_session,
    token,
    uid,
    works,
)


def registered(name: str, address: str | None = None) -> User:
    """Return a registered user."""
    sent = envelope(register(address or name), name, f"registration of {name}")
    user = handle(sent, None, Context(NOW, {}, OLDEST, HASH_KEYS.address_hash)).user
    assert user is not None
    return user


def awaiting(user: User, address: str) -> User:
    """Start a user's change to an address, which awaits confirmation."""
    handle(
        envelope(request_change(address), None),
        user,
        Context(NOW, {}, OLDEST, HASH_KEYS.address_hash),
    )
    return user


def snapshot(*users: User) -> Snapshot:
    """Return the facts about some users and their addresses."""
    return Snapshot(
        users={user.user_id: user for user in users},
        addresses={user.email.key: user.user_id for user in users if user.email},
    )


def indexes(some: list[PendingCommand]) -> list[int]:
    """Return the positions of commands in their batch."""
    return [work.index for work in some]


def test_commands_of_one_user_are_one_change_in_their_order() -> None:
    """One Put writes them all, on the condition of the version that was read."""
    facts = snapshot(registered("ada"))
    rename = [(c.UpdateProfile(first_name=f"Ada {n}"), "ada") for n in range(3)]
    decided = decide_round(works(*rename), facts, POLICY, NOW)
    [change] = [builder.change() for builder in decided.builders]
    assert change.read_version == 1
    assert change.user is not None
    assert (change.user.version, change.user.first_name) == (4, "Ada 2")
    sequences = [event.sequence for outcome in change.outcomes for event in outcome.events]
    assert sequences == [2, 3, 4]


def test_a_registration_and_what_follows_it_are_one_change() -> None:
    """The user need not be stored before the next command."""
    decided = decide_round(
        works((register("ada"), "ada"), (c.UpdateProfile(last_name="King"), "ada")),
        Snapshot(),
        POLICY,
        NOW,
    )
    [change] = [builder.change() for builder in decided.builders]
    assert (change.read_version, change.claimed) == (0, email("ada"))
    assert change.user is not None
    assert change.user.version == 2


def test_rejections_alone_write_no_user() -> None:
    """A rejected command costs only its outcome."""
    decided = decide_round(
        works((register("ada"), "eve")), snapshot(registered("ada")), POLICY, NOW
    )
    [change] = [builder.change() for builder in decided.builders]
    assert change.user is None
    assert [(o.status, o.code) for o in change.outcomes] == [(Status.REJECTED, "EmailTaken")]


def test_one_address_is_written_once_a_round_and_who_comes_later_waits() -> None:
    """The second registration is decided after the first one's commit."""
    decided = decide_round(
        works((register("x"), "ada"), (register("X"), "eve"), (c.UnlockUser(), "eve")),
        Snapshot(),
        POLICY,
        NOW,
    )
    assert [builder.user_id for builder in decided.builders] == [uid("ada")]
    assert indexes(decided.deferred) == [1, 2]


def test_readers_of_an_unwritten_address_share_a_round() -> None:
    """Fifty registrations of a taken address are fifty rejections in one round."""
    many = [(register("ada"), f"user {n}") for n in range(50)]
    decided = decide_round(works(*many), snapshot(registered("ada")), POLICY, NOW)
    assert len(decided.builders) == 50
    assert decided.deferred == []


def test_two_users_swapping_addresses_take_two_rounds() -> None:
    """The second takes the released address once it is free."""
    ada, eve = awaiting(registered("ada"), "eve"), awaiting(registered("eve"), "ada")
    ada.email = email("third")
    facts = snapshot(ada, eve)
    decided = decide_round(
        works(
            (c.ConfirmEmailChange(token("ada")), "eve"), (c.ConfirmEmailChange(token("eve")), "ada")
        ),
        facts,
        POLICY,
        NOW,
    )
    [change] = [builder.change() for builder in decided.builders]
    assert (change.claimed, change.released) == (email("ada"), email("eve"))
    assert indexes(decided.deferred) == [1]


def test_a_change_back_to_the_old_address_waits_for_the_change_away_from_it() -> None:
    """From A to B to A in one batch: each step is decided on stored facts."""
    ada = awaiting(registered("ada"), "b")
    steps: list[tuple[c.Command, str]] = [
        (c.ConfirmEmailChange(token("b")), "ada"),
        (request_change("ada"), "ada"),
        (c.ConfirmEmailChange(token("ada")), "ada"),
    ]
    decided = decide_round(works(*steps), snapshot(ada), POLICY, NOW)
    assert len(decided.builders[0].commands) == 1
    assert indexes(decided.deferred) == [1, 2]


def test_nothing_overtakes_a_waiting_command_on_its_way_to_an_address() -> None:
    """Eve releases her address in the next round; Ada asked for it later, and gets it then."""
    ada, eve = awaiting(registered("ada"), "third"), registered("eve")
    steps: list[tuple[c.Command, str]] = [
        (c.ConfirmEmailChange(token("third")), "ada"),
        (request_change("ada"), "eve"),
        (c.ConfirmEmailChange(token("ada")), "eve"),
        (request_change("eve"), "ada"),
    ]
    decided = decide_round(works(*steps), snapshot(ada, eve), POLICY, NOW)
    assert [indexes(builder.commands) for builder in decided.builders] == [[0]]
    assert indexes(decided.deferred) == [1, 2, 3]


def test_an_address_in_other_letters_is_neither_claimed_nor_released() -> None:
    """It is the same address item."""
    ada = awaiting(registered("ada"), "ADA")
    decided = decide_round(
        works((c.ConfirmEmailChange(token("ADA")), "ada")), snapshot(ada), POLICY, NOW
    )
    change = decided.builders[0].change()
    assert (change.claimed, change.released) == (None, None)
    assert change.user is not None
    assert change.user.email == email("ADA")


def test_an_unknown_user_may_still_be_on_its_way_for_a_minute() -> None:
    """Counted from the first receive, because after an outage all messages are old."""
    for receives, waited, rejected in [
        (1, 59, False),
        (1, 86_400, False),  # a clock that is ahead
        (REGISTRATION_RECEIVES - 1, 61, False),
        (REGISTRATION_RECEIVES, 59, False),
        (REGISTRATION_RECEIVES, 61, True),
        (POLICY.max_receives, 1, True),
    ]:
        [work] = works((c.UnlockUser(), "ada"), age=86_400)
        work.message["receives"] = receives
        work.message["first_received_at"] = NOW.timestamp() - waited
        decided = decide_round([work], Snapshot(), POLICY, NOW)
        codes = [outcome.code for builder in decided.builders for outcome in builder.outcomes]
        assert codes == ["UserNotFound"] * rejected
        assert indexes(decided.unknown) == [0] * (not rejected)


def stored(of: PendingCommand) -> Outcome:
    """Return the outcome of a command without a user."""
    decided = decide_round([of], Snapshot(), POLICY, NOW)
    return decided.builders[0].outcomes[0]


def test_what_was_decided_earlier_is_not_decided_again() -> None:
    """A redelivered command changes nothing, whatever the state of the user."""
    [work] = works((register("ada"), "ada"))
    facts = replace(snapshot(registered("ada")), outcomes={work.key: stored(work)})
    decided = decide_round([work], facts, POLICY, NOW)
    assert decided.builders == []
    assert decided.duplicates == [(work, facts.outcomes[work.key])]


def test_a_command_by_email_is_known_by_its_id_alone() -> None:
    """Even if the address has another owner by now."""
    reset = c.RequestPasswordReset(uid("t"), token("t"), NOW + timedelta(hours=1), email("ada"))
    [work] = works((reset, None))
    outcome = replace(stored(work), user_id=uid("ada"))
    key = CommandKey(None, work.envelope.command_id)
    work.user_id = uid("eve")
    facts = replace(snapshot(registered("eve", "ada")), outcomes={key: outcome})
    assert indexes([w for w, _ in decide_round([work], facts, POLICY, NOW).duplicates]) == [0]


def test_facts_that_contradict_each_other_are_read_again() -> None:
    """The user's address exists without the user: it was registered between the two reads."""
    facts = Snapshot(addresses={email("ada").key: uid("ada")})
    decided = decide_round(works((register("ada"), "ada")), facts, POLICY, NOW)
    assert (indexes(decided.inconsistent), decided.builders) == ([0], [])


def test_a_second_factor_that_contradicts_its_user_is_read_again() -> None:
    """If it was read before it was stored, it would remain, and its codes would stay valid."""
    ada = registered("ada")
    ada.two_factor_enabled = True
    decided = decide_round(
        works((c.DisableTwoFactor(), "ada"), (c.UnlockUser(), "ada")), snapshot(ada), POLICY, NOW
    )
    assert (indexes(decided.inconsistent), decided.builders) == ([0], [])
    assert indexes(decided.deferred) == [1]


def test_an_id_used_by_user_id_and_by_address_at_once_is_decided_once() -> None:
    """The second waits, and finds the first one's outcome."""
    reset = c.RequestPasswordReset(uid("t"), token("t"), NOW + timedelta(hours=1), email("ada"))
    by_id, by_address = works((c.UnlockUser(), "ada"), (reset, None))
    by_address.envelope = replace(by_address.envelope, command_id=by_id.envelope.command_id)
    by_address.user_id = uid("ada")
    decided = decide_round([by_id, by_address], snapshot(registered("ada")), POLICY, NOW)
    assert [indexes(builder.commands) for builder in decided.builders] == [[0]]
    assert indexes(decided.deferred) == [1]


def test_what_cannot_be_read_stops_its_own_users_commands_only() -> None:
    """An item of a later format: a newer worker can read it."""
    facts = replace(snapshot(registered("eve")), unreadable={uid("ada"), email("x").key})
    decided = decide_round(
        works((c.UnlockUser(), "ada"), (register("x"), "bob"), (c.UnlockUser(), "eve")),
        facts,
        POLICY,
        NOW,
    )
    assert indexes(decided.unreadable) == [0, 1]
    assert [builder.user_id for builder in decided.builders] == [uid("eve")]


def test_on_its_last_receive_an_unknown_user_is_waited_for_no_more() -> None:
    """The command gets its outcome instead of a dead letter without one."""
    [work] = works((c.UnlockUser(), "ada"), age=1)
    work.message["receives"] = POLICY.max_receives
    decided = decide_round([work], Snapshot(), POLICY, NOW)
    assert decided.builders[0].outcomes[0].code == "UserNotFound"


def test_a_fifo_group_holds_one_user_a_round_and_keeps_its_order() -> None:
    """Later commands of the group wait for earlier ones."""
    facts = snapshot(registered("ada"), registered("eve"))
    commands = [(c.RevokeAllSessions(), name) for name in ("ada", "ada", "eve", "ada")]
    decided = decide_round(works(*commands, group="g"), facts, POLICY, NOW)
    assert [indexes(builder.commands) for builder in decided.builders] == [[0, 1]]
    assert indexes(decided.deferred) == [2, 3]


def test_a_fifo_group_waits_behind_a_user_on_its_way() -> None:
    """Otherwise a later command of the group would overtake it."""
    facts = snapshot(registered("eve"))
    commands = [(c.UnlockUser(), "ada"), (c.RevokeAllSessions(), "eve")]
    decided = decide_round(works(*commands, group="g", age=1), facts, POLICY, NOW)
    assert (indexes(decided.unknown), indexes(decided.deferred)) == ([0], [1])


def test_a_session_that_starts_and_ends_in_one_round_is_not_written() -> None:
    """Nothing was stored, so there is nothing to delete."""
    start = start_session(uid("s"), token("r"), NOW + timedelta(days=1))
    decided = decide_round(
        works((start, "ada"), (c.RevokeSession(uid("s")), "ada")),
        snapshot(registered("ada")),
        POLICY,
        NOW,
    )
    change = decided.builders[0].change()
    assert (change.saved_sessions, change.removed_sessions) == ((), ())
    assert change.user is not None
    assert change.user.version == 3


def test_a_session_started_anew_under_its_old_id_replaces_the_stored_one() -> None:
    """Its condition is the stored revision, not its absence."""
    ada = registered("ada")
    start = start_session(uid("s"), token("r"), NOW + timedelta(days=1))
    handle(envelope(start, "ada"), ada, Context(NOW, {}, OLDEST, HASH_KEYS.address_hash))
    ada.sessions[uid("s")] = replace(ada.sessions[uid("s")], revision=7)
    decided = decide_round(
        works((c.RevokeSession(uid("s")), "ada"), (start, "ada")), snapshot(ada), POLICY, NOW
    )
    change = decided.builders[0].change()
    assert [session.revision for session in change.saved_sessions] == [7]
    assert change.removed_sessions == ()


def test_an_erasure_releases_the_address_removes_the_second_factor_and_asks_for_a_scrub() -> None:
    """All of it is in the transaction that writes the tombstone."""
    ada = registered("ada")
    ada.two_factor_enabled, ada.two_factor = True, TwoFactor("x", ("y",), 3)
    change = (
        decide_round(works((c.EraseUser(), "ada")), snapshot(ada), POLICY, NOW).builders[0].change()
    )
    assert (change.claimed, change.released) == (None, email("ada"))
    assert change.removed_two_factor == TwoFactor("x", ("y",), 3)
    assert change.scrub


def test_an_outcome_carries_what_its_events_are_published_with() -> None:
    """The relay has no other source."""
    work = works((register("ada"), "ada"))[0]
    work.envelope = replace(
        work.envelope, correlation_id="c", traceparent="t", tracestate="s", actor="a"
    )
    [outcome] = decide_round([work], Snapshot(), POLICY, NOW).builders[0].outcomes
    assert (outcome.source, outcome.correlation_id, outcome.actor) == ("/test", "c", "a")
    assert (outcome.traceparent, outcome.tracestate) == ("t", "s")
    assert outcome.expires_at - outcome.recorded_at == timedelta(days=90)


def test_a_registration_takes_the_place_of_its_users_first_command() -> None:
    """Commands of other users, and commands about its address, keep their positions."""
    role, add = c.AssignRole("customer"), register
    cases = [
        ([(role, "ada"), (role, "eve"), (add("ada"), "ada")], ["ada 2", "ada 0", "eve 1"]),
        ([(add("ada"), "ada"), (role, "ada"), (add("x"), "ada")], ["ada 0", "ada 1", "ada 2"]),
        ([(role, "ada"), (add("ada"), "eve"), (add("ada"), "ada")], ["ada 0", "eve 1", "ada 2"]),
        ([(role, "bob"), (add("bob"), "bob")], ["bob 0", "bob 1"]),  # known already
    ]
    facts = snapshot(registered("bob"))
    names = {uid(name): name for name in ("ada", "eve", "bob")}
    for commands, expected in cases:
        ordered = registrations_first(works(*commands), facts)
        assert [f"{names[w.user_id or '']} {w.index}" for w in ordered] == expected
    fifo = works((role, "ada"), (add("ada"), "ada"), group="g")
    assert registrations_first(fifo, facts) == fifo
