"""The file that shows other processes that a worker is live. Standard library only.

One file per worker, in a directory of its user inside the temporary directory, which may be a tmpfs
on an otherwise read-only system. A file that is not updated belongs to a worker that is not live; a
file whose process is gone is ignored.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from worker.health.report import Report

INTERVAL: Final = 5.0
"""Seconds between two heartbeats."""
LIMIT: Final = 30.0
"""Seconds without a heartbeat after which a worker is not live: stopped, frozen or starved."""
_SUFFIX: Final = ".json"
_DRAFT: Final = ".new"
_OWNER_ONLY: Final = 0o700


class HeartbeatError(Exception):
    """The directory cannot be used; the message is one line for an operator."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last heartbeat of a worker."""

    pid: int
    age: float
    """Seconds since then; negative in a file from before the machine was started."""
    report: Report

    @property
    def late(self) -> bool:
        """Whether the next heartbeat is overdue."""
        return not 0 <= self.age <= LIMIT

    @property
    def health(self) -> Report:
        """The last report; if the heartbeat is overdue, a report that says so."""
        if self.late:
            return Report((f"no heartbeat for {max(self.age, LIMIT):.0f} s",))
        return self.report


def directory() -> Path:
    """Return the directory of this user's heartbeat files.

    Raises:
        HeartbeatError: no temporary directory is writable.
    """
    try:
        return Path(tempfile.gettempdir()) / f"user-worker-{os.getuid()}"
    except OSError as error:
        raise HeartbeatError("no temporary directory is writable; set TMPDIR") from error


class HeartbeatFile:
    """The heartbeat file of this process."""

    def __init__(self, folder: Path) -> None:
        """Create the directory if it is missing, and remove the files of dead workers.

        Raises:
            HeartbeatError: it cannot be created or changed, or another user could write there.
        """
        self._pid = os.getpid()
        self._path = folder / f"{self._pid}{_SUFFIX}"
        _make(folder)
        for path, beat in _files(folder):
            if beat is None or beat.late or _is_gone(beat.pid):
                with contextlib.suppress(OSError):  # a file that cannot be removed does no harm
                    path.unlink(missing_ok=True)
                    path.with_suffix(_DRAFT).unlink(missing_ok=True)

    def write(self, report: Report) -> None:
        """Write a report atomically: a reader sees the last report or this one.

        Raises:
            OSError, HeartbeatError: the file cannot be written.
        """
        text = json.dumps({"pid": self._pid, "at": time.monotonic(), **asdict(report)})
        draft = self._path.with_suffix(_DRAFT)
        try:
            draft.write_text(text)
        except FileNotFoundError:  # another worker has ended and removed the directory
            _make(self._path.parent)
            draft.write_text(text)
        draft.replace(self._path)

    def remove(self) -> None:
        """Remove the file at a regular end."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
            self._path.parent.rmdir()  # only if it is empty


def heartbeats(folder: Path) -> list[Heartbeat]:
    """Return the last heartbeat of each worker in a directory whose process exists."""
    beats = [beat for _, beat in _files(folder) if beat is not None]
    return sorted((b for b in beats if not _is_gone(b.pid)), key=lambda beat: beat.pid)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=_OWNER_ONLY, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise HeartbeatError(f"no directory for the heartbeat: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise HeartbeatError(f"{folder} is not a directory of this user")


def _files(folder: Path) -> Iterator[tuple[Path, Heartbeat | None]]:
    """Yield each file with its heartbeat, or `None` if it is invalid."""
    for path in folder.glob(f"*{_SUFFIX}"):
        try:
            fields = json.loads(path.read_bytes())
        except (OSError, ValueError):
            fields = None
        match fields:
            case {
                "pid": int(pid),
                "at": int() | float() as at,
                "not_live": list(not_live),
                "not_ready": list(not_ready),
            }:
                report = Report(tuple(map(str, not_live)), tuple(map(str, not_ready)))
                yield path, Heartbeat(pid, time.monotonic() - at, report)
            case _:
                yield path, None


def _is_gone(pid: int) -> bool:
    """Return True if a process has ended. Our own id: the file is of an earlier process."""
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False
