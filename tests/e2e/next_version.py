"""What a next version of the worker might bring: a second version of a command, and of an item.

BanUser.v2 has a `ground`, and users of format 2 have a `locale`: by the hooks that each such change
goes through, `worker/messages/upcasting.py` and `adapters/dynamodb/formats.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from adapters.dynamodb import mapper
from adapters.dynamodb.formats import ItemFormat
from adapters.dynamodb.migration import KINDS, Kind
from domain import handlers
from domain.commands import COMMANDS, AnyRoleName, BanUser, Command, Reason
from worker import bootstrap
from worker.messages import MessageParser
from worker.messages.upcasting import FormerCommand


@dataclass(frozen=True, slots=True)
class BanUserV2(Command):
    """Shut the user out, on one of some grounds."""

    ground: AnyRoleName
    reason: Reason
    until: datetime | None = None


def _ban_from_v1(old: BanUser) -> BanUserV2:
    return BanUserV2("other", old.reason, old.until)


def _with_locale(item: Any) -> Any:
    return {**item, "locale": {"S": "en"}}


COMMANDS_NEXT: Final = {k: v for k, v in COMMANDS.items() if v is not BanUser} | {
    BanUserV2.type: BanUserV2
}
FORMER: Final = {BanUser.type: FormerCommand(BanUser, _ban_from_v1)}
USER_FORMAT_NEXT: Final = ItemFormat("user", 2, {1: _with_locale})
KINDS_NEXT: Final[Mapping[str, Kind]] = {
    **KINDS,
    "user": replace(KINDS["user"], item_format=USER_FORMAT_NEXT),
}


def become_next() -> None:
    """Make this process one of the next version."""
    render = mapper.render_user
    known: Any = {
        "USER_FORMAT": USER_FORMAT_NEXT,
        "render_user": lambda user: _with_locale(render(user)),
    }
    for name, value in known.items():
        setattr(mapper, name, value)
    mapper.parse_user.__defaults__ = (USER_FORMAT_NEXT,)
    parser: Any = lambda roles: MessageParser(roles, COMMANDS_NEXT, FORMER)  # noqa: E731
    setattr(bootstrap, "MessageParser", parser)  # noqa: B010  # not for mypy to know
    by_type: Any = handlers._HANDLERS
    by_type[BanUserV2] = lambda user, asked, context: user.impose_ban(
        asked.reason, asked.until, context.now
    )
