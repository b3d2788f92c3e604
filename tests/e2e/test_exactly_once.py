"""Two real workers on one queue: a command has one outcome, however often it is delivered."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, product
from uuid import uuid4

import pytest

from application.repository import Status
from domain import commands as c
from domain.errors import RejectionCode
from tests.builders import register
from tests.e2e.conftest import Pair
from tests.e2e.system import event_ids, message
from tests.e2e.worker_process import eventually

pytestmark = [pytest.mark.xdist_group("two workers")]


def test_a_command_sent_twenty_times_is_done_once(pair: Pair) -> None:
    """There is one outcome record and one set of event ids, and the state changes once."""
    system = pair.system

    def scene() -> None:
        users = [str(uuid4()) for _ in range(5)]
        registrations = [message(register(user), user) for user in users]
        system.do(*registrations)
        failures = [message(c.RecordLoginFailure(), user) for user in users]
        copies = [*registrations, *failures] * 20
        random.Random(users[0]).shuffle(copies)
        with pair.racing():
            system.send(*copies)
            outcomes = system.outcomes([*registrations, *failures])
        system.quiet()

        for user in users:
            assert len(system.repository.history(user)) == 2
            assert (system.user(user).failed_logins, system.user(user).version) == (1, 2)
        for sent, outcome in zip([*registrations, *failures], outcomes, strict=True):
            assert outcome.status is Status.ACCEPTED
            assert system.caused_by(sent) == event_ids([outcome])

    pair.share(scene)
    assert all(worker.process.poll() is None for worker in pair.workers)


def _in_many_cases(word: str) -> list[str]:
    """Return a word in all combinations of upper and lower case."""
    return ["".join(letters) for letters in product(*((x.lower(), x.upper()) for x in word))]


def test_one_address_registered_fifty_times_at_once_goes_to_one_user(pair: Pair) -> None:
    """In any letter case: one user, `EmailTaken` 49 times, and no user stored for the others."""
    system = pair.system

    def scene() -> None:
        word = "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=12))
        messages = [
            message(register(written), str(uuid4())) for written in islice(_in_many_cases(word), 50)
        ]
        parts = [messages[start : start + 10] for start in range(0, 50, 10)]
        with pair.racing():
            with ThreadPoolExecutor(5) as pool:
                list(pool.map(lambda part: system.send(*part), parts))
            outcomes = system.outcomes(messages)

        [winner] = [o.user_id for o in outcomes if o.status is Status.ACCEPTED]
        codes = [outcome.code for outcome in outcomes if outcome.status is Status.REJECTED]
        assert codes == [RejectionCode.EMAIL_TAKEN] * 49
        stored = system.load(
            users={sent.user_id for sent in messages}, addresses={f"{word}@example.com"}
        )
        assert stored.users.keys() == {winner}
        assert stored.addresses == {f"{word}@example.com": winner}
        told = sorted(event["type"].split(".")[2] for event in system.published(outcomes))
        assert told == ["CommandRejected"] * 49 + ["UserRegistered"]

    pair.share(scene)


@pytest.mark.timeout(120)
def test_no_update_of_one_user_is_lost_over_two_workers(pair: Pair) -> None:
    """Each of 200 commands has one outcome; versions and sequences are 1 to 201 without gaps."""
    system = pair.system

    def scene() -> None:
        user = str(uuid4())
        system.do(message(register(user), user))
        renamings = {
            number: message(c.UpdateProfile(first_name=f"Ada {number}"), user)
            for number in range(200)
        }
        system.send(*renamings.values())
        outcomes = system.outcomes([*renamings.values()], seconds=60)

        by_version = {outcome.version: outcome for outcome in outcomes}
        assert all(outcome.status is Status.ACCEPTED for outcome in outcomes)
        assert sorted(by_version) == list(range(2, 202))
        last = by_version[201].command_id
        [number] = [n for n, sent in renamings.items() if sent.command_id == last]
        assert (system.user(user).version, system.user(user).first_name) == (201, f"Ada {number}")
        sequences = [int(event["sequence"]) for event in system.published(outcomes)]
        assert sorted(sequences) == list(range(2, 202))
        assert len(system.repository.history(user, limit=1_000)) == 201

    pair.share(scene)


def test_an_update_that_overtakes_its_registration_waits_for_it(pair: Pair) -> None:
    """On a standard queue a command may arrive before the one that creates its user."""
    user = str(uuid4())
    update, registration = message(c.RecordLoginFailure(), user), message(register(user), user)
    pair.system.send(update)
    eventually(lambda: "later" in pair.told(update), what="the update waits")
    pair.system.send(registration)
    outcomes = pair.system.outcomes([registration, update])
    assert [(outcome.status, outcome.version) for outcome in outcomes] == [
        (Status.ACCEPTED, 1),
        (Status.ACCEPTED, 2),
    ]
