"""The Celery application: `celery -A worker.app worker`."""

from __future__ import annotations

import signal
from typing import Any

import structlog
from billiard.process import current_process
from celery import Celery
from celery.signals import celeryd_init, worker_init, worker_process_init
from kombu.entity import Queue

from worker import (
    lifecycle,  # noqa: F401 - connects its signals, before those below
    logs,
)
from worker.errors import UsageError
from worker.health.step import HealthStep, assessment_of
from worker.pool_watch import PoolWatch
from worker.settings import Settings, SettingsError, load_settings
from worker.startup import chosen_queues, exit_with_error, is_permanent
from worker.transport import ALIAS, Options
from worker.transport.port import one_line

logger = structlog.get_logger(__name__)

COMMAND_QUEUE_FACTORY = "worker.bootstrap:command_queue_factory"
WATCH = "worker.bootstrap:watch_consumer"
PARTITION_KEY = "application.messages:partition_key"


def make_app(settings: Settings) -> Celery:
    """Make the application; it creates no client and calls no service."""
    app: Any = Celery("user-worker", include=["worker.tasks"])
    app.Worker = app.subclass_with_self("worker.celery_worker:Worker")
    app.conf.update(_configuration(settings))
    app.steps["worker"].update({HealthStep, PoolWatch})
    made: Celery = app
    return made


def _configuration(settings: Settings) -> dict[str, Any]:
    return {
        "broker_url": f"{ALIAS}://",
        "broker_transport_options": {
            "command_queue_factory": COMMAND_QUEUE_FACTORY,
            "watch": WATCH,
            "partition": PARTITION_KEY,
            "visibility_timeout": settings.visibility_timeout,
            "batch_size": settings.batch_size,
            "queues": settings.queues,
        },
        "broker_connection_retry_on_startup": True,
        "task_queues": [Queue(name, no_declare=True) for name in settings.queues],
        "task_default_queue": settings.command_queue,
        "task_create_missing_queues": False,
        "task_ignore_result": True,
        "task_acks_late": True,
        "worker_prefetch_multiplier": 1,  # what waits, waits in the transport
        "worker_enable_remote_control": False,
        "worker_disable_rate_limits": True,
        "worker_detect_quorum_queues": False,
        "worker_proc_alive_timeout": 30.0,  # a child that imports on a busy machine is no dead one
    }


@celeryd_init.connect
def check_options(conf: Any, options: Any, **_: Any) -> None:
    """End the program with one line when -Q or -X name a queue that the settings do not."""
    known = [queue.name for queue in conf.task_queues]
    for option, name in (("-Q", "queues"), ("-X", "exclude_queues")):
        for queue in chosen_queues(options.get(name)):
            if queue not in known:
                exit_with_error(
                    UsageError(
                        f"{option} names a queue that the settings do not",
                        f"they name {' and '.join(known)}: see USER_WORKER_COMMAND_QUEUE",
                    )
                )


@worker_init.connect
def check_queues(sender: Any, **_: Any) -> None:
    """End the program with one line when a queue is missing, or AWS refuses us.

    Other troubles may pass, and the worker starts. But a person who has just typed the command
    would wait for nothing, so in development they end it too. What has been looked at together
    with table and topic is not looked at again.
    """
    if assessment_of(sender) is not None:
        return
    options = Options.read(sender.app.conf.broker_transport_options)
    settings = load_settings()
    for name in sender.app.amqp.queues.consume_from:
        try:
            queue = options.queue(name)
        except Exception as error:  # noqa: BLE001  # it calls no network, so it would fail again
            exit_with_error(error)
        try:
            queue.check()
        except Exception as error:  # noqa: BLE001  # the transport survives what may pass
            if settings.env == "dev" or isinstance(error, LookupError) or is_permanent(error):
                exit_with_error(error)
            logs.configure(settings.log_format, settings.log_level)  # Celery has not, so early
            logger.warning("queue_unchecked", queue=name, reason=one_line(error))


@worker_process_init.connect
def ignore_stop_signals_in_children(**_: Any) -> None:
    """Let a child finish its batch when SIGTERM or SIGHUP is sent to the whole process group.

    A terminal that is closed sends SIGHUP so. The parent stops its children through their pipes;
    what must end at once it ends with SIGKILL. With the solo pool this process is the parent,
    which has to hear the signals.
    """
    if current_process().name != "MainProcess":
        for name in ("SIGTERM", "SIGHUP"):
            if number := getattr(signal, name, None):
                signal.signal(number, signal.SIG_IGN)


def _app_from_environment() -> Celery:
    try:
        settings = load_settings()
    except SettingsError as error:
        exit_with_error(error)
    return make_app(settings)


app = _app_from_environment()
