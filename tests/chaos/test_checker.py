"""The checker finds each error that is inserted into a correct history."""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import pytest

from application.messages import render_command
from application.messages.commands import command_data
from application.relay import SECOND_SCRUB_AFTER
from domain.commands import COMMANDS, Command, RegisterUser
from tests.builders import HASH_KEYS, NOW, register, rotation, start_session, token, uid
from tests.chaos.checker import Finding, check
from tests.chaos.history import FaultRecord, History, LogLine, Sent
from tests.chaos.report import longest_pause, recoveries
from tests.chaos.schedule import EVERYBODY, make_schedule
from tests.chaos.workload import Planned, Workload
from tests.reliability.invariants import Stored
from tests.reliability.process import Process
from tests.reliability.wire import Wire
from tests.reliability.world import InProcessWorld
from tests.reliability.world import Sent as InWorld

pytestmark = pytest.mark.xdist_group("chaos checker")  # one history serves them all


@cache
def _in_peace() -> History:
    """Return the history of a workload handled in this process, without attacks."""
    return _handled(Workload(1, NOW).plan(55, 8))


def _handled(plan: Sequence[Planned]) -> History:
    world, history = InProcessWorld(), History(seed=1)
    process = Process(world, Wire(), second_scrub_after=SECOND_SCRUB_AFTER)
    for number, each in enumerate(plan):
        queue = world.sqs.queues[world.queue]
        world.send(InWorld(each.command_id, each.user_id, each.command, each.body))
        history.sent.append(Sent(each, (queue[-1].message_id,)))
        if number % 50 == 0:
            _run_to_rest(world, process)
    _run_to_rest(world, process)
    history.quiet_at = world.clock.now().timestamp()
    history.items = list(world.dynamodb.items.values())
    history.published = list(world.sns.published)
    history.published_complete = list(world.sns.personal)
    history.dead_letters = [
        {"MessageId": letter.message_id, "MessageAttributes": dict(letter.attributes)}
        for letter in world.sqs.queues[world.dead_letter_queue]
    ]
    return history


def _run_to_rest(world: InProcessWorld, process: Process) -> None:
    """Run a worker until nothing is left but second scrubs that are not due."""
    for _ in range(100):
        while process.poll():
            pass
        process.relay()
        stored = Stored.read(world.items())
        if not world.waiting() and stored.scheduled.issuperset(stored.entries):
            return
        world.let_time_pass()
    raise AssertionError("work is left over")


@pytest.fixture
def history() -> History:
    """A correct history, into which a test inserts an error."""
    return copy.deepcopy(_in_peace())


def kinds(findings: list[Finding]) -> set[str]:
    """Return the kinds of the findings."""
    return {finding.kind for finding in findings}


def test_a_run_in_peace_has_nothing_wrong(history: History) -> None:
    """The workload is complete too: every kind of command is accepted at least once."""
    history.fifo = True  # one undisturbed worker keeps every order
    assert check(history) == []
    accepted = Counter(
        row["command_type"]["S"] for row in history.items if row.get("status") == {"S": "accepted"}
    )
    assert COMMANDS.keys() - accepted.keys() == set()
    assert len(history.dead_letters) >= 7
    banned = {item["user_id"]["S"] for item in history.items if item["sk"]["S"] == "BANNED"}
    held = {item["user_id"]["S"] for item in history.items if "held" in item}
    assert banned < held, "addresses of erased users, some of them still banned"


# --- one thing spoiled -----------------------------------------------------------------------


def _outcome(history: History, *, with_sequence: bool = True) -> dict[str, Any]:
    """Return the stored outcome of a command that changed a user, or of one that did not."""
    return next(
        item
        for item in history.items
        if item["pk"]["S"].startswith("USER#")
        and item["sk"]["S"].startswith("COMMAND#")
        and any((row[2] is not None) == with_sequence for row in json.loads(item["events"]["S"]))
    )


def _user(history: History) -> dict[str, Any]:
    return next(i for i in history.items if i["sk"]["S"] == "USER" and "email" in i)


def _lose_an_outcome(history: History) -> None:
    history.items.remove(_outcome(history, with_sequence=False))


def _lose_a_user(history: History) -> None:
    history.items.remove(_user(history))


def _lose_an_event(history: History) -> None:
    gone = history.published[0]["id"]
    history.published = [event for event in history.published if event["id"] != gone]


def _lose_a_complete_event(history: History) -> None:
    """Lose one that is stored complete: its user is not erased."""
    erased = {i["pk"]["S"].removeprefix("USER#") for i in history.items if i.get("erased")}
    gone = next(e["id"] for e in history.published_complete if e["subject"] not in erased)
    history.published_complete = [e for e in history.published_complete if e["id"] != gone]


def _show_an_address(history: History) -> None:
    event = next(e for e in history.published if "email" in e["data"])
    event["data"]["email"] = "ada@example.com"


def _leave_a_message(history: History) -> None:
    history.waiting["command"] = 1


def _leave_an_entry(history: History) -> None:
    history.items.append({"pk": {"S": "OUTBOX#3"}, "sk": {"S": "x"}, "commands": {"S": "x"}})


def _forget_a_dead_letter(history: History) -> None:
    history.dead_letters.pop(0)


def _kill_a_command(history: History) -> None:
    good = next(s for s in history.sent if s.planned.command and not s.planned.rival)
    told = {"error_code": "Unavailable", "original_message_id": good.message_ids[0]}
    attributes = {name: {"StringValue": value} for name, value in told.items()}
    history.dead_letters.append({"MessageId": "x", "MessageAttributes": attributes})


def _redrive_a_message(history: History) -> None:
    history.dead_letters.append({"MessageId": "x"})


def _decide_twice(history: History) -> None:
    item = copy.deepcopy(_outcome(history))
    item["pk"]["S"] = f"USER#{uid('somebody else')}"
    history.items.append(item)


def _publish_under_another_id(history: History) -> None:
    history.published.append({**history.published[0], "id": "another"})


def _publish_another_text(history: History) -> None:
    history.published.append({**history.published[0], "time": "2000-01-01T00:00:00Z"})


def _commit_twice(history: History) -> None:
    row = {"event": "command", "outcome": "accepted", "command_id": "x"}
    history.log += [LogLine(0, 1.0, row), LogLine(1, 2.0, row)]


def _number_twice(history: History) -> None:
    item = _outcome(history)
    rows = json.loads(item["events"]["S"])
    item["events"]["S"] = json.dumps([*rows, rows[0]])


def _share_an_address(history: History) -> None:
    one, other = [i for i in history.items if i["sk"]["S"] == "USER" and "email" in i][:2]
    one["email"] = other["email"]


def _lose_an_address(history: History) -> None:
    history.items.remove(next(i for i in history.items if i["sk"]["S"] == "EMAIL"))


def _change(name: str, value: dict[str, Any]) -> Callable[[History], None]:
    def spoil(history: History) -> None:
        _user(history)[name] = value

    return spoil


def _keep_a_session(history: History) -> None:
    users = {i["pk"]["S"]: i for i in history.items if i["sk"]["S"] == "USER"}
    session = next(
        i
        for i in history.items
        if i["sk"]["S"].startswith("SESSION#")
        and i["session_id"]["S"] not in str(users[i["pk"]["S"]].get("live_sessions"))
    )
    word = f"{session['session_id']['S']}:{session['expires_at']['N']}"
    users[session["pk"]["S"]]["live_sessions"] = {"S": word}


def _remember_the_erased(history: History) -> None:
    erased = next(i for i in history.items if i.get("erased"))
    mine = (i for i in history.items if i["pk"] == erased["pk"] and "fingerprint" in i)
    next(mine)["fingerprint"] = {"S": "of something personal"}


def _decide_otherwise(history: History) -> None:
    """Change the reason of a rejection for a token."""
    item = next(i for i in history.items if i.get("code") == {"S": "TokenInvalid"})
    item["code"] = {"S": "TokenExpired"}
    item["events"]["S"] = item["events"]["S"].replace("TokenInvalid", "TokenExpired")
    for event in history.published:
        if event["causationid"] == item["sk"]["S"].removeprefix("COMMAND#"):
            event["data"]["code"] = "TokenExpired"


def _be_surprised(history: History) -> None:
    history.log.append(LogLine(0, 1.0, {"event": "batch_failed"}))


def _refuse_for_nobody(history: History) -> None:
    """Remove from history all users who had an address that was refused as taken."""
    taken = [i for i in history.items if i.get("code") == {"S": "EmailTaken"}]
    refused = {i["sk"]["S"].removeprefix("COMMAND#") for i in taken}
    sent = {s.planned.command_id: s.planned.command for s in history.sent}
    address = next(c.email for id_ in refused if isinstance(c := sent[id_], RegisterUser))
    had = {id_ for id_, c in sent.items() if getattr(c, "email", c) == address} - refused
    asked = {id_ for id_, c in sent.items() if getattr(c, "new_email", c) == address} - refused
    gone = {f"COMMAND#{id_}" for id_ in had | asked}
    history.items = [item for item in history.items if item["sk"]["S"] not in gone]


def _overtake(history: History) -> None:
    """Reverse the order in which everything was sent."""
    history.fifo = True
    history.sent = [
        Sent(replace(sent.planned, at=tuple(-at for at in sent.planned.at)), sent.message_ids)
        for sent in history.sent
    ]


SPOILED: dict[str, tuple[Callable[[History], None], str]] = {
    "an outcome is missing": (_lose_an_outcome, "lost"),
    "a user is missing": (_lose_a_user, "wrong"),
    "an event was not published": (_lose_an_event, "lost"),
    "an event with an address was not published complete": (_lose_a_complete_event, "lost"),
    "an address is on the ordinary topic": (_show_an_address, "wrong"),
    "a message is left": (_leave_a_message, "lost"),
    "a pointer is left": (_leave_an_entry, "lost"),
    "a malformed message vanished": (_forget_a_dead_letter, "lost"),
    "a command is in the dead-letter queue": (_kill_a_command, "lost"),
    "a dead letter has no reason": (_redrive_a_message, "wrong"),
    "a command has two outcomes": (_decide_twice, "doubled"),
    "an event has two ids": (_publish_under_another_id, "doubled"),
    "an event reads two ways": (_publish_another_text, "wrong"),
    "two workers committed a command": (_commit_twice, "doubled"),
    "a version has two events": (_number_twice, "doubled"),
    "two users have an address": (_share_an_address, "doubled"),
    "an address has no owner": (_lose_an_address, "wrong"),
    "a role came from nowhere": (_change("roles", {"L": [{"S": "king"}]}), "wrong"),
    "a ban came from nowhere": (_change("ban", {"M": {"reason": {"S": "x"}}}), "wrong"),
    "a password came from nowhere": (_change("credential_version", {"N": "99"}), "wrong"),
    "a name came from nowhere": (_change("first_name", {"S": "Mallory"}), "wrong"),
    "a session lives on": (_keep_a_session, "wrong"),
    "an erased user is remembered": (_remember_the_erased, "wrong"),
    "a worker was surprised": (_be_surprised, "wrong"),
    "an address was refused that nobody had": (_refuse_for_nobody, "wrong"),
    "a command was decided otherwise": (_decide_otherwise, "wrong"),
    "a command overtook its group": (_overtake, "wrong"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_the_checker_finds_it(case: str, history: History) -> None:
    """An error is inserted into a correct history, and found as its kind."""
    spoil, kind = SPOILED[case]
    spoil(history)
    assert kind in kinds(check(history))


# --- reads that are not of one instant -------------------------------------------------------


@pytest.mark.parametrize(("seconds", "findings"), [(0, 0), (31, 1)])
def test_a_rejection_by_a_session_that_was_read_too_early_changes_nothing(
    seconds: int, findings: int
) -> None:
    """The next part of its refresh token was never valid; a later rejection is an error."""
    session, (first, second, third) = uid("session"), map(token, ("first", "second", "third"))
    end = NOW + timedelta(days=1)
    history = _handled(
        [
            _planned(1, register("ada")),
            _planned(2, rotation(session, first, second, end)),  # rejected: there is no session
            _planned(3, start_session(session, first, end)),
            _planned(4, rotation(session, second, third, end)),  # ends the session
        ]
    )
    rejected = next(i for i in history.items if i["sk"]["S"] == f"COMMAND#{uid('command 2')}")
    assert rejected["code"] == {"S": "SessionNotFound"}
    rejected["version"] = {"N": "2"}  # as if the user had been read after the start of the session
    at = datetime.fromisoformat(rejected["recorded_at"]["S"]) + timedelta(seconds=seconds)
    rejected["recorded_at"] = {"S": at.isoformat()}
    found = [finding for finding in check(history) if "by the rules" in finding.what]
    assert len(found) == findings


def _planned(number: int, command: Command) -> Planned:
    command_id, user_id = uid(f"command {number}"), uid("ada")
    body = render_command(
        command.type,
        command_data(command),
        command_id=command_id,
        source="/chaos",
        user_id=user_id,
    )
    return Planned((float(number),), command_id, user_id, command, body)


# --- bans of erased users --------------------------------------------------------------------


def _held(history: History) -> dict[str, Any]:
    """Return the item of a held address whose ban is in force."""
    banned = [item["user_id"] for item in history.items if item["sk"]["S"] == "BANNED"]
    return next(i for i in history.items if "held" in i and i["user_id"] in banned)


def _of_its_user(history: History, sort: str) -> dict[str, Any]:
    user_id = _held(history)["user_id"]
    return next(i for i in history.items if i["sk"]["S"] == sort and i.get("user_id") == user_id)


def _forget_the_ban_of_an_address(history: History) -> None:
    history.items.remove(_of_its_user(history, "BANNED"))


def _ban_another_address(history: History) -> None:
    _of_its_user(history, "BANNED")["pk"]["S"] = "BANNED#" + "0" * 64


def _end_the_ban_of_an_address_early(history: History) -> None:
    _of_its_user(history, "BANNED")["until"] = {"S": NOW.isoformat()}


def _forget_the_ban_of_an_erased_user(history: History) -> None:
    del _of_its_user(history, "USER")["ban"]


def _ban_an_address_of_an_unbanned_user(history: History) -> None:
    banned = [item["user_id"] for item in history.items if item["sk"]["S"] == "BANNED"]
    unbanned = next(i for i in history.items if "held" in i and i["user_id"] not in banned)
    item = copy.deepcopy(_of_its_user(history, "BANNED"))
    address = unbanned["pk"]["S"].removeprefix("EMAIL#")
    item["pk"]["S"] = f"BANNED#{HASH_KEYS.address_hash(address)}"
    item["user_id"] = unbanned["user_id"]
    history.items.append(item)


def _release_a_held_address(history: History) -> None:
    history.items.remove(_held(history))


def _hold_an_address_for_another_user(history: History) -> None:
    _held(history)["user_id"] = _user(history)["user_id"]


def _hold_an_address_of_a_user(history: History) -> None:
    """Mark an address as held while its user has it."""
    address = _user(history)["email"]["S"].lower()
    next(i for i in history.items if i["pk"]["S"] == f"EMAIL#{address}")["held"] = {"BOOL": True}


def _give_a_held_address_to_a_user(history: History) -> None:
    _user(history)["email"] = {"S": _held(history)["pk"]["S"].removeprefix("EMAIL#")}


def _lose_the_release_of_an_address(history: History) -> None:
    address = _held(history)["pk"]["S"].removeprefix("EMAIL#")
    history.items = [i for i in history.items if i.get("address") != {"S": address}]


def _accept_a_banned_address(history: History) -> None:
    """Accept a registration that was rejected because of the ban, a minute after the erasure."""
    address = _held(history)["pk"]["S"].removeprefix("EMAIL#")
    command_id = next(
        sent.planned.command_id
        for sent in history.sent
        if isinstance(command := sent.planned.command, RegisterUser)
        and command.email.key == address
        and sent.planned.user_id != _held(history)["user_id"]["S"]
    )
    item = next(i for i in history.items if i["sk"]["S"] == f"COMMAND#{command_id}")
    assert item.pop("code") == {"S": "EmailTaken"}
    item["status"] = {"S": "accepted"}
    later = datetime.fromisoformat(item["recorded_at"]["S"]) + timedelta(minutes=1)
    item["recorded_at"] = {"S": later.isoformat()}


BANS: dict[str, tuple[Callable[[History], None], str]] = {
    "the ban of an address is lost": (_forget_the_ban_of_an_address, "lost: .* is not banned"),
    "another address is banned": (_ban_another_address, "lost: .* is not banned"),
    "a ban has another end": (_end_the_ban_of_an_address_early, "lost: .* is not banned"),
    "a ban is of another address": (_ban_another_address, "wrong: .* no such ban outlived"),
    "a ban is back after UnbanUser": (
        _ban_an_address_of_an_unbanned_user,
        "wrong: .* no such ban outlived",
    ),
    "an erased user has no ban": (
        _forget_the_ban_of_an_erased_user,
        r"wrong: .* by its events: banned is \(.*\) and stored None",
    ),
    "a held address is free": (_release_a_held_address, "lost: .* is not held"),
    "an address is held for another": (_hold_an_address_for_another_user, "wrong: .* is held for"),
    "the address of a user is held": (_hold_an_address_of_a_user, "doubled: .* is held for"),
    "a user has a held address": (_give_a_held_address_to_a_user, "doubled: .* is held for"),
    "an address is held for ever": (_lose_the_release_of_an_address, "lost: .* no scrub job"),
    "a banned address was claimed": (_accept_a_banned_address, "doubled: .* claimed .* banned"),
}


@pytest.mark.parametrize("case", BANS)
def test_the_checker_finds_the_error_in_a_ban(case: str, history: History) -> None:
    """An error in a ban that outlives an erasure is found by the check that is meant for it."""
    spoil, expected = BANS[case]
    spoil(history)
    findings = [str(finding) for finding in check(history)]
    assert any(re.match(expected, finding) for finding in findings), findings


def test_a_ban_that_has_expired_and_an_address_that_was_released_may_be_gone(
    history: History,
) -> None:
    """Two days later only the permanent bans must be stored, and no address must be held."""
    history.items = [i for i in history.items if "held" not in i and "address" not in i]
    history.items = [i for i in history.items if i["sk"]["S"] != "BANNED" or "until" not in i]
    assert {finding.kind for finding in check(history)} == {"lost"}
    history.quiet_at = (NOW + timedelta(days=2)).timestamp()
    assert check(history) == []


# --- what a seed is worth --------------------------------------------------------------------


def test_a_seed_gives_the_same_load_and_the_same_attacks() -> None:
    """A failing run can be repeated, as far as real time allows."""

    def load(seed: int) -> list[Planned]:
        return Workload(seed, NOW).plan(30, 10)

    assert load(3) == load(3) != load(4)
    assert make_schedule(3, 60, 3, 4) == make_schedule(3, 60, 3, 4) != make_schedule(4, 60, 3, 4)


def test_a_short_run_has_attacks_of_nearly_every_kind_and_ends_them_in_time() -> None:
    """All attacks end within the seconds of the schedule."""
    schedule = make_schedule(1, 25, 3, 4)
    assert len({attack.blow for attack in schedule.processes}) >= 4
    assert len({attack.trouble for attack in schedule.network}) >= 8
    assert all(0 < attack.at < 25 for attack in schedule.processes)
    assert all(attack.at + attack.seconds <= 25 for attack in schedule.network)


# --- the report's figures --------------------------------------------------------------------


def test_recovery_is_from_the_end_of_a_fault_to_the_next_command_of_the_worker_it_struck() -> None:
    """A fault without hits has no recovery; one on all workers has one for each."""
    row = {"event": "command", "outcome": "accepted"}
    told = [LogLine(0, 1.0, row), LogLine(1, 4.0, row), LogLine(0, 7.5, row), LogLine(1, 9.0, row)]
    history = History(seed=1, attacked_until=10.0, log=told)
    history.faults = [
        FaultRecord("SIGKILL", 0, 2.0, 3.0),
        FaultRecord("reset", EVERYBODY, 4.0, 5.0, hits=2),
        FaultRecord("slow", 0, 1.0, 2.0, hits=0),
        FaultRecord("503", 1, 8.0, 9.5),
    ]
    assert recoveries(history) == [("SIGKILL", 4.5), ("reset", 2.5), ("reset", 4.0), ("503", None)]
    assert longest_pause(history) == 3.5
