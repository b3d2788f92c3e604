"""Handle SIGINT, SIGTERM and SIGHUP alike: they stop the current work once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from worker.signals import handled_by


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first signal; later signals do not interrupt the clean-up.

    The clean-up is bounded: every call and every process it waits for has a timeout.
    """
    stopped = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            raise KeyboardInterrupt

    with handled_by(stop):
        yield


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Defer a signal that arrives during the block until the block has ended.

    The block must be short, or bounded by timeouts.
    """
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    with handled_by(note):
        yield
    if received:
        signal.raise_signal(received[0])
