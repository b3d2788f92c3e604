"""A ban outlives the erasure of its user: the address stays banned, and is not stored."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from adapters.dynamodb.table import BANNED
from application.addresses import parse_address
from application.key_ring import KeyRing
from application.ports import CommandKey
from domain import commands as c
from tests.builders import HASH_KEYS, NOW, PASSWORD, token, uid
from tests.reliability.invariants import Stored
from tests.reliability.process import Process
from tests.reliability.scenarios import RESET_BY_EMAIL
from tests.reliability.wire import Wire
from tests.reliability.world import InProcessWorld, StandingClock, sent

ADDRESS = "ada@example.com"
NEW_KEY, OLD_KEY = b"the newer key of a rotation, longer", b"the older key of a rotation, longer"
HOUR = timedelta(hours=1)
FOR_AN_HOUR = c.BanUser("Spam", NOW + HOUR)
FOREVER = c.BanUser("Fraud")


class World:
    """One worker over a DynamoDB in this process; time moves only when the test says so."""

    def __init__(self) -> None:
        """Start a worker over an empty table."""
        self.aws = InProcessWorld()
        self.aws.clock = StandingClock(NOW)
        self.use_keys(HASH_KEYS)

    def use_keys(self, keys: KeyRing) -> None:
        """Replace the worker by one with these keys."""
        self.worker = Process(self.aws, Wire(), hash_keys=keys)

    def wait(self, time: timedelta) -> None:
        """Advance the clock."""
        self.aws.clock.time += time

    def send(self, command: c.Command, user: str | None, age: timedelta | None = None) -> str:
        """Send a command; return the code of its rejection, or how else it ended."""
        time = None if age is None else self.aws.clock.time - age
        each = sent(command, user, f"{len(self.aws.sent)}", time=time)
        self.aws.send(each)
        while self.worker.poll():
            pass
        outcome = self.worker.repository.outcome(CommandKey(each.user_id, each.command_id))
        assert outcome is not None
        if outcome.code is not None:
            return outcome.code.value
        return outcome.events[-1].type.split(".")[2]

    def register(self, user: str, address: str = ADDRESS) -> str:
        """Register a user with an address."""
        return self.send(c.RegisterUser(parse_address(address), "Ada", PASSWORD), user)

    def scrub(self) -> None:
        """Complete the scrub jobs."""
        for _ in range(4):
            self.wait(timedelta(seconds=31))
            self.worker.relay()
        assert not self.stored.entries

    @property
    def stored(self) -> Stored:
        """Everything that is stored."""
        return Stored.read(self.aws.items())

    @property
    def text(self) -> str:
        """Everything that is stored, as text."""
        return json.dumps(list(self.aws.items()))


@pytest.fixture
def world() -> World:
    """Ada is registered."""
    made = World()
    assert made.register("ada") == "UserRegistered"
    return made


def erase(world: World, ban: c.BanUser | None, *, scrub: bool = True) -> None:
    """Ban and erase Ada."""
    if ban is not None:
        assert world.send(ban, "ada") == "UserBanned"
    assert world.send(c.EraseUser(), "ada") == "UserErased"
    if scrub:
        world.scrub()


@pytest.mark.parametrize("scrub", [False, True], ids=["at once", "after the scrub"])
@pytest.mark.parametrize(
    "spelling", [ADDRESS, "ADA@example.com", " Ada@EXAMPLE.com ", "ada@\uff45xample.com"]
)
def test_the_address_of_a_banned_user_stays_banned(
    world: World, spelling: str, *, scrub: bool
) -> None:
    """In every spelling, and for each command that assigns an address."""
    erase(world, FOREVER, scrub=scrub)
    assert world.register("eve", spelling) == "EmailTaken"
    create = c.CreateUser(parse_address(spelling), "Eve", ("customer",))
    assert world.send(create, "eve") == "EmailTaken"
    assert world.register("eve", "eve@example.com") == "UserRegistered"
    change = c.RequestEmailChange(parse_address(spelling), uid("t"), token("t"), NOW + HOUR)
    assert world.send(change, "eve") == "EmailTaken"


def test_a_change_that_was_requested_before_the_ban_is_not_confirmed(world: World) -> None:
    """Two users request one address; one confirms first, and is banned and erased."""
    assert world.register("eve", "eve@example.com") == "UserRegistered"
    for user in ("ada", "eve"):
        change = c.RequestEmailChange(
            parse_address("new@example.com"), uid(user), token(user), NOW + HOUR
        )
        assert world.send(change, user) == "EmailChangeRequested"
    assert world.send(c.ConfirmEmailChange(token("ada")), "ada") == "EmailChanged"
    erase(world, FOREVER)
    assert world.send(c.ConfirmEmailChange(token("eve")), "eve") == "EmailTaken"


def test_the_address_is_free_when_the_ban_has_ended(world: World) -> None:
    """Until then it is not, and the second before the end counts."""
    erase(world, FOR_AN_HOUR)
    world.aws.clock.time = NOW + HOUR - timedelta(seconds=1)
    assert world.register("eve") == "EmailTaken"
    world.wait(timedelta(seconds=1))
    assert world.register("eve") == "UserRegistered"


def test_a_ban_that_ended_before_the_erasure_does_not_ban_the_address(world: World) -> None:
    """The address is free at once."""
    assert world.send(FOR_AN_HOUR, "ada") == "UserBanned"
    world.wait(HOUR)
    erase(world, None, scrub=False)
    assert world.register("eve") == "UserRegistered"
    assert not world.stored.banned


def test_the_address_of_a_user_who_was_not_banned_is_free(world: World) -> None:
    """At once, as without bans."""
    erase(world, None, scrub=False)
    assert world.register("eve") == "UserRegistered"


def test_a_lifted_ban_does_not_ban_the_address(world: World) -> None:
    """The erasure looks at the ban that is in force."""
    assert world.send(FOREVER, "ada") == "UserBanned"
    assert world.send(c.UnbanUser(), "ada") == "UserUnbanned"
    erase(world, None, scrub=False)
    assert world.register("eve") == "UserRegistered"


def test_unban_user_ends_the_ban_of_an_erased_user(world: World) -> None:
    """It names the erased user by id; the ban and its hash are deleted."""
    erase(world, FOREVER)
    assert world.send(c.UnbanUser(), "ada") == "UserUnbanned"
    assert world.send(c.UnbanUser(), "ada") == "UserErased"
    assert not world.stored.banned
    assert world.register("eve") == "UserRegistered"


def test_unban_user_does_not_end_a_ban_that_has_ended(world: World) -> None:
    """By then the address may belong to another user, with a ban of their own."""
    erase(world, FOR_AN_HOUR)
    world.wait(HOUR)
    assert world.register("eve") == "UserRegistered"
    assert world.send(FOREVER, "eve") == "UserBanned"
    assert world.send(c.EraseUser(), "eve") == "UserErased"
    world.scrub()
    assert world.send(c.UnbanUser(), "ada") == "UserErased"
    (ban,) = world.stored.banned.values()
    assert (ban.user_id, ban.until) == (uid("eve"), None)
    assert world.register("bob") == "EmailTaken"


def test_no_other_command_changes_an_erased_user_who_is_banned(world: World) -> None:
    """A new ban is rejected too: an erased user has no address that it could apply to."""
    erase(world, FOREVER)
    for command in (c.BanUser("Spam", NOW + HOUR), c.UpdateProfile("Eve"), c.ReactivateUser()):
        assert world.send(command, "ada") == "UserErased"


def test_an_expired_command_to_an_erased_user_leaves_no_fingerprint(world: World) -> None:
    """A fingerprint is derived from personal data, and no scrub follows."""
    erase(world, FOREVER)
    assert world.send(c.UnbanUser(), "ada", timedelta(hours=25)) == "CommandExpired"
    assert world.send(c.AssignRole("admin"), "ada", timedelta(hours=25)) == "CommandExpired"
    assert not any(outcome.fingerprint for outcome in world.stored.outcomes.values())


@pytest.mark.parametrize("scrub", [False, True], ids=["at once", "after the scrub"])
def test_a_banned_address_is_an_unknown_address(world: World, *, scrub: bool) -> None:
    """A reset has no effect, as for an address that no user ever had."""
    erase(world, FOREVER, scrub=scrub)
    assert world.send(RESET_BY_EMAIL, None) == "CommandHadNoEffect"
    assert world.worker.repository.get_by_email(parse_address(ADDRESS)) is None


def test_nothing_stored_has_the_address(world: World) -> None:
    """After the scrub; the ban has a keyed hash, the user's id and its end, and no reason."""
    world.wait(timedelta(minutes=1))
    erase(world, FOR_AN_HOUR)
    assert world.register("eve") == "EmailTaken"
    world.scrub()
    assert "UserErased" in world.text
    (item,) = [item for item in world.aws.items() if item["sk"]["S"] == BANNED]
    assert item.keys() == {"pk", "sk", "schema", "user_id", "until", "expires_at"}
    # what eve sent stays for as long as every outcome does: it is not about the erased user
    rest = json.dumps([each for each in world.aws.items() if uid("eve") not in json.dumps(each)])
    for personal in ("ada@", "example.com", "Ada", "Lovelace", "Spam", PASSWORD.value):
        assert personal.lower() not in rest.lower()
    ((_, ban),) = world.stored.banned.items()
    assert int(item["expires_at"]["N"]) > (NOW + HOUR).timestamp()
    assert ban.address_hash == HASH_KEYS.address_hash(ADDRESS)


def test_a_ban_is_found_by_the_old_key_too(world: World) -> None:
    """New bans are stored by the new key; without the old key the old ban is lost."""
    world.use_keys(KeyRing((OLD_KEY,)))
    erase(world, FOREVER)
    world.use_keys(KeyRing((NEW_KEY, OLD_KEY)))
    assert world.register("eve") == "EmailTaken"
    assert world.register("eve", "eve@example.com") == "UserRegistered"
    assert world.send(FOREVER, "eve") == "UserBanned"
    assert world.send(c.EraseUser(), "eve") == "UserErased"
    world.scrub()
    world.use_keys(KeyRing((NEW_KEY,)))
    assert world.register("bob", "eve@example.com") == "EmailTaken"
    assert world.register("bob") == "UserRegistered"


def test_a_ban_that_cannot_be_read_delays_the_registration(world: World) -> None:
    """It is not ignored: the command is retried until an operator has corrected the item."""
    erase(world, FOREVER)
    key = (f"BANNED#{HASH_KEYS.address_hash(ADDRESS)}", BANNED)
    world.aws.dynamodb.items[key] = {**world.aws.dynamodb.items[key], "schema": {"N": "99"}}
    each: Any = sent(c.RegisterUser(parse_address(ADDRESS), "Eve", PASSWORD), "eve")
    world.aws.send(each)
    world.worker.poll()
    assert world.worker.repository.outcome(CommandKey(each.user_id, each.command_id)) is None
    assert world.aws.waiting() == 1


def test_a_ban_that_ends_in_the_batch_of_the_erasure_leaves_no_trace(world: World) -> None:
    """The address is held all the same, so that the order of the commands alone decides."""
    world.aws.send(*(sent(each, "ada") for each in (FOREVER, c.EraseUser(), c.UnbanUser())))
    while world.worker.poll():
        pass
    assert not world.stored.banned
    assert world.register("eve") == "EmailTaken"
    world.scrub()
    assert world.register("eve", "ADA@example.com") == "UserRegistered"


def test_ban_and_erasure_in_one_batch(world: World) -> None:
    """The ban is in force when the erasure is decided."""
    world.aws.send(sent(FOREVER, "ada"), sent(c.EraseUser(), "ada"))
    while world.worker.poll():
        pass
    assert world.register("eve") == "EmailTaken"
    world.scrub()
    assert world.register("eve", "ADA@example.com") == "EmailTaken"
