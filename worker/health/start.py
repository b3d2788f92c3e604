"""Waits for AWS before anything is received, and looks whether all is there."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import structlog

from worker import logs
from worker.cli_errors import explain, is_refusal
from worker.connections import Aws
from worker.errors import CliError, ExitCode
from worker.health.assessment import HealthAssessment
from worker.health.requirements import check
from worker.settings import Settings
from worker.startup import exit_with_error

logger = structlog.get_logger(__name__)

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds between two tries, doubling."""
ENDS: Final[dict[int, ExitCode]] = {
    signal.SIGTERM: ExitCode.OK,
    signal.SIGHUP: ExitCode.OK,
    signal.SIGINT: ExitCode.INTERRUPTED,
}
"""By signal, how a worker ends that has not started yet."""
LOOKING: Final = "looking at queues, table and topic"


def require_resources(settings: Settings, assessment: HealthAssessment) -> None:
    """Look at queues, table and topic, as soon as SQS and DynamoDB answer; log what differs.

    While they do not, it waits: an outage must not keep a worker down that is started during it,
    and ending would only start it again. In development it ends, as a person is waiting.

    Raises:
        SystemExit: with one line, when something is missing or wrong, or AWS refuses us; with 0
            when asked to end while it waits, with 130 at Ctrl-C.
    """
    aws, pause = Aws(settings), FIRST_PAUSE
    assessment.wait(
        LOOKING
    )  # its calls may take longer than a start is given, each until its timeout
    with _hearing_signals():
        while (waiting_for := _look(aws)) is not None:
            assessment.wait(waiting_for)
            logger.warning("waiting_for_aws", reason=waiting_for, seconds=pause)
            threading.Event().wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
    assessment.go_on()


def _look(aws: Aws) -> str | None:
    """Look once; say why that was not possible, if it was not now."""
    logs.configure(aws.settings.log_format, aws.settings.log_level)  # Celery has not, so early
    try:
        for finding in check(aws):
            logger.warning(
                "resource_differs", check=finding.check, says=finding.says, advice=finding.advice
            )
    except Exception as error:
        known = explain(error)
        if known is None:  # a mistake of the check itself is no reason to do no work
            logger.exception("resources_unchecked")
            return None
        if aws.settings.env == "dev" or _will_last(error):
            exit_with_error(error)
        return known.problem
    return None


def _will_last(error: Exception) -> bool:
    """Tell what the worker finds missing or wrong, or how AWS refuses us, from an outage."""
    return isinstance(error, CliError | LookupError) or is_refusal(error)


@contextmanager
def _hearing_signals() -> Iterator[None]:
    """End on SIGTERM and SIGHUP, which process 1 would ignore as Celery does not listen yet.

    End on Ctrl-C too, with its exit code, and without a word of Celery's. Under `nohup` SIGHUP
    stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    before = {number: signal.signal(number, _end) for number in ENDS.keys() - ignored}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _: object) -> NoReturn:
    raise SystemExit(int(ENDS[number]))
