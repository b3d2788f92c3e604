"""Select dead letters by reason, command, age and id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from operations.dead_letters.letter import Letter


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Matches letters that meet every condition; a condition is met by any of its values."""

    reasons: frozenset[str] = frozenset()
    """In lower case, like `commands` and `ids`."""
    commands: frozenset[str] = frozenset()
    older_than: float | None = None
    """Seconds."""
    newer_than: float | None = None
    ids: frozenset[str] = frozenset()
    limit: int | None = None
    """Maximum number of letters."""

    @classmethod
    def of(
        cls,
        *,
        reasons: Sequence[str] | None = None,
        commands: Sequence[str] | None = None,
        older_than: float | None = None,
        newer_than: float | None = None,
        ids: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Self:
        """Return a filter; the values may be in any case."""
        return cls(_lower(reasons), _lower(commands), older_than, newer_than, _lower(ids), limit)

    @property
    def is_everything(self) -> bool:
        """Whether the filter matches every letter."""
        return self == LetterFilter()

    def includes(self, letter: Letter, now: float) -> bool:
        """Return True if a letter meets the conditions; `limit` is applied by the caller."""
        age = letter.age(now)
        names = {letter.command.lower(), (letter.command_type or "").lower()}
        return (
            (not self.reasons or letter.reason.lower() in self.reasons)
            and (not self.commands or not self.commands.isdisjoint(names))
            and (self.older_than is None or age >= self.older_than)
            and (self.newer_than is None or age < self.newer_than)
            and (not self.ids or not self.ids.isdisjoint({each.lower() for each in letter.ids}))
        )

    def select(self, letters: Iterable[Letter], now: float) -> list[Letter]:
        """Return the letters that match."""
        return [letter for letter in letters if self.includes(letter, now)]


def _lower(values: Sequence[str] | None) -> frozenset[str]:
    return frozenset(value.lower() for value in values or ())
