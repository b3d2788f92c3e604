"""The Celery application: `celery -A worker.app worker`."""

from __future__ import annotations

import signal
from collections.abc import Collection
from typing import Any

from billiard.process import current_process
from celery import Celery
from celery.signals import celeryd_init, worker_process_init
from kombu.entity import Queue

from application.messages import partition_key
from worker import (
    bootstrap,
    lifecycle,  # noqa: F401 - connects its signals
)
from worker.cli_errors import exit_with_error
from worker.errors import SettingsError, UsageError
from worker.health.step import HealthStep
from worker.permissions import load_permissions
from worker.pool_watch import PoolWatch
from worker.settings import Settings, load_settings
from worker.transport import ALIAS


def make_app(settings: Settings) -> Celery:
    """Create the application, without a client and without a call to AWS."""
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
            "command_queue_factory": bootstrap.command_queue_factory,
            "watch": bootstrap.watch_consumer,
            "partition_key": partition_key,
            "visibility_timeout": settings.visibility_timeout,
            "batch_size": settings.batch_size,
            "batch_wait": settings.batch_wait / 1000,
            "priority_queue": settings.priority_queue,
        },
        "broker_connection_retry_on_startup": True,
        "task_queues": [Queue(name, no_declare=True) for name in settings.queues],
        "task_default_queue": settings.command_queue,
        "task_create_missing_queues": False,
        "task_ignore_result": True,
        "task_acks_late": True,
        "worker_prefetch_multiplier": 1,  # waiting batches wait in the transport
        "worker_enable_remote_control": False,
        "worker_disable_rate_limits": True,
        "worker_detect_quorum_queues": False,
        "worker_proc_alive_timeout": 30.0,  # a child on a busy machine needs longer to import
    }


@celeryd_init.connect
def check_options(conf: Any, options: Any, **_: Any) -> None:
    """Exit with one line if -Q or -X names a queue that is not in the settings."""
    known = [queue.name for queue in conf.task_queues]
    for option, name in (("-Q", "queues"), ("-X", "exclude_queues")):
        for queue in _queue_names(options.get(name)):
            if queue not in known:
                exit_with_error(
                    UsageError(
                        f"{option} names queue {queue}, which is not in the settings",
                        f"the settings name {' and '.join(known)}: see USER_WORKER_COMMAND_QUEUE "
                        "and USER_WORKER_ADDITIONAL_QUEUES",
                    )
                )


def _queue_names(option: object) -> list[str]:
    """Return the names in Celery's `-Q` or `-X`, which it passes as typed or split."""
    if isinstance(option, str):
        return [name.strip() for name in option.split(",") if name.strip()]
    return [str(name) for name in option] if isinstance(option, Collection) else []


@worker_process_init.connect
def ignore_stop_signals_in_children(**_: Any) -> None:
    """Ignore SIGTERM and SIGHUP in a child, so that it finishes its batch.

    Both may be sent to the whole process group: a closing terminal sends SIGHUP so. The parent
    stops its children through their pipes, and by SIGKILL if they must end at once. With the solo
    pool this process is the parent, which must handle the signals.
    """
    if current_process().name != "MainProcess":
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


def _app_from_environment() -> Celery:
    try:
        settings = load_settings()
        _ = settings.hash_key_ring  # a missing key ends the program here, not in each child
        load_permissions(settings)  # the same for the permissions
    except SettingsError as error:
        exit_with_error(error)
    return make_app(settings)


app = _app_from_environment()
