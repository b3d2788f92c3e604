"""Handlers of Celery's signals: logs, resources, telemetry and the relay."""

from __future__ import annotations

import gc
import logging
from threading import Timer
from typing import Any

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from celery.concurrency import get_implementation
from celery.signals import (
    setup_logging,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
)

from adapters.errors import ResourceMismatchError
from worker import bootstrap, logs, telemetry
from worker.cli_errors import exit_if_start_fails, exit_with_error
from worker.errors import CliError, memory_needs_one_process
from worker.health import step as health
from worker.health.assessment import HealthAssessment
from worker.health.server import PortInUseError
from worker.log_stream import unblock_standard_streams
from worker.resources.start import require_resources
from worker.settings import PREFIX, Settings, load_settings

CELERYS_DEFAULT_LEVEL = logging.WARNING
"""The level that Celery passes if none was given; the setting applies then."""
SINGLE_PROCESS_POOLS = frozenset({"celery.concurrency.solo", "celery.concurrency.thread"})

RELAY_RETRY = 10.0
"""Seconds until the relay is created again after a failure."""

logger = structlog.get_logger(__name__)


@setup_logging.connect
def set_up_logs(loglevel: int | None = None, logfile: str | None = None, **_: Any) -> None:
    """Configure one format for Celery's log lines and ours; level from `-l` or the settings."""
    settings = load_settings()
    asked_for = loglevel if loglevel != CELERYS_DEFAULT_LEVEL else None
    unblock_standard_streams()
    try:
        logs.configure(settings.log_format, asked_for or settings.log_level, logfile)
    except OSError as error:
        exit_with_error(
            CliError(
                f"cannot write the log to {logfile}: {error.strerror}",
                "choose another file with -f",
            )
        )


@worker_init.connect
def freeze_modules(**_: Any) -> None:
    """Exclude imported modules from garbage collection, before a pool forks its children.

    A collection writes to each object that it examines, so a child would copy most of the memory
    that it shares with its parent. It would also delay the end of the process.
    """
    gc.freeze()


@worker_init.connect
@exit_if_start_fails()
def prepare(sender: Any, **_: Any) -> None:
    """Provision for development, or wait for resources elsewhere; start the health report first.

    Exits if the pool cannot share a repository in memory.
    """
    settings = load_settings()
    pool = get_implementation(sender.pool_cls).__module__
    if settings.repository == "memory" and pool not in SINGLE_PROCESS_POOLS:
        exit_with_error(memory_needs_one_process())
    telemetry.prepare()
    assessment = begin_health(sender, settings)
    assessment.watch(bootstrap.clock_watch)
    try:
        made = bootstrap.provision_for_development(settings)
    except (ResourceMismatchError, ClientError, BotoCoreError, ValueError) as error:
        exit_with_error(error)
    if not made:  # provisioning has compared them already
        require_resources(settings, assessment)


def begin_health(sender: Any, settings: Settings) -> HealthAssessment:
    """Start the health report of a worker; exit if the port for probes is not available."""
    port = settings.health_port
    try:
        return health.begin(sender, None if port is None else (settings.health_host, port))
    except PortInUseError as error:
        exit_with_error(CliError(str(error), f"change {PREFIX}HEALTH_PORT or {PREFIX}HEALTH_HOST"))


@worker_process_init.connect
def forget_parents_telemetry(**_: Any) -> None:
    """Forget the parent's telemetry in a child: an SDK's threads do not survive a fork."""
    telemetry.forget_parent()


@worker_process_shutdown.connect
@worker_shutdown.connect
def stop_telemetry(**_: Any) -> None:
    """Send the last measurements of a process."""
    telemetry.stop()


@worker_ready.connect
def start_relay(sender: Any = None, **_: Any) -> None:
    """Start the relay in the parent process: one per worker, however many children it has.

    If it cannot be created now (for example, without credentials), this is tried again: Celery
    would log the error and run without a relay.
    """
    try:
        worker = bootstrap.worker()
    except Exception:
        logger.exception("relay_not_started")
        again = Timer(RELAY_RETRY, start_relay, kwargs={"sender": sender})
        again.daemon = True
        again.start()
        return
    worker.relay.start()
    # Connected here, so that a worker that never was ready has nothing to stop.
    worker_shutdown.connect(lambda **_: worker.relay.stop(), weak=False, dispatch_uid="relay")
    if assessment := health.assessment_of(getattr(sender, "controller", None)):
        assessment.watch(lambda: worker.relay)
        assessment.ready()
    logger.info(
        "worker_ready", queues=worker.settings.queues, repository=worker.settings.repository
    )
