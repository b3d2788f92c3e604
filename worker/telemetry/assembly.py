"""Create the telemetry of a process; imported only if telemetry is on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracer

from worker.telemetry import sdk
from worker.telemetry.calls import Calls
from worker.telemetry.configuration import Configuration
from worker.telemetry.instruments import SCHEMA_URL, SCOPE
from worker.telemetry.metrics import Meter, MetricsObserver, OpenTelemetryMeter
from worker.telemetry.process import Stops, Telemetry
from worker.telemetry.tracing import TracingObserver

if TYPE_CHECKING:
    from worker.telemetry.prometheus import PrometheusPort


def check(configuration: Configuration) -> None:
    """Raise the SDK's error for variables that it cannot read."""
    sdk.quieten()
    sdk.check(configuration.traces, configuration.metrics)


def assemble(
    configuration: Configuration, port: PrometheusPort | None, message_types: Sequence[str]
) -> Telemetry:
    """Return the telemetry of this process, and start its threads."""
    sdk.quieten()
    meter, stops = _meter(configuration, port)
    if configuration.traces == "none":
        return Telemetry(MetricsObserver(meter, message_types), Calls(meter, NoOpTracer()), stops)
    provider = sdk.tracer_provider(configuration.traces)
    tracer = provider.get_tracer(SCOPE, schema_url=SCHEMA_URL)
    observer = TracingObserver(meter, tracer, message_types)
    return Telemetry(observer, Calls(meter, tracer), (*stops, provider.shutdown))


def _meter(configuration: Configuration, port: PrometheusPort | None) -> tuple[Meter, Stops]:
    """Return the meter, and the functions that send the last metrics."""
    if port is not None:
        from worker.telemetry.prometheus import PrometheusMeter  # noqa: PLC0415 - for a port only

        return PrometheusMeter(port), ()
    if configuration.metrics == "none":
        return OpenTelemetryMeter(NoOpMeterProvider()), ()
    provider = sdk.meter_provider(configuration.metrics)
    return OpenTelemetryMeter(provider), (provider.shutdown,)
