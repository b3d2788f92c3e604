"""Connect the health report to Celery's worker."""

from __future__ import annotations

import os
from typing import Any

import structlog
from celery.bootsteps import StartStopStep
from celery.concurrency import get_implementation
from celery.signals import worker_process_init, worker_shutdown, worker_shutting_down
from kombu.asynchronous import Hub

from application.health_source import HealthSource
from worker.health.assessment import HealthAssessment
from worker.health.heartbeat import HeartbeatError, HeartbeatFile, directory
from worker.health.reporter import HealthReporter
from worker.health.server import HealthServer

logger = structlog.get_logger(__name__)

INTERVAL = 5.0
"""Seconds between two turns that the event loop is asked for."""
SOLO = "celery.concurrency.solo"


def assessment_of(worker: Any) -> HealthAssessment | None:
    """Return the health assessment of Celery's worker; `None` if `begin` was not called for it."""
    reporter: HealthReporter | None = getattr(worker, "health_reporter", None)
    return None if reporter is None else reporter.assessment


def begin(worker: Any, address: tuple[str, int] | None) -> HealthAssessment:
    """Start the health report of a worker, until the worker ends; with an address, over HTTP too.

    Raises:
        PortInUseError: the address is not available.
    """
    assessment = HealthAssessment(blocks=get_implementation(worker.pool_cls).__module__ == SOLO)
    reporter = HealthReporter(assessment, _file(), _server(address, assessment))
    worker.health_reporter = reporter
    assessment.watch(lambda: _channel(worker))
    reporter.start()
    worker_shutting_down.connect(lambda **_: assessment.stop(), weak=False)
    worker_shutdown.connect(lambda **_: reporter.stop(), weak=False)
    return assessment


def _channel(worker: Any) -> HealthSource | None:
    """Return the channel that the worker consumes from, or `None` before it does."""
    consumer = getattr(getattr(worker, "consumer", None), "task_consumer", None)
    return getattr(consumer, "channel", None)


def _file() -> HeartbeatFile | None:
    """Return the heartbeat file; a worker also works without one."""
    try:
        return HeartbeatFile(directory())
    except HeartbeatError as error:
        logger.warning("heartbeat_off", reason=str(error))
        return None


def _server(address: tuple[str, int] | None, assessment: HealthAssessment) -> HealthServer | None:
    if address is None:
        return None
    server = HealthServer(*address, assessment.report)
    parent = os.getpid()
    worker_process_init.connect(
        lambda **_: server.forget() if os.getpid() != parent else None, weak=False
    )
    server.start()
    return server


class HealthStep(StartStopStep):
    """A step of Celery's worker that records each turn of the event loop."""

    requires = ("celery.worker.components:Hub",)

    def register_with_event_loop(self, worker: Any, hub: Hub) -> None:
        """Record a turn of the event loop every `INTERVAL` seconds."""
        assessment = assessment_of(worker)
        if assessment is not None:
            assessment.beat()
            hub.call_repeatedly(INTERVAL, assessment.beat)
