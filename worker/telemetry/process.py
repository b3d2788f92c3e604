"""This process's telemetry, configured by the environment and created after a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import structlog

from application.observer import NULL_OBSERVER, WorkerObserver
from worker.telemetry.configuration import DISABLED, METRICS, Configuration, TelemetryError, read

if TYPE_CHECKING:
    from worker.telemetry.calls import Calls
    from worker.telemetry.prometheus import PrometheusPort

logger = structlog.get_logger(__name__)

FLUSH_SECONDS: Final = 3.0
"""Maximum seconds for which the end of a process waits to send the last spans and metrics."""
MISSING: Final = (
    "the packages are not installed: pip install 'user-worker[telemetry]', "
    "or set OTEL_SDK_DISABLED=true"
)


Stops: TypeAlias = tuple[Callable[[], object], ...]


class Telemetry(NamedTuple):
    """The telemetry of one process."""

    observer: WorkerObserver = NULL_OBSERVER
    calls: Calls | None = None
    """Observer of calls to AWS, or `None`."""
    stops: Stops = ()
    """Functions that send the last spans and metrics; slow if a collector is unavailable."""


OFF: Final = Telemetry()

_made: dict[int, Telemetry] = {}
"""By process id, because an SDK's threads do not survive a fork."""
_port: PrometheusPort | None = None
"""The parent's port, which its children inherit."""
_lock = threading.Lock()


def prepare() -> None:
    """Check the configuration, and open the port for Prometheus; in the parent, before any child.

    Telemetry never ends a worker: if it is not possible, it is turned off with one warning (a
    package is missing, the port is in use, no temporary directory is writable, ...).
    """
    configuration = read(os.environ)
    if not configuration.on:
        return
    try:
        from worker.telemetry import assembly  # noqa: PLC0415 - not imported if telemetry is off

        assembly.check(configuration)
    except Exception as error:  # noqa: BLE001 - no error of telemetry may stop the worker
        _turn_off("all", DISABLED, "true", error)
        return
    if configuration.metrics != "prometheus":
        return
    try:
        _open_port(configuration)
    except Exception as error:  # noqa: BLE001 - as above
        _turn_off("metrics", METRICS, "none", error)


def _turn_off(what: str, variable: str, value: str, error: Exception) -> None:
    """Turn telemetry off, in this process and in those that inherit its environment."""
    reason = type(error).__name__  # the text of a foreign error may contain a password
    if isinstance(error, ImportError):
        reason = MISSING
    elif isinstance(error, TelemetryError):
        reason = str(error)
    logger.warning("telemetry_off", signals=what, reason=reason)
    os.environ[variable] = value


def _open_port(configuration: Configuration) -> PrometheusPort:
    from worker.telemetry.prometheus import PrometheusPort  # noqa: PLC0415 - as above

    global _port  # noqa: PLW0603 - one per worker
    _port = PrometheusPort(configuration)
    return _port


def of_process(message_types: Sequence[str] = ()) -> Telemetry:
    """Return this process's telemetry, creating it at the first call.

    It labels metrics by these types of commands and events; others are labelled `other`. If that
    fails, log a warning and return a telemetry that does nothing.
    """
    with _lock:
        pid = os.getpid()
        if pid not in _made:
            _made.clear()
            try:
                _made[pid] = _make(read(os.environ), message_types)
            except Exception as error:  # noqa: BLE001 - no error of telemetry may stop the worker
                _turn_off("all", DISABLED, "true", error)
                _made[pid] = OFF
        return _made[pid]


def _make(configuration: Configuration, message_types: Sequence[str]) -> Telemetry:
    if not configuration.on:
        return OFF
    from worker.telemetry import assembly  # noqa: PLC0415 - not imported if telemetry is off

    port = None
    if configuration.metrics == "prometheus":
        port = _port or _open_port(configuration)
    return assembly.assemble(configuration, port, message_types)


def forget_parent() -> None:
    """Release the parent's resources in a forked child; has no effect without a fork.

    Celery also reports the start of a process for the single process of a solo pool.
    """
    global _lock  # noqa: PLW0603 - the parent may have held it
    _lock = threading.Lock()
    if _port is not None:
        _port.leave()


def stop() -> None:
    """Send the remaining data within `FLUSH_SECONDS`; in the parent, close the port."""
    stops = _made.pop(os.getpid(), OFF).stops
    if _port is not None:
        stops = (*stops, _port.stop)
    deadline = monotonic() + FLUSH_SECONDS
    threads = [threading.Thread(target=each, name="telemetry flush", daemon=True) for each in stops]
    for thread in threads:  # in parallel, so that one that cannot be sent does not delay the others
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - monotonic()))
