"""This process's telemetry: chosen by the environment, made at the first call, after a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
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
"""How long the end of a process waits for the last spans and metrics to be sent."""
MISSING: Final = (
    "its packages are not installed: pip install 'user-worker[telemetry]', "
    "or set OTEL_SDK_DISABLED=true"
)


Stops: TypeAlias = tuple[Callable[[], object], ...]


class Telemetry(NamedTuple):
    """What observes one process."""

    observer: WorkerObserver = NULL_OBSERVER
    calls: Calls | None = None
    """What observes calls to AWS, if anything does."""
    stops: Stops = ()
    """What sends the last spans and metrics; each may take long where a collector is down."""


OFF: Final = Telemetry()

_made: dict[int, Telemetry] = {}
"""By process: an SDK's threads do not outlive a fork."""
_port: PrometheusPort | None = None
"""The parent's, which its children inherit."""
_lock = threading.Lock()


def prepare() -> None:
    """Check what is asked for, and open the port for Prometheus; in the parent, before any child.

    A worker never ends because of telemetry: what is not possible is off, with one warning
    (a package is missing, the port is taken, there is no place for temporary files, ...).
    """
    configuration = read(os.environ)
    if not configuration.on:
        return
    try:
        from worker.telemetry import assembly  # noqa: PLC0415 - off, nothing of it is imported

        assembly.check(configuration)
    except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on
        _turn_off("all", DISABLED, "true", error)
        return
    if configuration.metrics != "prometheus":
        return
    try:
        _open_port(configuration)
    except Exception as error:  # noqa: BLE001 - as above
        _turn_off("metrics", METRICS, "none", error)


def _turn_off(what: str, variable: str, value: str, error: Exception) -> None:
    """Go on without it, in this process and in those that inherit its environment."""
    reason = type(error).__name__  # the text of an error that is not ours may hold a password
    if isinstance(error, ImportError):
        reason = MISSING
    elif isinstance(error, TelemetryError):
        reason = str(error)
    logger.warning("telemetry_off", signals=what, reason=reason)
    os.environ[variable] = value


def _open_port(configuration: Configuration) -> PrometheusPort:
    from worker.telemetry.prometheus import PrometheusPort  # noqa: PLC0415 - as above

    global _port  # noqa: PLW0603 - one a worker
    _port = PrometheusPort(configuration)
    return _port


def of_process() -> Telemetry:
    """Return this process's telemetry, making it at the first call.

    If it cannot be made, one that does nothing, with a warning.
    """
    with _lock:
        pid = os.getpid()
        if pid not in _made:
            _made.clear()
            try:
                _made[pid] = _make(read(os.environ))
            except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on
                _turn_off("all", DISABLED, "true", error)
                _made[pid] = OFF
        return _made[pid]


def _make(configuration: Configuration) -> Telemetry:
    if not configuration.on:
        return OFF
    from worker.telemetry import assembly  # noqa: PLC0415 - off, nothing of it is imported

    port = None
    if configuration.metrics == "prometheus":
        port = _port or _open_port(configuration)
    return assembly.assemble(configuration, port)


def forget_parent() -> None:
    """Let go, in a child just forked, what is the parent's; nothing where there is no child.

    Celery reports the start of a process for the one process of a solo pool as well.
    """
    global _lock  # noqa: PLW0603 - the parent may have held it
    _lock = threading.Lock()
    if _port is not None:
        _port.leave()


def stop() -> None:
    """Send what is left, in `FLUSH_SECONDS` at most; in the parent, close the port."""
    stops = _made.pop(os.getpid(), OFF).stops
    if _port is not None:
        stops = (*stops, _port.stop)
    deadline = monotonic() + FLUSH_SECONDS
    threads = [threading.Thread(target=each, name="telemetry flush", daemon=True) for each in stops]
    for thread in threads:  # at the same time: one that cannot be sent must not delay the others
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - monotonic()))
