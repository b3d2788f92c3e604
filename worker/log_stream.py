"""Write log lines to a file descriptor without ever blocking the process.

A pipe without a reader blocks its writer, and with it every thread that logs. So a line waits at
most `PATIENCE` seconds since the pipe last accepted one; then lines are dropped and counted, and
the count is logged as soon as a line can be written again. The same applies to a closed pipe and to
a full disk, which fail at once. For a regular file and a terminal nothing else changes.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import select
import stat
from time import monotonic, sleep
from typing import Any, Final

PATIENCE: Final = 5.0
"""Seconds for which a line waits for a reader that reads nothing."""
ATOMIC: Final = select.PIPE_BUF
"""Bytes that a pipe writes atomically; it counts as writable if it has room for this many."""
STDOUT: Final = 1
STDERR: Final = 2
SHORT: Final = 0.01
"""Seconds until the next attempt if two processes write at the same time."""
DROPPED_FIELD: Final = "lines"
"""The field of a `log_lines_dropped` line that holds their number."""


class LogStreamHandler(logging.Handler):
    """Write each record as one line to a file descriptor, and never wait for long.

    Also usable after a fork: it keeps no thread and no unwritten data.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        mode = _mode(descriptor)
        self._may_block = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        self._blocked_since: float | None = None
        self._dropped = 0
        self._broken_off = False
        """Whether the last line was only partly written."""

    @classmethod
    def of_file(cls, path: str) -> LogStreamHandler:
        """Append to a file.

        Raises:
            OSError: it cannot be opened.
        """
        return cls(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666))

    @classmethod
    def of_stream(cls, stream: Any) -> logging.Handler:
        """Write to standard error if the stream is standard error, otherwise to the stream."""
        with contextlib.suppress(AttributeError, OSError, ValueError, io.UnsupportedOperation):
            if stream.fileno() == STDERR:
                return cls(STDERR)
        return logging.StreamHandler(stream)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it as dropped."""
        try:
            line = self._line(record)
        except Exception:  # noqa: BLE001 - as every handler: it must not end a thread
            self.handleError(record)
            return
        if not self._write(line):
            self._dropped += 1
        elif self._dropped:
            self._report_dropped()

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode(errors="backslashreplace")

    def _report_dropped(self) -> None:
        report = logging.makeLogRecord(
            {
                "name": __name__,
                "levelno": logging.WARNING,
                "levelname": "WARNING",
                "msg": "log_lines_dropped",
                DROPPED_FIELD: self._dropped,
            }
        )
        if self._write(self._line(report)):
            self._dropped = 0

    def _write(self, line: bytes) -> bool:
        """Write a whole line; return False if that failed."""
        if self._broken_off:
            line = b"\n" + line
        rest = memoryview(line)
        while rest:
            if self._may_block and not self._has_room():
                break
            part = rest[:ATOMIC] if self._may_block else rest
            try:
                rest = rest[os.write(self._descriptor, part) :]
            except BlockingIOError:  # another process wrote first
                sleep(SHORT)
                if not self._has_room():
                    break
            except OSError:
                break
            else:
                self._blocked_since = None
        if len(rest) < len(line):
            self._broken_off = bool(rest)
        return not rest

    def _has_room(self) -> bool:
        """Wait until the descriptor is writable, at most `PATIENCE` seconds since it blocked."""
        now = monotonic()
        since = now if self._blocked_since is None else self._blocked_since
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        if poll.poll(max(0.0, since + PATIENCE - now) * 1000):
            return True
        self._blocked_since = since
        return False


def unblock_standard_streams() -> None:
    """Make writes to standard output and error non-blocking if they are pipes or sockets.

    Celery writes there in its signal handlers: "Warm shutdown" must not block. A pipe is opened a
    second time for this, so that processes that share it are not affected; if that fails, it is
    left unchanged.
    """
    for descriptor in (STDOUT, STDERR):
        mode = _mode(descriptor)
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(mode):
                os.set_blocking(descriptor, False)
            elif stat.S_ISFIFO(mode):
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
                opened = os.open(f"/proc/self/fd/{descriptor}", flags)
                os.dup2(opened, descriptor)
                os.close(opened)


def _mode(descriptor: int) -> int:
    """Return the type of a descriptor's file, as `stat` tests it; 0 for a closed one."""
    try:
        return os.fstat(descriptor).st_mode
    except OSError:
        return 0
