"""The worked example of docs/reference/compatibility.md.

BanUser gets a version 2, for these tests alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest

from application.disposition import Ack, DeadLetter
from application.messages import MalformedMessageError, MessageParser, UnknownTypeError
from application.messages.upcasting import FormerCommand
from application.ports import CommandKey
from domain import handlers
from domain.commands import COMMANDS, AnyRoleName, BanUser, Command, EndTime, Reason, message_type
from domain.user import Events, User
from tests.builders import message, uid
from tests.unit.application.messages.examples import PARSER
from tests.unit.application.test_batch import World, command, registration

V1, V2 = "biome.user.BanUser.v1", "biome.user.BanUser.v2"


# --- the new version, as in the page ---
@dataclass(frozen=True, slots=True)
class BanUserV2(Command):
    """Shut the user out, for a time or for good; `ground` is one of a list."""

    ground: AnyRoleName
    reason: Reason
    until: EndTime | None = None


def ban_from_v1(old: BanUser) -> BanUserV2:
    """Nobody said on which ground."""
    return BanUserV2("other", old.reason, old.until)


# --- end of it ---
NEWEST = {kind: each for kind, each in COMMANDS.items() if kind != V1} | {V2: BanUserV2}
AFTER = MessageParser(["customer"], NEWEST, {V1: FormerCommand(BanUser, ban_from_v1)})


def ban(kind: str = V1, *, name: str = "ban", **data: Any) -> str:
    """Render the body of a ban of u1."""
    event = {"specversion": "1.0", "id": uid(name), "source": "/admin", "subject": uid("u1")}
    return json.dumps({**event, "type": kind, "data": data})


@pytest.fixture
def after(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The same store, with a worker that knows version 2."""
    deployed = World(store=world.store)
    deployed.handler._parser = AFTER
    known_change = handlers._change

    def change(user: User, asked: Command, context: handlers.Context) -> Events:
        if isinstance(asked, BanUserV2):
            return user.impose_ban(asked.reason, asked.until, context.now)
        return known_change(user, asked, context)

    monkeypatch.setattr(handlers, "_change", change)
    return deployed


@pytest.fixture
def world() -> World:
    """A worker of the previous release, and u1."""
    world = World()
    assert world.handle(registration("u1")) == [Ack()]
    return world


@pytest.mark.parametrize(
    ("class_name", "kind"),
    [("BanUser", V1), ("BanUserV2", V2), ("BanUserV12", "biome.user.BanUser.v12")],
)
def test_the_version_is_in_the_name_of_the_class(class_name: str, kind: str) -> None:
    """This allows two versions of a class beside each other."""
    assert message_type(class_name) == kind


def test_version_1_becomes_version_2_with_the_fingerprint_of_version_1() -> None:
    """The sent message decides whether two messages are the same, not the upcast one."""
    body = message(ban(reason="spam", until="2027-01-01T00:00:00Z"))

    before, now = PARSER.parse(body), AFTER.parse(body)

    assert now.command == BanUserV2("other", "spam", datetime.fromisoformat("2027-01-01T00Z"))
    assert now.content_hash == before.content_hash
    assert (now.type, now.command.type) == (V1, V2)
    assert replace(now, command=before.command, sent_as=None) == before


def test_version_2_is_accepted_unchanged() -> None:
    """It needs its own fields, and is another command than version 1."""
    body = ban(V2, ground="fraud", reason="spam")

    now = AFTER.parse(message(body))

    assert (now.command, now.type) == (BanUserV2("fraud", "spam"), V2)
    assert now.content_hash != PARSER.parse(message(ban(reason="spam"))).content_hash


@pytest.mark.parametrize(
    ("kind", "data", "detail"),
    [
        (V1, {}, "data.reason: is missing"),
        (
            V1,
            {"reason": "spam", "ground": "fraud"},
            "data: has an unknown field; known are: reason",
        ),
        (V1, {"reason": 7}, "data.reason: must be a string"),
        (V2, {"reason": "spam"}, "data.ground: is missing"),
    ],
)
def test_each_version_is_checked_by_its_own_rules(
    kind: str, data: dict[str, Any], detail: str
) -> None:
    """A malformed message of the old version is dead-lettered for the same reason as before."""
    with pytest.raises(MalformedMessageError, match=detail):
        AFTER.parse(message(ban(kind, **data)))


def test_a_worker_of_before_leaves_version_2_for_later() -> None:
    """A producer may be deployed while old workers still run."""
    with pytest.raises(UnknownTypeError):
        PARSER.parse(message(ban(V2, ground="fraud", reason="spam")))


def test_versions_are_brought_up_step_by_step() -> None:
    """A third version needs one more step, from the second."""

    @dataclass(frozen=True, slots=True)
    class BanUserV3(Command):
        ground: AnyRoleName

    former = {
        V1: FormerCommand(BanUser, ban_from_v1),
        V2: FormerCommand(BanUserV2, lambda old: BanUserV3(old.ground)),
    }
    parser = MessageParser([], {BanUserV3.type: BanUserV3}, former)

    assert parser.parse(message(ban(reason="spam"))).command == BanUserV3("other")


def test_a_redelivery_across_the_deployment_is_a_duplicate(world: World, after: World) -> None:
    """The old worker decided it, and the new one receives it again without effect."""
    sent = message(ban(reason="spam"))
    assert world.handle(sent) == [Ack()]

    assert after.handle(sent) == [Ack()]

    assert world.published() == ["UserRegistered", "UserBanned"]
    assert after.published() == []


def test_another_command_under_its_id_is_still_a_mistake(world: World, after: World) -> None:
    """An upcast must not make two commands look equal, nor a command like its newer form."""
    assert world.handle(message(ban(reason="spam"))) == [Ack()]

    for body in (ban(reason="fraud"), ban(V2, ground="other", reason="spam")):
        (settled,) = after.handle(message(body))
        assert isinstance(settled, DeadLetter)
        assert settled.code == "CommandIdReused"


def test_the_answer_names_the_type_that_was_sent(after: World) -> None:
    """A producer of version 1 does not know version 2."""
    assert after.handle(message(ban(reason="spam"))) == [Ack()]
    assert after.handle(message(ban(name="again", reason="spam"))) == [Ack()]
    unknown = json.loads(ban(name="nobody", reason="spam")) | {"subject": uid("nobody")}
    assert after.handle(message(json.dumps(unknown), receives=5)) == [Ack()]

    assert after.published() == ["UserBanned", "CommandHadNoEffect", "CommandRejected"]
    answers = [json.loads(each.body)["data"] for each in after.publisher.published[1:]]
    assert [answer["command_type"] for answer in answers] == [V1, V1]
    outcome = after.repository.outcome(CommandKey(uid("u1"), uid("ban")))
    assert outcome is not None
    assert outcome.command_type == V1


def test_old_and_new_mix_in_one_batch(after: World) -> None:
    """They change the same user, in order."""
    lift = command("UnbanUser", "u1")
    newer = message(ban(V2, name="newer", ground="fraud", reason="again"))

    assert after.handle(message(ban(reason="spam")), lift, newer) == [Ack()] * 3

    user = after.repository.get(uid("u1"))
    assert user is not None
    assert user.ban is not None
    assert user.ban.reason == "again"
