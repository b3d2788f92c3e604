"""Find dead letters that fail again when they are redriven, unless their cause is corrected."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from application.batch import UNKNOWN_TYPE
from application.messages import MalformedCode
from application.permissions import NOT_PERMITTED
from domain.commands import COMMANDS
from operations.dead_letters.letter import Letter
from operations.printable import counted

HOPELESS = "CommandIdReused"
"""Reason of a letter that cannot succeed: its id belongs to another command for as long as that
command's outcome is stored."""
LASTING = frozenset({NOT_PERMITTED, UNKNOWN_TYPE, HOPELESS, *map(str, MalformedCode)})
"""Reasons that do not pass by themselves."""
EXPIRED = "too old for their type"


def hopeless_text(count: int) -> str:
    """Return a line about letters that are left because they cannot succeed."""
    left = counted(count, "was left: its id belongs", "were left: their ids belong")
    return f"{left} to another command ({HOPELESS}); send a new command with a new id"


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
