"""Progress of a migration in a file, so that another run can continue from it.

The file holds no personal data: keys of address items are not written. Two simultaneous runs may
write it: everything that either has recorded as done is done.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from operations.migration.scan import Progress
from worker.errors import CliError, UsageError

SAVE_EVERY: Final = 1.0
"""Seconds between two saves. Work lost in a power failure is repeated, which changes nothing."""
FORM: Final = 1
_PROGRESS: Final = TypeAdapter(Progress)
_ANEW: Final = "or start again with --state NEWFILE: no item is migrated twice"
_OTHERWISE: Final = {
    "table": (
        "another table, or a table that was recreated",
        f"correct USER_WORKER_TABLE, {_ANEW}",
    ),
    "target": ("a migration to other formats", f"use the worker of that version, {_ANEW}"),
    "addresses": ("a migration with other options", f"use the same options, {_ANEW}"),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """The migration that a state file belongs to."""

    table: str
    """Id of the table; a table that is created again under the same name has another id."""
    target: Mapping[str, int]
    """Target format numbers."""
    addresses: bool


class StateFile:
    """State file of a migration; it exists until the migration is finished."""

    def __init__(self, path: Path, plan: Plan, clock: Callable[[], float] = time.monotonic) -> None:
        """Use the file at `path`; nothing is read or written yet. `clock` returns seconds."""
        self.path = path
        self._plan = plan
        self._clock = clock
        self._saved = clock()

    def load(self) -> Progress | None:
        """Return the progress of an earlier run; `None` if there is no file.

        Raises:
            UsageError: the file belongs to another migration, or is damaged.
            CliError: the file cannot be read.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise CliError(
                f"cannot read the state {self.path}", "choose another --state"
            ) from error
        try:
            return self._parsed(text)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UsageError(
                f"{self.path} is not the state of a migration, or is damaged", f"remove it, {_ANEW}"
            ) from error

    def note(self, progress: Progress) -> None:
        """Save if `SAVE_EVERY` seconds have passed; raises the errors of `save`."""
        if self._clock() - self._saved >= SAVE_EVERY:
            self.save(progress)

    def save(self, progress: Progress) -> None:
        """Save atomically: an incomplete file never replaces a complete one.

        Raises:
            CliError: the file cannot be written, for example on a full disk.
        """
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
                f.write(json.dumps(self._state(progress), separators=(",", ":")) + "\n")
                f.flush()
                os.fsync(f.fileno())
            beside.replace(self.path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise CliError(
                f"cannot write the state {self.path}: {error.strerror}",
                "choose another --state or free disk space, then run the command again to continue",
            ) from error
        self._saved = self._clock()

    def remove(self) -> None:
        """Remove the file, because the migration is finished."""
        self.path.unlink(missing_ok=True)

    def _state(self, progress: Progress) -> dict[str, Any]:
        stored: dict[str, Any] = _PROGRESS.dump_python(progress, mode="json")
        return {"migration": FORM, **asdict(self._plan), **stored}

    def _parsed(self, text: str) -> Progress:
        state = json.loads(text)
        if state["migration"] != FORM:
            raise ValueError("not the state of a migration")
        for name, (other, advice) in _OTHERWISE.items():
            if state[name] != getattr(self._plan, name):
                raise UsageError(f"the state {self.path} belongs to {other}", advice)
        progress = _PROGRESS.validate_json(text, strict=True)
        if self._state(progress) != state:
            raise ValueError("not as it was saved")
        return progress
