"""Counts of a migration, and findings that need an operator."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, fields
from hashlib import sha256
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, NonNegativeInt, PlainSerializer, TypeAdapter

from adapters.dynamodb import table
from adapters.dynamodb.reads import Key

KEPT_FINDINGS: Final = 1000
"""Maximum number of findings to store; further ones are only counted."""
_UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_IMPERSONAL: Final = re.compile(
    rf"(?:USER#|COMMAND#){_UUID}/(?:USER|TWO_FACTOR|(?:SESSION|COMMAND)#{_UUID})"
    r"|BANNED#[0-9a-f]{64}/BANNED"
    rf"|OUTBOX#(?:[0-9]+|PARKED)/[0-9TZ.:+-]+#{_UUID}"
)
_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Finding:
    """An item that was left unchanged, and the reason; contains no personal data."""

    key: str
    """`pk/sk` if these are ids, else a hash of it."""
    kind: str
    attribute: str
    rule: str


def shown_key(key: Key) -> str:
    """Return a key in a form that may be shown: a hash unless it consists of ids only.

    The hash is the start of SHA-256 of `pk/sk`: anyone who knows an address can check for it.
    """
    text = f"{key.partition}/{key.sort}"
    if is_impersonal(key):
        return text
    known = (table.USER_PREFIX, table.EMAIL_PREFIX, table.COMMAND_PREFIX, table.OUTBOX_PREFIX)
    prefix = next((prefix for prefix in known if text.startswith(prefix)), "")
    return f"{prefix}sha256:{sha256(text.encode()).hexdigest()[:_DIGITS]}"


def is_impersonal(key: Key) -> bool:
    """Return True if a key consists of ids only. Keys of address items never do."""
    return _IMPERSONAL.fullmatch(f"{key.partition}/{key.sort}") is not None


def _nested(found: Counter[tuple[str, int]]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (kind, number), count in sorted(found.items()):
        nested.setdefault(kind, {})[str(number)] = count
    return nested


def _flat(nested: dict[str, dict[str, int]]) -> Counter[tuple[str, int]]:
    return Counter(
        {(kind, int(n)): count for kind, n_ in nested.items() for n, count in n_.items()}
    )


@dataclass(slots=True)
class Counts:
    """Numbers of items; an item is counted each time it is scanned."""

    found: Annotated[Counter[tuple[str, int]], BeforeValidator(_flat), PlainSerializer(_nested)] = (
        field(default_factory=Counter)
    )
    """Items by kind and format, as they were before."""
    changed: NonNegativeInt = 0
    """Items that were migrated to the current format."""
    conflicts: NonNegativeInt = 0
    """Items in an older format that a worker changed after they were read."""
    gone: NonNegativeInt = 0
    """Items in an older format that were deleted after they were read."""
    indexed: NonNegativeInt = 0
    """Migrated sessions that are now in the index."""
    reserved: NonNegativeInt = 0
    """Addresses of users without an address item, now reserved."""
    released: NonNegativeInt = 0
    """Address items of users who do not have the address, now deleted."""
    taken: NonNegativeInt = 0
    """Users whose address is reserved for another user who has it too: left, with a finding."""
    bad: NonNegativeInt = 0
    """Malformed items: left, with a finding."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def items(self) -> int:
        """Number of items scanned, including malformed ones."""
        return self.found.total() + self.bad

    @property
    def left(self) -> int:
        """Number of items that need an operator."""
        return self.bad + self.taken

    def add_finding(self, key: Key, kind: str, attribute: str, rule: str) -> None:
        """Store a finding, unless there are too many."""
        if len(self.findings) < KEPT_FINDINGS:
            self.findings.append(Finding(shown_key(key), kind, attribute, rule))

    def add(self, more: Counts) -> None:
        """Add the counts and findings of another object."""
        self.found.update(more.found)
        self.findings += more.findings[: KEPT_FINDINGS - len(self.findings)]
        for name in NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(more, name))


NUMBERS: Final = tuple(
    each.name for each in fields(Counts) if each.name not in {"found", "findings"}
)
"""Names of the plain counts."""


def counts_json(counts: Counts) -> dict[str, Any]:
    """Return counts and findings as JSON values."""
    stored: dict[str, Any] = TypeAdapter(Counts).dump_python(counts, mode="json")
    return stored
