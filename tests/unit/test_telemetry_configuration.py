from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from structlog.testing import capture_logs

from tests import canaries
from worker.telemetry import TelemetryError, process
from worker.telemetry.configuration import (
    EXPORTERS,
    POSITIVE,
    read,
)
from worker.telemetry.port import Telemetry
from worker.telemetry.sdk import OwnSpans, resource

COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environment", "traces", "metrics"),
    [
        ({}, "none", "none"),
        ({"OTEL_TRACES_EXPORTER": ""}, "none", "none"),
        ({"OTEL_SERVICE_NAME": "worker", "OTEL_TRACES_SAMPLER": "always_on"}, "none", "none"),
        (COLLECTOR, "otlp", "otlp"),
        (COLLECTOR | {"OTEL_METRICS_EXPORTER": "prometheus"}, "otlp", "prometheus"),
        (COLLECTOR | {"OTEL_TRACES_EXPORTER": "none"}, "none", "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c:1/v1/traces"}, "otlp", "none"),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "https://c:1"}, "none", "otlp"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp", "none"),
        ({"OTEL_TRACES_EXPORTER": "Console"}, "console", "none"),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, "none", "prometheus"),
        (COLLECTOR | {"OTEL_SDK_DISABLED": "TRUE"}, "none", "none"),
        (COLLECTOR | {"OTEL_SDK_DISABLED": "false"}, "otlp", "otlp"),
    ],
)
def test_these_variables_turn_it_on(environment: dict[str, str], traces: str, metrics: str) -> None:
    """And nothing else does."""
    found = read(environment)
    assert (found.traces, found.metrics) == (traces, metrics)
    assert found.on == ((traces, metrics) != ("none", "none"))


SECRET_URL = f"ftp://user:{canaries.SECRET}@collector"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_TRACES_EXPORTER", canaries.SECRET),
        ("OTEL_TRACES_EXPORTER", "prometheus"),
        ("OTEL_METRICS_EXPORTER", "otlp,prometheus"),
        ("OTEL_SDK_DISABLED", "yes"),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "0x10"),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "65536"),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "-1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", SECRET_URL),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://[::1"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://c:port"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "sometimes"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "exponential"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_SAMPLER_ARG", "a tenth"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team"),
        *((variable, value) for variable in POSITIVE for value in ("0", "soon")),
    ],
)
def test_a_wrong_value_is_told_in_one_line(variable: str, value: str) -> None:
    """It names the variable and the rule, and never the value, which may be a secret."""
    with pytest.raises(TelemetryError) as caught:
        read({**COLLECTOR, variable: value})
    text = str(caught.value)
    assert text.startswith(f"{variable} must be ")
    assert "\n" not in text
    assert not canaries.secret_in(text)


def test_what_is_off_is_not_checked() -> None:
    """A machine may have variables for others; they do not keep this worker from starting."""
    assert not read({"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}).on


def test_off_nothing_is_imported_and_nothing_watches() -> None:
    """It costs nothing: the parts come back as they were given."""
    code = (
        "import sys, worker.bootstrap as b; from worker.settings import Settings; "
        "from worker.batch import BatchHandler; "
        "w = b.build(Settings(repository='memory')); "
        "assert type(w.batch) is BatchHandler; "
        "assert not [m for m in sys.modules if m.startswith(('opentelemetry', 'prometheus'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)  # a fresh interpreter


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A process that has made no telemetry yet, and forgets what it made."""
    monkeypatch.setattr(process, "_made", {})
    monkeypatch.setattr(process, "_metrics", None)
    yield monkeypatch
    process.stop()


def test_a_missing_package_is_told_in_one_line(fresh: pytest.MonkeyPatch) -> None:
    """With what to install."""
    fresh.setenv("OTEL_TRACES_EXPORTER", "otlp")
    fresh.delitem(sys.modules, "worker.telemetry.sdk", raising=False)
    fresh.delattr("worker.telemetry.sdk", raising=False)
    fresh.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(TelemetryError, match=r"pip install 'user-worker\[telemetry\]'"):
        process.prepare()


def test_one_process_has_one_telemetry(fresh: pytest.MonkeyPatch) -> None:
    """Of what the environment says; off is the default."""
    for variable in EXPORTERS:
        fresh.delenv(variable, raising=False)
    assert process.of_process() is process.of_process()
    assert type(process.of_process()) is Telemetry


def test_processes_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """By `service.instance.id`, also where one is given for the host, or inherited by a fork."""
    assert resource().attributes["service.name"] == "user-worker"
    assert str(resource().attributes["service.instance.id"]).endswith(f"-{os.getpid()}")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "accounts")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=host-1,team=users")
    found = resource().attributes
    assert found["service.name"] == "accounts"
    assert found["team"] == "users"
    assert found["service.instance.id"] == f"host-1-{os.getpid()}"


class _Away(SpanExporter):
    """A collector that does not answer, or whose answer is an error."""

    answer: SpanExportResult | Exception = SpanExportResult.FAILURE

    def export(self, spans: object) -> SpanExportResult:
        """Answer as told."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_collector_that_is_away_is_one_line_an_episode() -> None:
    """Without what it was to get, and without its address, which may hold a password."""
    away = _Away()
    exporter = OwnSpans(away)
    with capture_logs() as lines:
        exporter.export([])
        away.answer = OSError(SECRET_URL)
        assert exporter.export([]) is SpanExportResult.FAILURE
        away.answer = SpanExportResult.SUCCESS
        assert exporter.export([]) is SpanExportResult.SUCCESS
        exporter.export([])
        away.answer = OSError(SECRET_URL)
        exporter.export([])
    assert [line["event"] for line in lines] == [
        "telemetry_not_sent",
        "telemetry_sent_again",
        "telemetry_not_sent",
    ]
    assert not canaries.secret_in(str(lines))


def test_a_child_does_not_send_what_is_its_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's threads start again after a fork, in the child too."""
    away = _Away()
    exporter = OwnSpans(away)
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert exporter.export([]) is SpanExportResult.SUCCESS


def test_the_end_is_bounded_where_the_collector_is_away(fresh: pytest.MonkeyPatch) -> None:
    """A worker that is to stop does not wait for it."""
    answered = threading.Event()

    class Waiting(Telemetry):
        def stop(self) -> None:
            answered.wait(30)

    fresh.setattr(process, "FLUSH_SECONDS", 0.01)
    fresh.setattr(process, "_made", {os.getpid(): Waiting()})
    process.stop()
    assert not answered.is_set()
    answered.set()


def test_without_a_place_for_files_it_is_told_in_one_line(fresh: pytest.MonkeyPatch) -> None:
    """A container whose file system is read-only, and that has no /tmp."""
    fresh.setenv("OTEL_METRICS_EXPORTER", "otlp")
    fresh.setattr("tempfile.tempdir", "/nowhere/at/all")
    with pytest.raises(TelemetryError, match=r"^TMPDIR must be a folder .* No such file"):
        process.prepare()
