"""Follow a worker's log, of which `user-worker dev` shows the lines of commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_COMMAND: Final = re.compile(
    r"\d\d:\d\d:\d\d\.\d{3}  (?:command|message_not_understood|message_not_permitted)  "
)
_DETAIL: Final = re.compile(r" {14}\S")
"""A further line of a command: the reason of a failure."""


class CommandLog:
    """The lines of commands in a log file of the format `console`."""

    def __init__(self, log: Path) -> None:
        """Begin at the present end of the file."""
        self._log = log
        self._place = 0
        self.skip()

    def skip(self) -> None:
        """Continue at the present end of the file."""
        try:
            self._place = self._log.stat().st_size
        except OSError:
            self._place = 0

    def lines(self) -> list[str]:
        """Return the new complete lines; none if the file cannot be read, which ends nothing."""
        try:
            with self._log.open("rb") as stream:
                stream.seek(self._place)
                content = stream.read()
        except OSError:
            return []
        complete, _, _ = content.rpartition(b"\n")
        if not complete:
            return []
        self._place += len(complete) + 1
        found: list[str] = []
        of_command = False
        for line in complete.decode(errors="replace").split("\n"):
            of_command = bool(_COMMAND.match(line)) or (of_command and bool(_DETAIL.match(line)))
            if of_command:
                found.append(line)
        return found
