"""Actions that take longer than a request: they run in a thread, and pages show their progress."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import structlog

from adapters.aws.client import error_code
from operations.dead_letters.processing import DeadLetterError
from operations.progress import Advance
from worker.cli_errors import explain
from worker.errors import CliError, one_line

logger = structlog.get_logger(__name__)

REMEMBERED: Final = 100
"""Maximum number of jobs that are shown; the oldest ones that have ended are forgotten."""
NOTES: Final = 100
LONGEST_NOTE: Final = 1_000
"""Maximum number of notes of a job, and of characters of each."""


@dataclass(slots=True)
class Job:
    """One action; implements `Progress`, so that an operation reports to it. Any thread."""

    title: str
    person: str
    subject: str = ""
    """The message id of the dead letter that it concerns, if it is one."""
    job_id: str = field(default_factory=lambda: str(uuid4()))
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    activity: str = "starting"
    total: int = 0
    done: int = 0
    unit: str = ""
    notes: list[str] = field(default_factory=list)
    result: str | None = None
    error: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the action has ended, with a result or an error."""
        return self.result is not None or self.error is not None

    @contextmanager
    def track(self, activity: str, total: int, unit: str) -> Iterator[Advance]:
        """See `Progress`."""
        self.activity, self.total, self.done, self.unit = activity, total, 0, unit

        def advance(more: int) -> None:
            self.done += more

        yield advance

    def note(self, text: str, *, warning: bool = False) -> None:  # noqa: ARG002 - as Progress
        """See `Progress`. Notes over the limits are cut: their texts may come from letters."""
        if len(self.notes) < NOTES:
            self.notes.append(text[:LONGEST_NOTE])


Work = Callable[[Job], str]
"""Does the work, reports to the job, and returns the result in one sentence."""


class Jobs:
    """The actions of this console, newest first."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, title: str, person: str, work: Work, subject: str = "") -> Job:
        """Start an action in a thread of its own, and record who has started it.

        Raises:
            CliError: an action is running: two redrives would take each other's letters.
        """
        job = Job(title, person, subject)
        with self._lock:
            if running := next((each for each in self._jobs.values() if not each.ended), None):
                raise CliError(f"another action is running: {running.title}", "wait for its end")
            self._jobs[job.job_id] = job
            while len(self._jobs) > REMEMBERED:
                self._jobs.popitem(last=False)
        logger.info("console_action", action=title, person=person, job=job.job_id)
        threading.Thread(target=_run, args=(job, work), name="console job", daemon=True).start()
        return job

    def get(self, job_id: str) -> Job | None:
        """Return a job; None if it is not known."""
        return self._jobs.get(job_id)

    def all(self) -> list[Job]:
        """Return the jobs, newest first."""
        with self._lock:
            return list(reversed(self._jobs.values()))


def _run(job: Job, work: Work) -> None:
    try:
        job.result = work(job)
    except Exception as error:
        known = explain(error)
        if known is None:
            logger.exception("console_action_failed", action=job.title, job=job.job_id)
        else:  # its text may come from a letter, unless the class promises that it does not
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            reason = str(cause) if isinstance(cause, DeadLetterError) else error_code(cause)
            logger.warning("console_action_failed", action=job.title, job=job.job_id, reason=reason)
        job.error = str(known or one_line(error))
    failed = job.error is not None
    logger.info("console_action_ended", action=job.title, job=job.job_id, failed=failed)
