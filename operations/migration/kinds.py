"""Determine the kind of an item by its key, and read items of each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from adapters.dynamodb import formats, mapper, records, table
from adapters.dynamodb.attributes import Attributes
from adapters.dynamodb.formats import ItemFormat
from adapters.dynamodb.reads import Key

if TYPE_CHECKING:
    from adapters.dynamodb.table import Item


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of item."""

    item_format: ItemFormat
    parse: Callable[[Item, ItemFormat], object]
    """Parses an item; raises MalformedItemError if it is not of this kind."""

    def number_of(self, item: Item) -> int:
        """Return the format number of an item.

        Raises:
            MalformedItemError: the item has no format number.
        """
        return Attributes(self.item_format.kind, item).integer(formats.SCHEMA)

    def upcast(self, item: Item) -> tuple[Item, object]:
        """Return an item in the format that workers write, or a later one, and its parsed value.

        Raises:
            MalformedItemError: the item is not of this kind, even after upcasting.
        """
        brought_up = self.item_format.upcast(item, self.item_format.writes)
        return brought_up, self.parse(brought_up, self.item_format)


KINDS: Final[Mapping[str, Kind]] = {
    kind.item_format.kind: kind
    for kind in (
        Kind(formats.USER_FORMAT, mapper.parse_user),
        Kind(formats.SESSION_FORMAT, mapper.parse_session),
        Kind(formats.TWO_FACTOR_FORMAT, mapper.parse_two_factor),
        Kind(formats.ADDRESS_FORMAT, mapper.parse_address),
        Kind(formats.BANNED_FORMAT, mapper.parse_banned),
        Kind(formats.OUTCOME_FORMAT, records.parse_outcome),
        Kind(formats.POINTER_FORMAT, records.parse_entry),
    )
}
"""Kinds by name."""
USER: Final = formats.USER_FORMAT.kind
SESSION: Final = formats.SESSION_FORMAT.kind
ADDRESS: Final = formats.ADDRESS_FORMAT.kind
OUTCOME: Final = formats.OUTCOME_FORMAT.kind


_OF_ADDRESSES: Final = {
    table.EMAIL: (table.EMAIL_PREFIX, ADDRESS),
    table.BANNED: (table.BANNED_PREFIX, formats.BANNED_FORMAT.kind),
}
"""Prefix of the partition key, and kind, by sort key."""


def kind_of(key: Key) -> str | None:
    """Return the name of a key's kind; `None` for keys that the worker does not write."""
    partition, sort = key
    if partition.startswith(table.OUTBOX_PREFIX):
        return formats.POINTER_FORMAT.kind
    if sort in _OF_ADDRESSES:
        prefix, kind = _OF_ADDRESSES[sort]
        return kind if partition.startswith(prefix) else None
    if sort.startswith(table.COMMAND_PREFIX) and (
        partition == sort or partition.startswith(table.USER_PREFIX)
    ):
        return OUTCOME
    if not partition.startswith(table.USER_PREFIX):
        return None
    if sort.startswith(table.SESSION_PREFIX):
        return SESSION
    return {table.USER: USER, table.TWO_FACTOR: formats.TWO_FACTOR_FORMAT.kind}.get(sort)


def filter_of_settled(kinds: Mapping[str, Kind] = KINDS) -> dict[str, Any]:
    """Return a filter that excludes outcomes in the current format from a Scan.

    They are most items of a table, and need no migration.
    """
    return {
        "FilterExpression": "NOT (begins_with(sk, :outcome) AND #schema = :settled)",
        "ExpressionAttributeNames": {"#schema": formats.SCHEMA},
        "ExpressionAttributeValues": {
            ":outcome": {"S": table.COMMAND_PREFIX},
            ":settled": {"N": str(kinds[OUTCOME].item_format.writes)},
        },
    }


def target(kinds: Mapping[str, Kind] = KINDS) -> dict[str, int]:
    """Return the target format numbers of a migration, by kind."""
    return {name: kind.item_format.writes for name, kind in kinds.items()}
