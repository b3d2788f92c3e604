"""Wait for AWS before anything is received, and check the resources."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import structlog

from application.backoff import Backoff
from worker import logs
from worker.cli_errors import exit_with_error, explain, is_refusal
from worker.connections import Aws
from worker.errors import CliError, ExitCode
from worker.health.assessment import HealthAssessment
from worker.resources.requirements import check
from worker.settings import Settings

logger = structlog.get_logger(__name__)

BACKOFF: Final = Backoff(1.0, 30.0)
"""Seconds between two attempts, without jitter."""
EXIT_CODES: Final[dict[int, ExitCode]] = {
    signal.SIGTERM: ExitCode.OK,
    signal.SIGHUP: ExitCode.OK,
    signal.SIGINT: ExitCode.INTERRUPTED,
}
"""Exit codes by signal, for a worker that has not started yet."""
CHECKING: Final = "checking queues, table and topic"


def require_resources(settings: Settings, assessment: HealthAssessment) -> None:
    """Check queues, table and topic as soon as SQS and DynamoDB answer; log differences.

    It waits until they answer: an outage must not end a worker that starts during it, since it
    would only be started again. In development it exits, because a developer is waiting.

    Raises:
        SystemExit: with one line if a resource is missing or wrong, or AWS denies access; with 0 if
            asked to end while it waits, with 130 at Ctrl-C.
    """
    aws, attempts = Aws(settings), 0
    # The calls of a check may take longer than the limit of a start, each until its timeout.
    assessment.wait(CHECKING)
    with _exit_on_signals():
        while (waiting_for := _check_once(aws)) is not None:
            attempts += 1
            pause = BACKOFF.ceiling(attempts)
            assessment.wait(waiting_for)
            logger.warning("waiting_for_aws", reason=waiting_for, seconds=pause)
            threading.Event().wait(pause)
    assessment.go_on()


def _check_once(aws: Aws) -> str | None:
    """Check once; return why that was not possible, or `None`."""
    logs.configure(aws.settings.log_format, aws.settings.log_level)  # earlier than Celery does
    try:
        for finding in check(aws):
            logger.warning(
                "resource_differs", check=finding.check, text=finding.text, advice=finding.advice
            )
    except Exception as error:
        explained = explain(error)
        if explained is None:  # a bug in the check must not stop the worker
            logger.exception("resources_unchecked")
            return None
        if aws.settings.env == "dev" or _is_permanent(error):
            exit_with_error(error)
        return explained.problem
    return None


def _is_permanent(error: Exception) -> bool:
    """Return True for a missing or wrong resource or denied access, False for an outage."""
    return isinstance(error, CliError | LookupError) or is_refusal(error)


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Exit on SIGTERM and SIGHUP, which process 1 would ignore until Celery handles them.

    Exit on Ctrl-C too, with its exit code and without Celery's messages. Under `nohup` SIGHUP stays
    ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    before = {number: signal.signal(number, _end) for number in EXIT_CODES.keys() - ignored}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _: object) -> NoReturn:
    raise SystemExit(int(EXIT_CODES[number]))
