"""The numbered formats of items, and how older ones are brought up to date when read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from adapters.dynamodb.attributes import Attributes

if TYPE_CHECKING:
    from adapters.dynamodb.table import Item

    Upcast: TypeAlias = Callable[[Item], Item]
    """Takes an item of one format and gives it in the next; leaves its argument as it is."""

SCHEMA: Final = "schema"
"""The attribute with the number of the format."""


@dataclass(frozen=True, slots=True)
class ItemFormat:
    """How items of a kind are written now, and the way there from each older format.

    To change a format: raise `number`, write the new one in the mapper, and add the upcast from
    the old number. Items are written anew with their next change; `read` serves both meanwhile.
    """

    kind: str
    number: int = 1
    upcasts: Mapping[int, Upcast] = field(default_factory=dict)
    """By the number they start from."""

    def read(self, item: Item) -> Attributes:
        """Give an item's attributes in the present format.

        Raises:
            MalformedItemError: as `bring_up`.
        """
        return Attributes(self.kind, self.bring_up(item))

    def bring_up(self, item: Item) -> Item:
        """Give an item in the present format: itself, if it is in that already.

        Raises:
            MalformedItemError: no number, one of a later worker's, one without a way up, or the
                item is not what the upcast from its number takes.
        """
        attributes = Attributes(self.kind, item)
        number = attributes.integer(SCHEMA)
        if number > self.number:
            raise attributes.malformed(SCHEMA, f"is of a later format than {self.number}")
        while number < self.number:
            upcast = self.upcasts.get(number)
            if upcast is None:
                raise attributes.malformed(SCHEMA, f"has no upcast to format {self.number}")
            try:
                item = upcast(item)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                # without its cause: that may tell a value
                rule = f"is {number}, and the item is not as its upcast needs it"
                raise attributes.malformed(SCHEMA, rule) from None
            number += 1
            item = {**item, SCHEMA: {"N": str(number)}}
        return item


USER_FORMAT: Final = ItemFormat("user")
SESSION_FORMAT: Final = ItemFormat("session")
TWO_FACTOR_FORMAT: Final = ItemFormat("two factor")
ADDRESS_FORMAT: Final = ItemFormat("address")
OUTCOME_FORMAT: Final = ItemFormat("outcome")
POINTER_FORMAT: Final = ItemFormat("outbox pointer")
