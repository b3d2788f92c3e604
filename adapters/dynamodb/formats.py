"""The numbered formats of items: how older formats are read, and which one is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from adapters.dynamodb.attributes import Attributes
from adapters.errors import MalformedItemError

if TYPE_CHECKING:
    from adapters.dynamodb.table import Item

    Cast: TypeAlias = Callable[[Item], Item]
    """Converts an item to an adjacent format; does not change its argument."""
    Parse: TypeAlias = Callable[[Item, "ItemFormat"], Any]
    """Parses an item of any known format; raises MalformedItemError if it is invalid."""

SCHEMA: Final = "schema"
"""The attribute that holds the format number."""
_NOT_AS_NEEDED: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Errors that a conversion raises if an item lacks what it needs."""


@dataclass(frozen=True, slots=True)
class ItemFormat:
    """How items of a kind are read and written, and the conversions between their formats.

    A change takes two releases, because workers of both versions run at the same time: the first
    release reads the newer format, and writes it only for what the older cannot hold; the second
    always writes it. For the first, raise `number`, let the mapper read and write the newer format,
    and add the upcast from the older number and the downcast from the newer; for the second, remove
    the downcast. See "A stored item gets a new format" in docs/reference/compatibility.md.
    """

    kind: str
    number: int = 1
    """The newest known format, which the mapper reads and renders."""
    upcasts: Mapping[int, Cast] = field(default_factory=dict)
    """By the number that they convert from; each result is one format higher."""
    downcasts: Mapping[int, Cast] = field(default_factory=dict)
    """By the number that they convert from; each result is one format lower."""

    def __post_init__(self) -> None:
        """Check that the downcasts form a chain from the newest format, each with its upcast.

        Raises:
            ValueError: they do not, so some would never be used.
        """
        chain = range(self.number, self.number - len(self.downcasts), -1)
        if set(self.downcasts) != set(chain) or any(n - 1 not in self.upcasts for n in chain):
            raise ValueError(f"{self.kind} items: a downcast has no upcast, or is out of the chain")

    @property
    def writes(self) -> int:
        """The format number that items are written in, if that format can hold their content."""
        return self.number - len(self.downcasts)

    def read(self, item: Item) -> Attributes:
        """Return an item's attributes in the newest format.

        Raises:
            MalformedItemError: see `upcast`.
        """
        return Attributes(self.kind, self.upcast(item))

    def upcast(self, item: Item, to: int | None = None) -> Item:
        """Return an item in the newest format, or format `to`; unchanged if it is in that or above.

        Raises:
            MalformedItemError: the format number is missing, too high or without an upcast, or the
                item lacks what the upcast needs.
        """
        attributes = Attributes(self.kind, item)
        number = attributes.integer(SCHEMA)
        if number > self.number:
            raise attributes.malformed(SCHEMA, f"is of a later format than {self.number}")
        goal = self.number if to is None else to
        while number < goal:
            upcast = self.upcasts.get(number)
            if upcast is None:
                raise attributes.malformed(SCHEMA, f"has no upcast to format {goal}")
            try:
                item = upcast(item)
            except _NOT_AS_NEEDED:
                # without its cause, which may contain a value
                rule = f"is {number}, but the item lacks an attribute that its upcast needs"
                raise attributes.malformed(SCHEMA, rule) from None
            number += 1
            item = _numbered(item, number)
        return item

    def written(self, item: Item, parse: Parse) -> Item:
        """Return an item of the newest format as it is to be stored.

        That is the oldest format that is still written and loses nothing: `parse` must read the
        same from it as from `item`. So no worker drops what a newer one has stored, and nothing is
        stored in the newer format before that is necessary.
        """
        if not self.downcasts:
            return item
        meant, stored = parse(item, self), item
        for number in range(self.number, self.writes, -1):
            try:
                older = _numbered(self.downcasts[number](stored), number - 1)
                if parse(older, self) != meant:
                    break
            except (*_NOT_AS_NEEDED, MalformedItemError):
                break
            stored = older
        return stored


def _numbered(item: Item, number: int) -> Item:
    return {**item, SCHEMA: {"N": str(number)}}


def _with_token_family(session: Item) -> Item:
    """Convert a session whose refresh tokens have no part in common.

    Its current token is taken for both parts of a token. The user of such a session has no list of
    live sessions, so the session has ended.
    """
    token = Attributes("session", session).text("refresh_token_hash")
    removed = {"refresh_token_hash", "used_token_hashes", "session_epoch"}
    return {
        **{name: value for name, value in session.items() if name not in removed},
        "refresh_family_hash": {"S": token},
        "refresh_token_hashes": {"S": token[:32]},
    }


def _unchanged(item: Item) -> Item:
    return item


def _without_address(item: Item) -> Item:
    return {name: value for name, value in item.items() if name != "address"}


USER_FORMAT: Final = ItemFormat("user")
SESSION_FORMAT: Final = ItemFormat("session", 2, {1: _with_token_family})
TWO_FACTOR_FORMAT: Final = ItemFormat("two factor")
ADDRESS_FORMAT: Final = ItemFormat("address")
BANNED_FORMAT: Final = ItemFormat("banned address")
OUTCOME_FORMAT: Final = ItemFormat("outcome", 2, {1: _unchanged})
"""Format 2 has a keyed fingerprint. A worker that does not know it would take a redelivery for
another command, and dead-letter it; it has no downcast, which would store a plain hash."""
POINTER_FORMAT: Final = ItemFormat("outbox pointer", 2, {1: _unchanged}, {2: _without_address})
"""Format 2 has `address`. A relay that does not know it would store the entry without it."""
