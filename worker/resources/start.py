"""Wait for AWS before anything is received, and check the resources."""

from __future__ import annotations

import signal
import threading
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
from worker.signals import handled_by

logger = structlog.get_logger(__name__)

BACKOFF: Final = Backoff(1.0, 30.0)
"""Seconds between two attempts, without jitter."""
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
    with handled_by(_end):  # process 1 would ignore them until Celery handles them
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


def _end(number: int, _: object) -> NoReturn:
    """End a worker that has not started yet; at Ctrl-C without Celery's messages."""
    raise SystemExit(int(ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.OK))
