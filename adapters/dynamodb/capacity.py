"""Size and capacity cost of an item, by DynamoDB's rules.

Sources: "DynamoDB item sizes and formats" and "DynamoDB read and write operations" in the
Developer Guide. A number's size is approximate there too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

    from adapters.dynamodb.table import Item

WRITE_UNIT: Final = 1024
"""Bytes per write unit; an item costs whole units."""
READ_UNIT: Final = 4096
"""Bytes per unit of consistent reading."""
TRANSACTION_FACTOR: Final = 2
"""In a transaction each item is written twice: prepared, then committed."""
MAX_ITEM_BYTES: Final = 400 * 1024


def item_size(item: Item) -> int:
    """Return an item's size in bytes: the names and values of its attributes."""
    return sum(_text_size(name) + _value_size(value) for name, value in item.items())


def _text_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _value_size(value: AttributeValueTypeDef) -> int:
    text = value.get("S")
    if text is not None:
        return _text_size(text)
    number = value.get("N")
    if number is not None:  # a byte for two digits, one for sign or odd digit, one of overhead
        return len(number) // 2 + 2
    members = value.get("M")
    if members is not None:  # 3 bytes for the map, 1 for each member
        return 3 + len(members) + item_size(dict(members))
    items = value.get("L")
    if items is not None:
        return 3 + sum(1 + _value_size(item) for item in items)
    return 1  # BOOL; the mapper writes no other type


def write_units(size: int) -> int:
    """Return the write units of putting or deleting an item of `size` bytes, or a GSI entry."""
    return max(1, math.ceil(size / WRITE_UNIT))


def read_units(size: int) -> int:
    """Return the units of reading `size` bytes consistently; an absent item costs one unit."""
    return max(1, math.ceil(size / READ_UNIT))


def transaction_units(sizes: Iterable[int]) -> int:
    """Return the write units of one transaction from the sizes of its items."""
    return sum(TRANSACTION_FACTOR * write_units(size) for size in sizes)
