"""This process's telemetry: chosen by the environment, made at the first call, after a fork."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import structlog

from worker.telemetry.configuration import DISABLED, METRICS, Configuration, TelemetryError, read
from worker.telemetry.port import Meter, Telemetry

if TYPE_CHECKING:
    from worker.telemetry.counting import Counts

logger = structlog.get_logger(__name__)

FLUSH_SECONDS: Final = 3.0
"""How long the end of a process waits for the last spans and metrics to be sent."""
WRITE_SECONDS: Final = 1.0
"""A process that is killed takes with it what it has counted since."""
MISSING: Final = (
    "its packages are not installed: pip install 'user-worker[telemetry]', "
    "or set OTEL_SDK_DISABLED=true"
)


class Outlet(Protocol):
    """How metrics leave a worker: a port for Prometheus, or what sends them."""

    def leave(self) -> None:
        """Let go of it in a child just forked."""
        ...

    def stop(self) -> None:
        """Send what is left, and nothing after it."""
        ...


class _Metrics(NamedTuple):
    """What all processes of a worker count, and how it leaves."""

    counts: Counts
    outlet: Outlet


_made: dict[int, Telemetry] = {}
"""By process: an SDK's threads do not outlive a fork."""
_metrics: _Metrics | None = None
"""The parent's, which its children inherit."""
_lock = threading.Lock()


def prepare() -> None:
    """Check what is asked for, and begin to give metrics; in the parent, before any child.

    A worker never ends because of telemetry: what is not possible is off, with one warning
    (a package is missing, the port is taken, there is no place for temporary files, ...).
    """
    configuration = read(os.environ)
    if not configuration.on:
        return
    try:
        from worker.telemetry import sdk  # noqa: PLC0415 - off, nothing of it is imported

        sdk.quieten()
        if configuration.traces != "none":
            sdk.check_span_sender(configuration.traces)
    except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on
        _turn_off("all", DISABLED, "true", error)
        return
    if configuration.metrics == "none":
        return
    try:
        _begin_metrics(configuration)
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


def _begin_metrics(configuration: Configuration) -> _Metrics:
    from worker.telemetry.counting import Counts  # noqa: PLC0415 - off, it is not imported

    global _metrics  # noqa: PLW0603 - one a worker
    counts = Counts()
    try:
        _metrics = _Metrics(counts, _outlet(counts, configuration))
    except BaseException:
        counts.remove()
        raise
    return _metrics


def _outlet(counts: Counts, configuration: Configuration) -> Outlet:
    if configuration.metrics == "prometheus":
        from worker.telemetry.prometheus import PrometheusPort  # noqa: PLC0415 - as above

        return PrometheusPort(counts, configuration)
    from worker.telemetry.sending import MetricSender, exporter_of  # noqa: PLC0415 - as above

    return MetricSender(counts, exporter_of(configuration.metrics))


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
                _made[pid] = Telemetry()
        return _made[pid]


def _make(configuration: Configuration) -> Telemetry:
    if not configuration.on:
        return Telemetry()
    from worker.telemetry import sdk  # noqa: PLC0415 - off, nothing of it is imported
    from worker.telemetry.instrumented import InstrumentedWorker  # noqa: PLC0415 - as above
    from worker.telemetry.sampling import Sampling  # noqa: PLC0415 - as above
    from worker.telemetry.tracing import Tracing  # noqa: PLC0415 - as above

    sdk.quieten()
    tracing = None
    if configuration.traces != "none":
        tracing = Tracing(Sampling.of(os.environ), sdk.span_sender(configuration.traces))
    return InstrumentedWorker(_meter(configuration), tracing)


def _meter(configuration: Configuration) -> Meter | None:
    if configuration.metrics == "none":
        return None
    from worker.telemetry.counting import CountingMeter  # noqa: PLC0415 - as above

    meter = CountingMeter((_metrics or _begin_metrics(configuration)).counts)
    threading.Thread(target=_keep_written, args=(meter,), name="telemetry", daemon=True).start()
    return meter


def _keep_written(meter: Meter) -> None:
    """Have the parent see within a second what is measured here, while the process lives."""
    while True:
        time.sleep(WRITE_SECONDS)
        meter.write()


def forget_parent() -> None:
    """Let go, in a child just forked, what is the parent's; nothing where there is no child.

    Celery tells the one process of a solo pool as well that a process begins.
    """
    global _lock  # noqa: PLW0603 - the parent may have held it
    _lock = threading.Lock()
    if _metrics is not None and not _metrics.counts.here:
        _metrics.outlet.leave()


def stop() -> None:
    """Send what is left, in `FLUSH_SECONDS` at most; in the parent, give no more metrics."""
    if not _made and _metrics is None:
        return
    last = threading.Thread(target=_send_last, name="telemetry flush", daemon=True)
    last.start()
    last.join(FLUSH_SECONDS)
    if _metrics is not None:
        _metrics.counts.remove()


def _send_last() -> None:
    if telemetry := _made.pop(os.getpid(), None):
        telemetry.stop()
    if _metrics is not None and _metrics.counts.here:
        _metrics.outlet.stop()
