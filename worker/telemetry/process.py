"""This process's telemetry: chosen by the environment, made at the first call, after a fork."""

from __future__ import annotations

import os
import threading
from typing import Final

from worker.telemetry.configuration import Configuration, TelemetryError, read
from worker.telemetry.port import Meter, Telemetry

FLUSH_SECONDS: Final = 3.0
"""How long the end of a process waits for the last spans and metrics to be sent."""
MISSING: Final = (
    "OTEL_* variables ask for telemetry, and its packages are not installed: "
    "pip install 'user-worker[telemetry]', or set OTEL_SDK_DISABLED=true"
)

_made: dict[int, Telemetry] = {}
"""By process: an SDK's threads do not outlive a fork."""
_lock = threading.Lock()


def prepare() -> None:
    """Check what is asked for, and open Prometheus's port; in the parent, before any child.

    Raises:
        TelemetryError: a variable is wrong, a package is missing, or the port is taken.
    """
    configuration = read(os.environ)
    if not configuration.on:
        return
    try:
        from worker.telemetry import sdk  # noqa: PLC0415 - off, nothing of it is imported

        if configuration.metrics == "prometheus":
            from worker.telemetry.prometheus import expose  # noqa: PLC0415 - as above

            expose(configuration)
    except ImportError as error:
        raise TelemetryError(MISSING) from error
    sdk.quieten()


def of_process() -> Telemetry:
    """Give this process's telemetry, making it at the first call.

    Raises:
        TelemetryError: a variable is wrong; a worker has checked that before.
    """
    with _lock:
        pid = os.getpid()
        if pid not in _made:
            _made.clear()
            _made[pid] = _make(read(os.environ))
        return _made[pid]


def _make(configuration: Configuration) -> Telemetry:
    if not configuration.on:
        return Telemetry()
    from worker.telemetry import sdk  # noqa: PLC0415 - off, nothing of it is imported
    from worker.telemetry.tracing import Tracing  # noqa: PLC0415 - as above
    from worker.telemetry.watching import Watching  # noqa: PLC0415 - as above

    sdk.quieten()
    tracing = None
    if configuration.traces != "none":
        tracing = Tracing(sdk.tracer_provider(configuration.traces))
    return Watching(_meter(configuration), tracing)


def _meter(configuration: Configuration) -> Meter | None:
    if configuration.metrics == "prometheus":
        from worker.telemetry.prometheus import PrometheusMeter  # noqa: PLC0415 - as above

        return PrometheusMeter()
    if configuration.metrics == "none":
        return None
    from worker.telemetry import sdk  # noqa: PLC0415 - as above

    return sdk.SdkMeter(sdk.metric_reader(configuration.metrics))


def forget_parent() -> None:
    """Let go, in a child just forked, what is the parent's."""
    global _lock  # noqa: PLW0603 - the parent may have held it
    _lock = threading.Lock()
    if read(os.environ).metrics == "prometheus":
        from worker.telemetry import prometheus  # noqa: PLC0415 - off, it is not imported

        prometheus.leave()


def stop() -> None:
    """Send what is left, in `FLUSH_SECONDS` at most, and close Prometheus's port."""
    telemetry = _made.pop(os.getpid(), None)
    if telemetry is None:
        return
    last = threading.Thread(target=telemetry.stop, name="telemetry flush", daemon=True)
    last.start()
    last.join(FLUSH_SECONDS)
    if read(os.environ).metrics == "prometheus":
        from worker.telemetry import prometheus  # noqa: PLC0415 - as above

        prometheus.conceal()
