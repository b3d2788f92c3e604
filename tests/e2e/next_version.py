"""A simulated next release of the worker: a second version of a command, and of an item.

BanUser.v2 and the bans of users of format 2 have a `ground`. They use the hooks that every such
change uses, `application/messages/upcasting.py` and `adapters/dynamodb/formats.py`. `EXPANDED` is
the release that knows both versions, and writes format 1 if it can represent the item; `NEXT`, the
release after it, writes format 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Final

from adapters.dynamodb import mapper
from adapters.dynamodb.formats import ItemFormat
from application.messages import MessageParser
from application.messages.upcasting import FormerCommand
from domain import handlers
from domain.commands import COMMANDS, AnyRoleName, BanUser, Command, EndTime, Reason
from domain.user import Ban, Events, User
from operations.migration.kinds import KINDS, Kind
from worker import bootstrap

OLD: Final = "old"
EXPANDED: Final = "expanded"
NEXT: Final = "next"
NOBODY_SAID: Final = "other"
"""The ground of a ban of version 1."""


@dataclass(frozen=True, slots=True)
class BanUserV2(Command):
    """Ban the user, with a ground."""

    ground: AnyRoleName
    reason: Reason
    until: EndTime | None = None


@dataclass(frozen=True, slots=True)
class GroundedBan(Ban):
    """A ban with its ground."""

    ground: str


def _ban_from_v1(old: BanUser) -> BanUserV2:
    return BanUserV2(NOBODY_SAID, old.reason, old.until)


COMMANDS_NEXT: Final = {k: v for k, v in COMMANDS.items() if v is not BanUser} | {
    BanUserV2.type: BanUserV2
}
FORMER: Final = {BanUser.type: FormerCommand(BanUser, _ban_from_v1)}


# --- the item ------------------------------------------------------------------------------


def _with_ground(item: Any) -> Any:
    item = deepcopy(item)
    if "ban" in item:
        item["ban"]["M"]["ground"] = {"S": NOBODY_SAID}
    return item


def _without_ground(item: Any) -> Any:
    item = deepcopy(item)
    item.get("ban", {"M": {}})["M"].pop("ground", None)
    return item


NEXT_FORMAT: Final = ItemFormat("user", 2, {1: _with_ground})
EXPANDED_FORMAT: Final = replace(NEXT_FORMAT, downcasts={2: _without_ground})
_render, _parse = mapper.render_user, mapper.parse_user


def parse_user(item: Any, item_format: ItemFormat = NEXT_FORMAT) -> Any:
    """Parse a user, with the ground of a ban."""
    item = item_format.upcast(item)
    user = _parse(item, item_format)
    if user.ban is not None:
        user.ban = GroundedBan(user.ban.reason, user.ban.until, item["ban"]["M"]["ground"]["S"])
    return user


def _render_for(item_format: ItemFormat) -> Any:
    def render_user(user: Any) -> Any:
        item: Any = {**_render(user), "schema": {"N": "2"}}
        if user.ban is not None:
            item["ban"]["M"]["ground"] = {"S": user.ban.ground}
        return item_format.written(item, parse_user)

    return render_user


KINDS_NEXT: Final[Mapping[str, Kind]] = {
    **KINDS,
    "user": replace(KINDS["user"], item_format=NEXT_FORMAT, parse=parse_user),
}


# --- the release ---------------------------------------------------------------------------


def _ban(user: User, asked: BanUserV2, context: handlers.Context) -> Events:
    events = user.impose_ban(asked.reason, asked.until, context.now)
    if events:
        user.ban = GroundedBan(asked.reason, asked.until, asked.ground)
    return events


def become(release: str) -> None:
    """Turn this process into one of the given release."""
    if release == OLD:
        return
    item_format = {EXPANDED: EXPANDED_FORMAT, NEXT: NEXT_FORMAT}[release]
    known: Any = {"render_user": _render_for(item_format), "parse_user": parse_user}
    for name, value in known.items():
        setattr(mapper, name, value)
    parser: Any = lambda roles: MessageParser(roles, COMMANDS_NEXT, FORMER)  # noqa: E731
    setattr(bootstrap, "MessageParser", parser)  # noqa: B010  # not for mypy to know
    known_change = handlers._change

    def change(user: User, command: Command, context: handlers.Context) -> Events:
        if isinstance(command, BanUserV2):
            return _ban(user, command, context)
        return known_change(user, command, context)

    setattr(handlers, "_change", change)  # noqa: B010  # as above
