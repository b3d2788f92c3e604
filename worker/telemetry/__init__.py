"""Metrics and traces, off unless the standard OTEL_* variables turn them on.

See docs/how-to/telemetry.md.

The composition root calls `of_process(...)` for this process's `Telemetry`. If it is off, its
observer does nothing, the ports are used unchanged, and OpenTelemetry is not imported.
"""

from worker.telemetry.configuration import TelemetryError
from worker.telemetry.observed_publisher import observe_publisher
from worker.telemetry.process import Telemetry, forget_parent, of_process, prepare, stop

__all__ = [
    "Telemetry",
    "TelemetryError",
    "forget_parent",
    "observe_publisher",
    "of_process",
    "prepare",
    "stop",
]
