"""Find dead letters that fail again when they are redriven, unless their cause is corrected."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from application.messages import MalformedCode
from application.permissions import NOT_PERMITTED
from domain.commands import COMMANDS
from operations.dead_letters.letter import Letter
from operations.printable import counted

LASTING = frozenset({NOT_PERMITTED, "UnknownType", "CommandIdReused", *map(str, MalformedCode)})
"""Reasons that do not pass by themselves."""
EXPIRED = "too old for their type"


@dataclass(slots=True)
class Forecast:
    """Counts letters that fail again, by reason."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, letter: Letter) -> None:
        """Count a letter if it will fail again."""
        command = COMMANDS.get(letter.command_type or "")
        age = time.time() - letter.stored.original_sent_at
        if letter.reason in LASTING:
            self.counts[letter.reason] += 1
        elif command and command.max_age and age > command.max_age.total_seconds():
            self.counts[EXPIRED] += 1

    @property
    def text(self) -> str | None:
        """One line for the operator; `None` if no letter was counted."""
        if not self.counts:
            return None
        parts = ", ".join(f"{count} {reason}" for reason, count in self.counts.most_common())
        some = counted(self.counts.total(), "fails", "fail")
        return f"{some} again unless the worker or the permissions were changed: {parts}"
