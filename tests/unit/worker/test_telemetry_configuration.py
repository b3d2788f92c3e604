from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from structlog.testing import capture_logs

from tests import canaries
from worker.telemetry import process
from worker.telemetry.configuration import (
    DISABLED,
    EXPORTERS,
    POSITIVE,
    Configuration,
    read,
)
from worker.telemetry.process import OFF, Telemetry
from worker.telemetry.sdk import resource, send_spans_by, session_for

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
    """No other variable does."""
    found = read(dict(environment))
    assert (found.traces, found.metrics) == (traces, metrics)
    assert found.on == ((traces, metrics) != ("none", "none"))


SECRET_URL = f"ftp://user:{canaries.SECRET}@collector"


def read_with(environment: dict[str, str]) -> tuple[Configuration, list[str]]:
    """Read variables; return the names of those that were ignored, too."""
    with capture_logs() as lines:
        found = read(environment)
    assert not canaries.secret_in(str(lines))
    assert {line["event"] for line in lines} <= {"telemetry_setting_ignored"}
    assert all(line["rule"].startswith("must be ") for line in lines)
    return found, [line["variable"] for line in lines]


WRONG = [
    ("OTEL_SDK_DISABLED", "yes"),
    ("OTEL_SDK_DISABLED", "1"),
    ("OTEL_SDK_DISABLED", "on"),
    ("OTEL_TRACES_EXPORTER", canaries.SECRET),
    ("OTEL_TRACES_EXPORTER", "prometheus"),
    ("OTEL_TRACES_EXPORTER", "jaeger,zipkin"),
    ("OTEL_METRICS_EXPORTER", "statsd"),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", "0x10"),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", "65536"),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", "-1"),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", "9" * 5000),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", SECRET_URL),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://[::1"),
    ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://c:port"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
    ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
    ("OTEL_EXPORTER_OTLP_HEADERS", canaries.SECRET),
    ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "sometimes"),
    ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "exponential"),
    ("OTEL_TRACES_SAMPLER", "sometimes"),
    ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
    ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
    ("OTEL_TRACES_SAMPLER_ARG", "nan"),
    ("OTEL_TRACES_SAMPLER_ARG", "a tenth"),
    ("OTEL_RESOURCE_ATTRIBUTES", "team"),
    ("OTEL_PROPAGATORS", "b3"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "2.5"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),  # less than a batch
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),  # more than the queue
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
    ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-1"),
    *((variable, value) for variable in POSITIVE for value in ("0", "soon", "-5", "inf", "1e300")),
]


@pytest.mark.parametrize(("variable", "value"), WRONG)
def test_a_wrong_value_is_ignored_with_a_warning(variable: str, value: str) -> None:
    """It is as if it was not set, also for the SDK, and the value is not repeated."""
    environment = {**COLLECTOR, variable: value}

    found, ignored = read_with(environment)

    assert ignored == [variable]
    assert found == read(dict(COLLECTOR))
    assert variable not in environment
    assert read_with(environment) == (found, [])  # like a child process


@pytest.mark.parametrize(
    ("variable", "value", "chosen"),
    [
        ("OTEL_TRACES_EXPORTER", "console,otlp", "console"),
        ("OTEL_TRACES_EXPORTER", "jaeger, OTLP ,zipkin", "otlp"),
        ("OTEL_TRACES_EXPORTER", "none,console", "console"),
        ("OTEL_METRICS_EXPORTER", "otlp,prometheus", "otlp"),
        ("OTEL_METRICS_EXPORTER", "statsd,prometheus", "prometheus"),
    ],
)
def test_of_several_exporters_the_first_that_is_known_is_used(
    variable: str, value: str, chosen: str
) -> None:
    """A signal goes one way."""
    environment = {variable: value}
    found, ignored = read_with(environment)
    assert ignored == [variable]
    assert chosen in (found.traces, found.metrics)
    assert read_with(environment) == (found, [])


def test_repeating_one_exporter_is_valid() -> None:
    """Blanks and additional commas are accepted too."""
    assert read_with({"OTEL_TRACES_EXPORTER": "otlp, otlp,"})[1] == []


def test_an_endpoint_that_is_ignored_turns_nothing_on() -> None:
    """Otherwise spans would go to the SDK's default endpoint."""
    assert read_with({"OTEL_EXPORTER_OTLP_ENDPOINT": SECRET_URL}) == (
        Configuration(),
        ["OTEL_EXPORTER_OTLP_ENDPOINT"],
    )


def test_several_wrong_values_are_each_ignored() -> None:
    """The valid values among them are used."""
    environment = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_TRACES_SAMPLER": "traceidratio",
        **{name: value for name, value in WRONG if "EXPORTER_OTLP" in name or "BSP" in name},
    }
    found, ignored = read_with(environment)
    assert found.traces == "otlp"
    assert len(ignored) > 10
    assert environment["OTEL_TRACES_SAMPLER"] == "traceidratio"


@pytest.mark.parametrize(
    "also",
    [{}, {"OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER": "nonsense"}],
    ids=["known", "unknown"],
)
def test_no_variable_ends_a_worker(also: dict[str, str]) -> None:
    """Many wrong values at once; telemetry is off for a variable that only the SDK knows."""
    code = "from worker.telemetry import process as p; p.prepare(); p.of_process(); p.stop()"
    wrong = dict(WRONG) | {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "none"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={**os.environ, **wrong, **also},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("telemetry_setting_ignored") > 20
    assert done.stdout.count("telemetry_off") == len(also)


def test_what_is_off_is_not_checked() -> None:
    """A machine may have variables for others; they do not keep this worker from starting."""
    assert not read({"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}).on


def test_off_nothing_is_imported_and_nothing_watches() -> None:
    """It costs nothing: the parts come back as they were given."""
    code = (
        "import sys, worker.bootstrap as b; from worker.settings import Settings; "
        "from application.observer import NULL_OBSERVER; "
        "from application.event_topics import EventTopics; "
        "w = b.build(Settings(repository='memory')); "
        "assert w.batch._observer is NULL_OBSERVER; "
        "assert type(w.ports.publisher) is EventTopics; "
        "assert not [m for m in sys.modules if m.startswith(('opentelemetry', 'prometheus'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)  # a fresh interpreter


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A process that has made no telemetry yet, and forgets what it made."""
    monkeypatch.setattr(process, "_made", {})
    monkeypatch.setattr(process, "_port", None)
    # The code may set them: they are restored after the test.
    for variable in (DISABLED, *EXPORTERS):
        monkeypatch.setenv(variable, "")
    yield monkeypatch
    process.stop()


def test_a_missing_package_is_reported_in_one_line(fresh: pytest.MonkeyPatch) -> None:
    """The line says what to install."""
    fresh.setenv("OTEL_TRACES_EXPORTER", "otlp")
    for module in ("sdk", "assembly"):
        fresh.delitem(sys.modules, f"worker.telemetry.{module}", raising=False)
        fresh.delattr(f"worker.telemetry.{module}", raising=False)
    fresh.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with capture_logs() as lines:
        process.prepare()
    (line,) = lines
    assert line["event"] == "telemetry_off"
    assert "pip install 'user-worker[telemetry]'" in line["reason"]
    assert process.of_process() is OFF


def test_one_process_has_one_telemetry(fresh: pytest.MonkeyPatch) -> None:
    """Of what the environment says; off is the default."""
    for variable in EXPORTERS:
        fresh.delenv(variable, raising=False)
    assert process.of_process() is process.of_process()
    assert process.of_process() is OFF


def test_processes_have_distinct_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """By `service.instance.id`, also if one is set for the host, or inherited by a fork."""
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
        """Return or raise the configured result."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_an_unavailable_collector_is_logged_once_per_episode() -> None:
    """The line has neither the data nor the address, which may contain a password."""
    away = _Away()
    exporter = send_spans_by(away)
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
    exporter = send_spans_by(_Away())
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert exporter.export([]) is SpanExportResult.SUCCESS


def test_the_shutdown_is_bounded_if_the_collector_is_unavailable(fresh: pytest.MonkeyPatch) -> None:
    """A worker that is to stop does not wait for it."""
    answered = threading.Event()
    fresh.setattr(process, "FLUSH_SECONDS", 0.01)
    waiting = Telemetry(stops=(lambda: answered.wait(30),))
    fresh.setattr(process, "_made", {os.getpid(): waiting})
    process.stop()
    assert not answered.is_set()
    answered.set()


def test_counts_do_not_wait_for_spans_at_the_end(fresh: pytest.MonkeyPatch) -> None:
    """An unavailable collector may use all the time that a process has to end."""
    answered, sent = threading.Event(), threading.Event()
    fresh.setattr(process, "FLUSH_SECONDS", 0.2)
    both = Telemetry(stops=(lambda: answered.wait(30), sent.set))
    fresh.setattr(process, "_made", {os.getpid(): both})
    process.stop()
    assert sent.is_set()
    answered.set()


def test_without_a_writable_folder_the_error_is_one_line(fresh: pytest.MonkeyPatch) -> None:
    """A container whose file system is read-only, and that has no /tmp."""
    fresh.setenv("OTEL_METRICS_EXPORTER", "prometheus")
    fresh.setattr("tempfile.tempdir", "/nowhere/at/all")
    with capture_logs() as lines:
        process.prepare()
    (line,) = lines
    assert (line["event"], line["signals"]) == ("telemetry_off", "metrics")
    assert line["reason"].startswith("TMPDIR must be a writable folder")
    assert process.of_process() is OFF


def test_a_port_that_is_taken_leaves_the_worker_without_metrics(fresh: pytest.MonkeyPatch) -> None:
    """One line names the variable."""

    def taken(*_: object) -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    fresh.setenv("OTEL_METRICS_EXPORTER", "prometheus")
    fresh.setattr("worker.telemetry.prometheus.start_http_server", taken)
    with capture_logs() as lines:
        process.prepare()
    assert [line["event"] for line in lines] == ["telemetry_off"]
    assert "OTEL_EXPORTER_PROMETHEUS_PORT" in lines[0]["reason"]
    assert process.of_process() is OFF


def test_an_unexpected_error_is_shown_by_its_class(fresh: pytest.MonkeyPatch) -> None:
    """Its text may contain an endpoint's password."""

    def broken(*_: str) -> None:
        raise RuntimeError(SECRET_URL)

    fresh.setenv("OTEL_TRACES_EXPORTER", "otlp")
    fresh.setattr("worker.telemetry.sdk.tracer_provider", broken)
    with capture_logs() as lines:
        process.prepare()
        assert process.of_process() is OFF
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("telemetry_off", "RuntimeError")
    ]


@pytest.mark.parametrize(
    ("endpoint", "proxied"),
    [("http://127.0.0.1:4318", False), ("http://localhost:4318", False), ("http://c:4318", True)],
)
def test_a_collector_on_this_machine_is_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, *, proxied: bool
) -> None:
    """The same as for AWS."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    assert (session_for("TRACES") is None) is proxied
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:1/v1/metrics")
    session = session_for("METRICS")
    assert session is not None
    assert not session.trust_env
