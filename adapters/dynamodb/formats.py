"""The numbered formats of items: how older ones are read, and which one is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from adapters.dynamodb.attributes import Attributes
from adapters.dynamodb.errors import MalformedItemError

if TYPE_CHECKING:
    from adapters.dynamodb.table import Item

    Cast: TypeAlias = Callable[[Item], Item]
    """Takes an item of one format and gives it in a next one; leaves its argument as it is."""
    Parse: TypeAlias = Callable[[Item, "ItemFormat"], Any]
    """Reads an item of any format that is known; raises MalformedItemError if it is none."""

SCHEMA: Final = "schema"
"""The attribute with the number of the format."""
_NOT_AS_NEEDED: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a cast raises on an item that lacks what it takes."""


@dataclass(frozen=True, slots=True)
class ItemFormat:
    """How items of a kind are read and written, and the ways between their formats.

    A change takes two releases, for the sake of the workers that run beside: the first knows the
    newer format, and writes it only for what the older cannot say; the second writes it always.
    For the first, raise `number`, have the mapper read and write the newer format, and add the
    upcast from the older number and the downcast from the newer; for the second, take the
    downcast away. See "A stored item gets a new format" in docs/compatibility.md.
    """

    kind: str
    number: int = 1
    """The newest that is known: what the mapper reads and renders."""
    upcasts: Mapping[int, Cast] = field(default_factory=dict)
    """By the number they start from; each ends one higher."""
    downcasts: Mapping[int, Cast] = field(default_factory=dict)
    """By the number they start from; each ends one lower."""

    def __post_init__(self) -> None:
        """See that the ways down are a chain from the newest format, each with its way back up.

        Raises:
            ValueError: they are not, and would never be taken.
        """
        chain = range(self.number, self.number - len(self.downcasts), -1)
        if set(self.downcasts) != set(chain) or any(n - 1 not in self.upcasts for n in chain):
            raise ValueError(f"{self.kind} items: a downcast has no upcast, or is out of the chain")

    @property
    def writes(self) -> int:
        """The number of the format that items are written in, if it can say what is in them."""
        return self.number - len(self.downcasts)

    def read(self, item: Item) -> Attributes:
        """Give an item's attributes in the newest format.

        Raises:
            MalformedItemError: as `upcast`.
        """
        return Attributes(self.kind, self.upcast(item))

    def upcast(self, item: Item, to: int | None = None) -> Item:
        """Give an item in the newest format, or format `to`: itself, if it is in that or above.

        Raises:
            MalformedItemError: no number, one of a later worker's, one without a way up, or the
                item is not what the upcast from its number takes.
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
                # without its cause: that may tell a value
                rule = f"is {number}, and the item is not as its upcast needs it"
                raise attributes.malformed(SCHEMA, rule) from None
            number += 1
            item = _numbered(item, number)
        return item

    def written(self, item: Item, parse: Parse) -> Item:
        """Give an item of the newest format as it is to be stored.

        That is the oldest format that is still written and loses nothing: what `parse` reads from
        it has to be what it reads from `item`. So no worker drops what a newer one has stored,
        and nothing is in the newer format before it needs to be.
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


USER_FORMAT: Final = ItemFormat("user")
SESSION_FORMAT: Final = ItemFormat("session")
TWO_FACTOR_FORMAT: Final = ItemFormat("two factor")
ADDRESS_FORMAT: Final = ItemFormat("address")
OUTCOME_FORMAT: Final = ItemFormat("outcome")
POINTER_FORMAT: Final = ItemFormat("outbox pointer")
