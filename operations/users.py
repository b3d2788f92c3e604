"""Read a user and the outcomes of their commands."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from application.addresses import parse_address
from application.key_ring import KeyRing
from application.ports import CommandKey
from application.repository import BannedAddress, LoadRequest, Outcome, UserRepository
from domain.errors import InvalidValueError
from domain.user import User
from domain.values import EmailAddress, parse_id
from worker.errors import UsageError


def parse_user(text: str) -> str | EmailAddress:
    """Return the user's id or e-mail address.

    Raises:
        UsageError: the text is neither.
    """
    try:
        return parse_address(text) if "@" in text else parse_id(text)
    except InvalidValueError as error:
        raise UsageError(f"invalid user: {error}", "use a user id or an e-mail address") from None


def find_user(repository: UserRepository, who: str | EmailAddress) -> User | None:
    """Return the user with this id or e-mail address; `None` if not found."""
    return repository.get(who) if isinstance(who, str) else repository.get_by_email(who)


def find_ban(
    repository: UserRepository, address: EmailAddress, keys: KeyRing, now: datetime
) -> BannedAddress | None:
    """Return the ban in force of an address whose user was erased; `None` if there is no ban."""
    found = repository.load(LoadRequest(banned={*keys.address_hashes(address.key)}))
    return next((ban for ban in found.banned.values() if ban.is_in_force(now)), None)


class History(NamedTuple):
    """Outcomes of a user's commands, newest first."""

    outcomes: list[Outcome]
    continues: bool
    """Whether there are older outcomes."""


def read_history(
    repository: UserRepository, user_id: str, limit: int, before: str | None = None
) -> History:
    """Return up to `limit` outcomes, only those older than the command `before` if it is given.

    Raises:
        UsageError: `before` is not a command of the user.
    """
    last = None
    if before is not None:
        last = repository.outcome(CommandKey(user_id, before))
        if last is None:
            raise UsageError("--before is not a command of this user", "use an id of the history")
    found = repository.history(user_id, limit + 1, last)  # one more, to detect older ones
    return History(found[:limit], len(found) > limit)
