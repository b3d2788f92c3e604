"""What other threads ring to wake the main thread's event loop."""

from __future__ import annotations

import contextlib
import select
import socket


class Waker:
    """A socket pair. `wake` may be called from any thread and from a signal handler.

    Used rather than `Hub.call_soon`, because the hub runs what was left there even while it
    closes, and no task may start then; and because a hub without a file descriptor to watch
    (threads and solo pools) does not poll but sleeps, deaf to `call_soon`.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.settimeout(0)
        self._writer.settimeout(0)

    def fileno(self) -> int:
        """Give what the event loop shall watch for reading."""
        return self._reader.fileno()

    def wake(self) -> None:
        """Wake the main thread; ringing a closed bell, or one that rings, does nothing."""
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")

    def clear(self) -> None:
        """Forget the rings so far: before looking, so that a later ring is not lost."""
        with contextlib.suppress(OSError):
            while len(self._reader.recv(4096)) == 4096:  # noqa: PLR2004  # the buffer's size
                pass

    def wait(self, seconds: float | None) -> bool:
        """Block until it rings, at most `seconds`; say whether it did."""
        return bool(select.select([self._reader], [], [], seconds)[0])

    def close(self) -> None:
        """Give the descriptors back."""
        self._reader.close()
        self._writer.close()
