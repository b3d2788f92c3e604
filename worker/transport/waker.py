"""Wake the main thread's event loop from other threads."""

from __future__ import annotations

import contextlib
import select
import socket


class Waker:
    """A socket pair. `wake` may be called from any thread and from a signal handler.

    Used instead of `Hub.call_soon`, because the hub runs such calls even while it closes, when no
    task may start; and because a hub without a file descriptor to watch (threads and solo pools)
    does not poll but sleeps, and ignores `call_soon`.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.settimeout(0)
        self._writer.settimeout(0)

    def fileno(self) -> int:
        """Return the descriptor that the event loop watches for reading."""
        return self._reader.fileno()

    def wake(self) -> None:
        """Wake the main thread; has no effect if it is closed or already awake."""
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")

    def clear(self) -> None:
        """Discard pending wake-ups, before checking for work, so that a later one is not lost."""
        with contextlib.suppress(OSError):
            while len(self._reader.recv(4096)) == 4096:  # noqa: PLR2004  # the buffer's size
                pass

    def wait(self, seconds: float | None) -> bool:
        """Block until woken, at most `seconds`; return whether it was."""
        return bool(select.select([self._reader], [], [], seconds)[0])

    def close(self) -> None:
        """Close the descriptors."""
        self._reader.close()
        self._writer.close()
