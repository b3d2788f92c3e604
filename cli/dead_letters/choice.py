"""Which dead letters are meant: by reason, command, age and id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from cli.ages import seconds_of
from cli.dead_letters.letter import Letter


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Letters that meet every condition; of one condition, any of its values will do."""

    reasons: frozenset[str] = frozenset()
    """In lower case, as `commands`."""
    commands: frozenset[str] = frozenset()
    older_than: float | None = None
    """Seconds."""
    newer_than: float | None = None
    ids: frozenset[str] = frozenset()
    limit: int | None = None
    """Letters at most."""

    @classmethod
    def of(
        cls,
        *,
        reasons: Sequence[str] | None = None,
        commands: Sequence[str] | None = None,
        older_than: str | None = None,
        newer_than: str | None = None,
        ids: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Self:
        """Read what was typed.

        Raises:
            UsageError: an age is none.
        """
        return cls(
            _lower(reasons),
            _lower(commands),
            None if older_than is None else seconds_of("--older-than", older_than),
            None if newer_than is None else seconds_of("--newer-than", newer_than),
            _lower(ids),
            limit,
        )

    @property
    def is_everything(self) -> bool:
        """Whether every letter is meant."""
        return self == LetterFilter()

    def includes(self, letter: Letter, now: float) -> bool:
        """Say whether a letter is meant; `limit` is for whoever counts."""
        age = letter.age(now)
        names = {letter.command.lower(), (letter.command_type or "").lower()}
        return (
            (not self.reasons or letter.reason.lower() in self.reasons)
            and (not self.commands or not self.commands.isdisjoint(names))
            and (self.older_than is None or age >= self.older_than)
            and (self.newer_than is None or age < self.newer_than)
            and (not self.ids or not self.ids.isdisjoint({each.lower() for each in letter.ids}))
        )

    def chosen(self, letters: Iterable[Letter], now: float) -> list[Letter]:
        """Give those that are meant."""
        return [letter for letter in letters if self.includes(letter, now)]


def _lower(values: Sequence[str] | None) -> frozenset[str]:
    return frozenset(value.lower() for value in values or ())
