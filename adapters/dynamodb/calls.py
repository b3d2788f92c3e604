"""Translate DynamoDB's errors into the port's, and wait between attempts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from adapters.aws.client import error_code
from application.backoff import Backoff
from application.ports import StoreUnavailableError, ThrottledError

THROTTLED: Final = frozenset(
    {
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingError",
        "ThrottlingException",
    }
)
"""Error codes of a throttled call, and reason codes of a throttled action of a transaction.

https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
"""


@dataclass(frozen=True, slots=True)
class Retries(Backoff):
    """Number of attempts of a call, and the pauses between them in seconds."""

    base: float = 0.05
    cap: float = 1.0
    tries: int = 6
    sleep: Callable[[float], None] = time.sleep

    def pause(self, tried: int) -> None:
        """Wait after failed attempt number `tried`, from 1."""
        self.sleep(self.delay(tried))


def unavailable(operation: str, error: Exception) -> StoreUnavailableError:
    """Return the port's error for a call that failed, with its cause attached."""
    code = error_code(error)
    kind = ThrottledError if code in THROTTLED else StoreUnavailableError
    translated = kind(f"DynamoDB {operation}: {code}")
    translated.__cause__ = error
    return translated


def require_answer(response: Mapping[str, Any]) -> None:
    """Check that DynamoDB itself answered a write.

    botocore treats any answer with status 200 as a success, even a proxy's page. A write that is
    wrongly taken for done is a lost command.

    Raises:
        StoreUnavailableError: the answer has no AWS request id.
    """
    if not response.get("ResponseMetadata", {}).get("RequestId"):
        raise StoreUnavailableError("the answer is not from DynamoDB")


@contextmanager
def calling(operation: str) -> Iterator[None]:
    """Translate every error that a call raises.

    Not only botocore's own classes: an invalid answer raises errors of its parser, of JSON and of
    urllib3, and all of them mean the same to the caller.

    Raises:
        ThrottledError: DynamoDB throttles the call, after the client's own retries.
        StoreUnavailableError: the call failed otherwise, after the client's own retries.
    """
    try:
        yield
    except Exception as error:
        raise unavailable(operation, error) from error
