"""Metrics and traces, off unless the standard OTEL_* variables turn them on; see docs/telemetry.md.

The composition root asks `of_process()` for this process's `Telemetry` and lets it watch what it
puts together. Off, everything comes back as it was given, and costs nothing.
"""

from worker.telemetry.configuration import TelemetryError
from worker.telemetry.port import Telemetry
from worker.telemetry.process import forget_parent, of_process, prepare, stop

__all__ = [
    "Telemetry",
    "TelemetryError",
    "forget_parent",
    "of_process",
    "prepare",
    "stop",
]
