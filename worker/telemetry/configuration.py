"""Read the OTEL_* variables; invalid ones are ignored with a warning.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ requires this: an
unsupported value is treated as not set. OpenTelemetry's SDK reads the variables itself, and raises
for some of them, so the ignored ones are also removed from the environment. Child processes inherit
it, so they do not warn again and decide in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import structlog

from worker.errors import SettingsError

logger = structlog.get_logger(__name__)

DISABLED: Final = "OTEL_SDK_DISABLED"
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
QUEUE_SIZE, BATCH_SIZE = "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
POSITIVE: Final = (
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_METRIC_EXPORT_TIMEOUT",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    QUEUE_SIZE,
    BATCH_SIZE,
)
"""Numbers from 1 to `MAX_NUMBER`; the SDK raises for others."""
MAX_NUMBER: Final = 2**31 - 1
"""In milliseconds, 24 days: a thread cannot wait much longer."""
_DEFAULTS: Final = {QUEUE_SIZE: "2048", BATCH_SIZE: "512"}
_INFIXES: Final = ("", "TRACES_", "METRICS_")


class TelemetryError(SettingsError):
    """Telemetry is unavailable; the message is one line that says why, without any value."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Exporters, and the address of the Prometheus port."""

    traces: str = "none"
    """Exporter: otlp, console or none."""
    metrics: str = "none"
    """Exporter: otlp, prometheus, console or none."""
    prometheus_host: str = "localhost"
    prometheus_port: int = 9464

    @property
    def on(self) -> bool:
        """Whether any exporter is on."""
        return (self.traces, self.metrics) != ("none", "none")


def read(environment: MutableMapping[str, str]) -> Configuration:
    """Return the configuration, and remove invalid variables from the environment.

    An empty variable is treated as not set. Each removed variable is logged once as
    `telemetry_setting_ignored`, with the rule and never with its value: an endpoint may contain a
    password. If everything is off, nothing else is checked.
    """
    given = _Given(environment)
    if given.one_of(DISABLED, ("true", "false"), "false") == "true":
        return Configuration()
    traces, metrics = _exporter(TRACES, given), _exporter(METRICS, given)
    if (traces, metrics) == ("none", "none"):
        return Configuration()
    _check(given)
    default = Configuration()
    given.require(PORT, _is_port, "a port: 1 to 65535, or 0 for any that is free")
    host = given.get(HOST) or default.prometheus_host
    return Configuration(traces, metrics, host, int(given.get(PORT) or default.prometheus_port))


class _Given:
    """The variables that are set; those that break a rule are ignored."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self.environment = environment

    def get(self, variable: str) -> str:
        """Return the value without surrounding blanks; an empty string if it is not set."""
        return self.environment.get(variable, "").strip()

    def ignore(self, variable: str, rule: str) -> None:
        """Log a warning, and remove the variable as if it was not set."""
        logger.warning("telemetry_setting_ignored", variable=variable, rule=f"must be {rule}")
        del self.environment[variable]

    def require(self, variable: str, check: Callable[[str], bool], rule: str) -> None:
        """Ignore the variable if it is set and the check fails."""
        if (text := self.get(variable)) and not check(text):
            self.ignore(variable, rule)

    def one_of(self, variable: str, allowed: tuple[str, ...], default: str) -> str:
        """Return one of the allowed values, in lower case; the SDK reads it in this form, too."""
        self.require(variable, lambda text: text.lower() in allowed, _alternatives(allowed))
        if chosen := self.get(variable).lower():
            self.environment[variable] = chosen
        return chosen or default


def _alternatives(allowed: tuple[str, ...]) -> str:
    return " or ".join(filter(None, (", ".join(allowed[:-1]), allowed[-1])))


def _exporter(variable: str, given: _Given) -> str:
    """Return the exporter of a signal; if there is an endpoint, the standard's default is otlp.

    Of a list, the first known exporter is used, because there is one exporter for each signal.
    """
    allowed = EXPORTERS[variable]
    names = [name for part in given.get(variable).split(",") if (name := part.strip().lower())]
    if known := [name for name in names if name in allowed]:
        chosen = next((name for name in known if name != "none"), "none")
        if set(names) != {chosen}:
            rule = f"must be one of {_alternatives(allowed)}; {chosen} is used"
            logger.warning("telemetry_setting_ignored", variable=variable, rule=rule)
            given.environment[variable] = chosen
        return chosen
    if names:
        given.ignore(variable, _alternatives(allowed))
    endpoints = (ENDPOINT, f"OTEL_EXPORTER_OTLP_{variable.split('_')[1]}_ENDPOINT")
    for each in endpoints:
        _check_endpoint(each, given)
    return "otlp" if any(given.get(each) for each in endpoints) else "none"


def _check(given: _Given) -> None:
    """Ignore values for which the SDK would raise or only log, or which it would misinterpret."""
    for infix in _INFIXES:
        _check_endpoint(f"OTEL_EXPORTER_OTLP_{infix}ENDPOINT", given)
        given.one_of(f"OTEL_EXPORTER_OTLP_{infix}PROTOCOL", ("http/protobuf",), "http/protobuf")
        given.one_of(f"OTEL_EXPORTER_OTLP_{infix}COMPRESSION", ("none", "gzip", "deflate"), "none")
        given.require(f"OTEL_EXPORTER_OTLP_{infix}HEADERS", _is_pairs, "name=value,name=value")
    for variable in POSITIVE:
        whole = variable in _DEFAULTS
        given.require(
            variable,
            _is_whole if whole else _is_number,
            f"{'a whole' if whole else 'a'} number from 1 to {MAX_NUMBER}",
        )
    sizes = {name: int(given.get(name) or default) for name, default in _DEFAULTS.items()}
    if sizes[BATCH_SIZE] > sizes[QUEUE_SIZE]:
        for variable in _DEFAULTS:
            if given.get(variable):
                given.ignore(variable, f"such that {BATCH_SIZE} is at most {QUEUE_SIZE}")
    for variable in list(given.environment):  # such as OTEL_SPAN_LINK_COUNT_LIMIT
        if variable.startswith("OTEL_") and variable.endswith("_LIMIT"):
            given.require(variable, str.isdecimal, "a whole number")
    given.one_of(TEMPORALITY, ("cumulative", "delta", "lowmemory"), "cumulative")
    given.one_of(AGGREGATION, ("explicit_bucket_histogram",), "explicit_bucket_histogram")
    given.one_of("OTEL_TRACES_SAMPLER", SAMPLERS, SAMPLERS[0])
    given.require("OTEL_TRACES_SAMPLER_ARG", _is_ratio, "a number from 0 to 1")
    given.require("OTEL_RESOURCE_ATTRIBUTES", _is_pairs, "name=value,name=value")
    given.require("OTEL_PROPAGATORS", _is_w3c, "tracecontext,baggage: others are not supported")


def _check_endpoint(variable: str, given: _Given) -> None:
    given.require(variable, _is_url, "a URL, for example http://127.0.0.1:4318")


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 6 and int(text) <= 65_535  # noqa: PLR2004 - the highest port


def _is_number(text: str) -> bool:
    return 1 <= _number(text) <= MAX_NUMBER


def _is_whole(text: str) -> bool:
    return text.isdecimal() and _is_number(text)


def _is_ratio(text: str) -> bool:
    return 0 <= _number(text) <= 1


def _is_pairs(text: str) -> bool:
    return all("=" in pair for pair in text.split(",") if pair.strip())


def _is_w3c(text: str) -> bool:
    return {name.strip() for name in text.split(",")} <= {"tracecontext", "baggage", "none"}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
