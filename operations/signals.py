"""Handle SIGINT, SIGTERM and SIGHUP alike: they stop the current work once.

Under `nohup`, SIGHUP is ignored from the start and stays ignored.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Install the handler for the signals, except for SIGHUP if it is ignored.

    Python delivers signals to the main thread only; in other threads this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    numbers = [number for number in SIGNALS if not (ignored and number is signal.SIGHUP)]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


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

    with _handled_by(stop):
        yield


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Defer a signal that arrives during the block until the block has ended.

    The block must be short, or bounded by timeouts.
    """
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    with _handled_by(note):
        yield
    if received:
        signal.raise_signal(received[0])
