"""How Celery runs a batch: the task's options, and the request that receives its result.

There is no result backend, and an acknowledgement carries no result; `task.Request` is Celery's
hook for code that needs it. The request runs in the parent process: on the main thread with prefork
and solo, on the pool's threads with threads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import wraps
from typing import Any

from celery import Task
from celery.worker.request import Request

OnSuccess = Callable[..., Any]

MAX_RESULT = 192 * 1024 * 1024
"""Characters; Celery cuts a longer result. Thirty messages of 1 MiB, redacted and escaped, fit."""


class BatchTask(Task):
    """Base class of the task that the transport sends batches to."""

    Request = "worker.request:BatchRequest"
    acks_late = True
    acks_on_failure_or_timeout = True
    reject_on_worker_lost = False
    ignore_result = True
    store_errors_even_if_ignored = False
    send_events = False  # an event would carry the result
    resultrepr_maxsize = MAX_RESULT


class BatchRequest(Request):
    """Pass the result to the message before the message is acknowledged.

    Any other end (an exception, a lost child, a time limit, a revocation) is acknowledged without a
    result, and the transport retries the messages.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Wrap `on_success` of the subclass that Celery creates for each pool.

        `celery.worker.request.create_request_cls` overrides it there without calling super.
        """
        super().__init_subclass__(**kwargs)
        cls.on_success = _handing_in_the_result(cls.on_success)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:  # noqa: FBT001, FBT002  # Celery's signature
        """Stop a running batch at a cold shutdown.

        Uses SIGKILL, as the children ignore SIGTERM; a pool without processes cannot stop a batch.
        """
        with contextlib.suppress(NotImplementedError):
            super().cancel(pool, signal or "SIGKILL", emit_retry)


def _handing_in_the_result(on_success: OnSuccess) -> OnSuccess:
    @wraps(on_success)
    def hand_in(self: BatchRequest, failed__retval__runtime: Any, **kwargs: Any) -> Any:
        failed, result, _ = failed__retval__runtime
        if not failed:
            self.message.give_result(result)
        return on_success(self, failed__retval__runtime, **kwargs)

    return hand_in
