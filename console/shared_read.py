"""A read of AWS that several pages wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class SharedRead(Generic[Value]):
    """Reads once for all threads that ask meanwhile, and fails once for all of them.

    Otherwise each thread would wait in turn until AWS does not answer it either.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed_at = float("-inf")
        self._error: Exception | None = None

    def get(self, known: Callable[[], Value | None], read: Callable[[], Value]) -> Value:
        """Return the known value, or read it; `None` stands for no known value.

        Raises the error of `read`, also if it was called by another thread meanwhile.
        """
        asked = time.monotonic()
        with self._lock:
            if (found := known()) is not None:
                return found
            if self._error is not None and self._failed_at >= asked:
                raise self._error.with_traceback(None)
            try:
                found = read()
            except Exception as error:
                self._failed_at, self._error = time.monotonic(), error
                raise
            self._error = None
            return found
