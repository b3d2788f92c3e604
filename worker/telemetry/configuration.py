"""What the OTEL_* variables ask for, checked before anything starts.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from worker.settings import SettingsError

TRACES, METRICS = "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER"
ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
EXPORTERS: Final = {
    TRACES: ("otlp", "console", "none"),
    METRICS: ("otlp", "prometheus", "console", "none"),
}
PORT, HOST = "OTEL_EXPORTER_PROMETHEUS_PORT", "OTEL_EXPORTER_PROMETHEUS_HOST"
SAMPLERS: Final = tuple(
    prefix + name
    for prefix in ("", "parentbased_")
    for name in ("always_on", "always_off", "traceidratio")
)
TEMPORALITY: Final = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
AGGREGATION: Final = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
POSITIVE: Final = (
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_METRIC_EXPORT_TIMEOUT",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
)
"""Numbers above 0; the SDK would log a traceback, or stop the worker with one."""


class TelemetryError(SettingsError):
    """Telemetry cannot be as it is asked for; one line that names the variable and the rule."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is on, and where Prometheus is answered."""

    traces: str = "none"
    """Exporter: otlp, console or none."""
    metrics: str = "none"
    """Exporter: otlp, prometheus, console or none."""
    prometheus_host: str = "localhost"
    prometheus_port: int = 9464

    @property
    def on(self) -> bool:
        """Whether there is anything to do."""
        return (self.traces, self.metrics) != ("none", "none")


def read(environment: Mapping[str, str]) -> Configuration:
    """Read the variables; an empty one is as one that is not set.

    Raises:
        TelemetryError: one is wrong. Never with its value: an endpoint may hold a password.
    """
    given = {name: value.strip() for name, value in environment.items() if value.strip()}
    disabled = _one_of("OTEL_SDK_DISABLED", given, ("true", "false"), "false")
    if disabled == "true":
        return Configuration()
    traces, metrics = _exporter(TRACES, given), _exporter(METRICS, given)
    found = Configuration(
        traces, metrics, given.get(HOST, Configuration().prometheus_host), _port(given)
    )
    if found.on:
        _check(given)
    return found


def _exporter(variable: str, given: Mapping[str, str]) -> str:
    """Give the exporter of a signal: where an endpoint is given, the standard's default, otlp."""
    signal = variable.split("_")[1]
    endpoint = ENDPOINT in given or f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT" in given
    return _one_of(variable, given, EXPORTERS[variable], "otlp" if endpoint else "none")


def _one_of(variable: str, given: Mapping[str, str], allowed: tuple[str, ...], default: str) -> str:
    value = given.get(variable, default).lower()
    if value not in allowed:
        names = " or ".join(filter(None, (", ".join(allowed[:-1]), allowed[-1])))
        raise TelemetryError(f"{variable} must be {names}")
    return value


def _port(given: Mapping[str, str]) -> int:
    text = given.get(PORT, str(Configuration().prometheus_port))
    if not text.isdecimal() or not 0 <= int(text) <= 65_535:  # noqa: PLR2004 - the highest port
        raise TelemetryError(f"{PORT} must be a port: 1 to 65535, or 0 for any that is free")
    return int(text)


def _check(given: Mapping[str, str]) -> None:
    """Check what the SDK would only log, or take for something else."""
    for infix in ("", "TRACES_", "METRICS_"):
        _check_endpoint(f"OTEL_EXPORTER_OTLP_{infix}ENDPOINT", given)
        _one_of(f"OTEL_EXPORTER_OTLP_{infix}PROTOCOL", given, ("http/protobuf",), "http/protobuf")
    for variable in POSITIVE:
        if variable in given and not _number(given[variable]) > 0:
            raise TelemetryError(f"{variable} must be a number above 0")
    _one_of(TEMPORALITY, given, ("cumulative", "delta", "lowmemory"), "cumulative")
    _one_of(AGGREGATION, given, ("explicit_bucket_histogram",), "explicit_bucket_histogram")
    _one_of("OTEL_TRACES_SAMPLER", given, SAMPLERS, SAMPLERS[0])
    if not 0 <= _number(given.get("OTEL_TRACES_SAMPLER_ARG", "1")) <= 1:
        raise TelemetryError("OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1")
    pairs = given.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    if not all("=" in pair for pair in pairs if pair.strip()):
        raise TelemetryError("OTEL_RESOURCE_ATTRIBUTES must be name=value, separated by commas")


def _check_endpoint(variable: str, given: Mapping[str, str]) -> None:
    if variable not in given:
        return
    try:
        url = urlsplit(given[variable])
        right = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        right = False
    if not right:
        raise TelemetryError(f"{variable} must be a URL, as http://127.0.0.1:4318")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
