"""Calling DynamoDB: its errors in the port's words, and pauses before another try."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from botocore.exceptions import ClientError

from domain.ports import StoreUnavailableError


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a try: growing, capped, with full jitter; all in seconds."""

    base: float = 0.05
    cap: float = 1.0
    tries: int = 6
    sleep: Callable[[float], None] = time.sleep

    def pause(self, tried: int) -> None:
        """Wait after the `tried`-th try (from 1) has failed."""
        limit = min(self.cap, self.base * 2 ** (tried - 1))
        self.sleep(random.uniform(0, limit))  # noqa: S311 - jitter, no secret


def unavailable(operation: str, error: Exception) -> StoreUnavailableError:
    """Say in the port's words that a call failed; the cause is attached."""
    reason = error_code(error) if isinstance(error, ClientError) else type(error).__name__
    translated = StoreUnavailableError(f"DynamoDB {operation}: {reason}")
    translated.__cause__ = error
    return translated


def error_code(error: ClientError) -> str:
    """Give the code of an answer that is an error."""
    return str(error.response.get("Error", {}).get("Code", "no code"))


@contextmanager
def calling(operation: str) -> Iterator[None]:
    """Translate whatever a call raises.

    Not only botocore's own classes: a junk answer ends in errors of its parser, of JSON and of
    urllib3, and to a caller all of them mean the same.

    Raises:
        StoreUnavailableError: the call failed, after the client's own retries.
    """
    try:
        yield
    except Exception as error:
        raise unavailable(operation, error) from error
