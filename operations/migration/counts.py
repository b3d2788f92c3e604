"""What a migration has seen and done, and what it has left for a person."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, fields
from hashlib import sha256
from typing import Final

from adapters.dynamodb import table
from adapters.dynamodb.errors import MalformedItemError
from adapters.dynamodb.reads import Key

KEPT_FINDINGS: Final = 1000
"""Findings that are kept one by one; the others are counted."""
_UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_IMPERSONAL: Final = re.compile(
    rf"(?:USER#|COMMAND#){_UUID}/(?:USER|TWO_FACTOR|(?:SESSION|COMMAND)#{_UUID})"
    rf"|OUTBOX#(?:[0-9]+|PARKED)/[0-9TZ.:+-]+#{_UUID}"
)
_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Finding:
    """An item that was left as it is, and why; nothing in it is personal."""

    key: str
    """`pk/sk` where these are ids, else a hash of it."""
    kind: str
    attribute: str
    rule: str

    @classmethod
    def of(cls, key: Key, error: MalformedItemError) -> Finding:
        """Tell of an item that is not as it should be."""
        return cls(told(key), error.kind, error.attribute, error.rule)


def told(key: Key) -> str:
    """Give a key as it may be shown: a hash of it unless all of it is ids.

    The hash is the start of SHA-256 of `pk/sk`: who has an address can look whether it is this.
    """
    text = f"{key.partition}/{key.sort}"
    if is_impersonal(key):
        return text
    known = (table.USER_PREFIX, table.EMAIL_PREFIX, table.COMMAND_PREFIX, table.OUTBOX_PREFIX)
    prefix = next((prefix for prefix in known if text.startswith(prefix)), "")
    return f"{prefix}sha256:{sha256(text.encode()).hexdigest()[:_DIGITS]}"


def is_impersonal(key: Key) -> bool:
    """Say whether a key holds ids only, as no address item's does."""
    return _IMPERSONAL.fullmatch(f"{key.partition}/{key.sort}") is not None


@dataclass(slots=True)
class Counts:
    """How many items; each is counted once a time it is scanned."""

    found: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By kind and format, as they were."""
    changed: int = 0
    """Brought to the present format."""
    conflicts: int = 0
    """Were in an older format when they were read, and a worker had changed them since."""
    gone: int = 0
    """Were in an older format, and then removed."""
    indexed: int = 0
    """Sessions, of those changed, that are now in the index."""
    reserved: int = 0
    """Addresses that a user had without an address item."""
    released: int = 0
    """Address items of users who do not have the address."""
    taken: int = 0
    """Users whose address is another's, who has it too: left, and among the findings."""
    bad: int = 0
    """Left as they are, and among the findings."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def items(self) -> int:
        """How many were looked at, the bad ones too."""
        return self.found.total() + self.bad

    @property
    def left(self) -> int:
        """How many a person has to see to."""
        return self.bad + self.taken

    def tell(self, finding: Finding) -> None:
        """Keep a finding, if there are not too many yet."""
        if len(self.findings) < KEPT_FINDINGS:
            self.findings.append(finding)

    def add(self, more: Counts) -> None:
        """Add another's counts and findings to these."""
        self.found.update(more.found)
        for finding in more.findings:
            self.tell(finding)
        for name in NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(more, name))


NUMBERS: Final = tuple(
    each.name for each in fields(Counts) if each.name not in {"found", "findings"}
)
"""The names of the plain counts."""
