"""Select dead letters by reason, command, age and id."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from operations.dead_letters.letter import Letter


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Matches letters that meet every condition; a condition is met by any of its values."""

    reasons: Collection[str] | None = None
    """In any case, like `commands` and `ids`."""
    commands: Collection[str] | None = None
    older_than: float | None = None
    """Seconds."""
    newer_than: float | None = None
    ids: Collection[str] | None = None
    limit: int | None = None
    """Maximum number of letters."""

    def __post_init__(self) -> None:
        """Convert reasons, commands and ids to lower case."""
        for name in ("reasons", "commands", "ids"):
            lower = frozenset(each.lower() for each in getattr(self, name) or ())
            object.__setattr__(self, name, lower)

    @property
    def is_everything(self) -> bool:
        """Whether the filter matches every letter."""
        return self == LetterFilter()

    def includes(self, letter: Letter, now: float) -> bool:
        """Return True if a letter meets the conditions; `limit` is applied by the caller."""
        age = letter.age(now)
        names = {letter.command.lower(), (letter.command_type or "").lower()}
        ids = {each.lower() for each in letter.ids}
        return (
            (not self.reasons or letter.reason.lower() in self.reasons)
            and (not self.commands or not names.isdisjoint(self.commands))
            and (self.older_than is None or age >= self.older_than)
            and (self.newer_than is None or age < self.newer_than)
            and (not self.ids or not ids.isdisjoint(self.ids))
        )

    def select(self, letters: Iterable[Letter], now: float) -> list[Letter]:
        """Return the letters that match."""
        return [letter for letter in letters if self.includes(letter, now)]
