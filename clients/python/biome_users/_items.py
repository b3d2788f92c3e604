"""Read the stored items of users: attributes in DynamoDB JSON, of every format that exists.

The attributes are described in docs/how-to/reading.md. An error names the attribute, never its
value.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from biome_users.errors import UnreadableError
from biome_users.views import OutcomeView, SessionView, UserView

RawItem: TypeAlias = Mapping[str, Any]
_NATURAL: Final = re.compile("[0-9]+")
_WHOLE: Final = re.compile("-?[0-9]+")
PART_DIGITS: Final = 32
"""Hexadecimal digits of the stored hash of the part of a refresh token that is replaced."""


class Item:
    """The attributes of an item of one kind; an absent attribute is `None` or the default."""

    def __init__(self, kind: str, values: RawItem, newest: int = 1, path: str = "") -> None:
        """Read an item, or a map in it at `path`.

        Raises:
            UnreadableError: the item is of a later format than `newest`.
        """
        self._kind = kind
        self._values = values
        self._path = path
        self.format = newest if path else self.number("schema")
        if not 1 <= self.format <= newest:
            raise self.unreadable("schema", f"is not a format from 1 to {newest}")

    def text(self, name: str) -> str:
        """Return a string that must be present."""
        value = self.optional_text(name)
        if value is None:
            raise self.unreadable(name, "is missing")
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a string."""
        value = self._value(name, "S", str)
        return None if value is None else str(value)

    def words(self, name: str) -> tuple[str, ...]:
        """Return the words of a string."""
        return tuple((self.optional_text(name) or "").split())

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings."""
        values = self._value(name, "L", list) or []
        if not all(isinstance(value, dict) and isinstance(value.get("S"), str) for value in values):
            raise self.unreadable(name, "must be a list (L) of strings (S)")
        return tuple(value["S"] for value in values)

    def flag(self, name: str) -> bool:
        """Return a boolean."""
        return bool(self._value(name, "BOOL", bool))

    def number(self, name: str, default: int | None = None) -> int:
        """Return a whole number that is not negative."""
        if default is not None and name not in self._values:
            return default
        return self._number(name, _NATURAL)

    def epoch(self, name: str) -> datetime:
        """Return a time in epoch seconds, which are negative before 1970."""
        try:
            return datetime.fromtimestamp(self._number(name, _WHOLE), UTC)
        except (ValueError, OverflowError, OSError):
            raise self.unreadable(name, "must be a time in epoch seconds") from None

    def time(self, name: str) -> datetime | None:
        """Return a time with offset, in UTC."""
        text = self.optional_text(name)
        if text is None:
            return None
        try:
            time = datetime.fromisoformat(text)
            if time.tzinfo is not None:
                return time.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        raise self.unreadable(name, "must be an RFC 3339 time with offset")

    def nested(self, name: str) -> Item | None:
        """Return a map."""
        value = self._value(name, "M", dict)
        return None if value is None else Item(self._kind, value, path=f"{self._path}{name}.")

    def _value(self, name: str, letter: str, kind: type) -> Any:
        if (value := self._values.get(name)) is None:
            return None
        if not isinstance(value, dict) or not isinstance(value.get(letter), kind):
            raise self.unreadable(name, f"must be of DynamoDB's type {letter}")
        return value[letter]

    def _number(self, name: str, form: re.Pattern[str]) -> int:
        text = self._value(name, "N", str)
        if text is None:
            raise self.unreadable(name, "is missing")
        if not form.fullmatch(text):
            raise self.unreadable(name, "must be a whole number (N)")
        return int(text)

    def unreadable(self, name: str, rule: str) -> UnreadableError:
        """Return an error that names the attribute and the rule."""
        return UnreadableError(f"{self._kind} item, attribute {self._path}{name}: {rule}")


def parse_user(raw: RawItem) -> UserView:
    """Return the view of a user.

    Raises:
        UnreadableError: the item is invalid.
    """
    item = Item("user", raw)
    ban = item.nested("ban")
    return UserView(
        user_id=item.text("user_id"),
        version=item.number("version"),
        email=item.optional_text("email"),
        first_name=item.text("first_name"),
        last_name=item.text("last_name"),
        email_verified=item.flag("email_verified"),
        password_hash=item.optional_text("password_hash"),
        credential_version=item.number("credential_version", 0),
        roles=item.texts("roles"),
        locked_until=item.time("locked_until"),
        banned=ban is not None,
        banned_until=None if ban is None else ban.time("until"),
        deactivated=item.flag("deactivated"),
        erased=item.flag("erased"),
        two_factor_enabled=item.flag("two_factor_enabled"),
        password_hash_legacy=item.flag("password_hash_legacy"),
        locale=item.optional_text("locale"),
        time_zone=item.optional_text("time_zone"),
        live_sessions=tuple(live_sessions(raw)),
    )


def live_sessions(raw: RawItem) -> dict[str, datetime]:
    """Return the sessions of a user that have not ended, oldest first, and when they expire.

    Raises:
        UnreadableError: the item is invalid.
    """
    item = Item("user", raw)
    found: dict[str, datetime] = {}
    for word in item.words("live_sessions"):
        session_id, _, end = word.partition(":")
        try:
            found[session_id] = datetime.fromtimestamp(int(end), UTC)
        except (ValueError, OverflowError, OSError):
            raise item.unreadable("live_sessions", "has an invalid time") from None
    return found


def last_totp_step(raw: RawItem) -> int:
    """Return the step of the last one-time password of a user; 0 before the first one."""
    return Item("user", raw).number("last_totp_step", 0)


def parse_secret(raw: RawItem) -> str:
    """Return the ciphertext of a second factor's secret."""
    return Item("two factor", raw).text("secret_ciphertext")


def parse_owner(raw: RawItem) -> str | None:
    """Return the id of the user that has an address; `None` if it is held for an erased user."""
    item = Item("address", raw)
    owner = item.text("user_id")
    return None if item.flag("held") else owner


def parse_outcome(raw: RawItem) -> OutcomeView:
    """Return the view of an outcome. Codes that this version does not know are valid."""
    item = Item("outcome", raw, newest=2)
    status, code = item.text("status"), item.optional_text("code")
    if (status, code is None) not in {("accepted", True), ("rejected", False)}:
        raise item.unreadable("status", "must be accepted, or rejected with a code")
    command_id = item.text("sk").removeprefix("COMMAND#")
    return OutcomeView(command_id, code, item.number("version"))


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session with its hashes, which are hashed once more than in commands."""

    view: SessionView
    family: str | None = field(repr=False)
    """`None` if it was not read."""
    parts: tuple[str, ...] = field(repr=False)
    """The live parts."""
    replaced: str | None = field(repr=False)
    replaced_at: datetime | None

    @classmethod
    def parse(cls, raw: RawItem, *, credentials: bool) -> StoredSession:
        """Read a session; without credentials, its hashes were not requested.

        Raises:
            UnreadableError: the item is invalid.
        """
        item = Item("session", raw, newest=2)
        view = SessionView(
            item.text("session_id"),
            item.time("started_at"),
            item.time("last_used_at"),
            item.epoch("expires_at"),
            item.words("methods"),
            item.optional_text("device"),
        )
        family: str | None = None
        parts: tuple[str, ...] = ()
        if credentials and item.format == 1:  # one token, which stands for both of its parts
            family = item.text("refresh_token_hash")
            parts = (family[:PART_DIGITS],)
        elif credentials:
            family, parts = item.text("refresh_family_hash"), item.words("refresh_token_hashes")
        replaced = item.optional_text("replaced_token_hash") if credentials else None
        return cls(view, family, parts, replaced, item.time("replaced_at"))

    def has_family(self, family_hash: str) -> bool:
        """Return True if a token has the secret that all tokens of this session share."""
        return self.family is not None and _equal(self.family, at_rest(family_hash))

    def accepts(self, token_hash: str, now: datetime, leeway: timedelta) -> bool:
        """Return True if a part is live, or was replaced last and less than `leeway` ago."""
        part = at_rest(token_hash)[:PART_DIGITS]
        matches = [_equal(each, part) for each in self.parts]
        if any(matches):
            return True
        replaced = self.replaced is not None and _equal(self.replaced, part)
        # the part was replaced in the future if a clock was set back, or a worker's is ahead
        recent = self.replaced_at is not None and abs(now - self.replaced_at) < leeway
        return replaced and recent


def at_rest(token_hash: str) -> str:
    """Return the hash that the table has for a hash of a command."""
    return hashlib.sha256(bytes.fromhex(token_hash)).hexdigest()


def _equal(stored: str, presented: str) -> bool:
    return hmac.compare_digest(stored.encode(), presented.encode())
