from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ConsoleMetricExporter,
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    MetricsData,
)
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from tests.prometheus_names import prometheus_names
from worker.telemetry import instruments, sdk
from worker.telemetry.configuration import Configuration
from worker.telemetry.instruments import CATALOGUE, Instrument, Kind
from worker.telemetry.metrics import OpenTelemetryMeter
from worker.telemetry.prometheus import FOLDER, PrometheusMeter, PrometheusPort

DEADLINE = 30


class Server:
    """Replaces the HTTP server, because a unit test uses no address."""

    socket = type("Socket", (), {"close": staticmethod(lambda: None)})
    server_port = 9464

    def shutdown(self) -> None:
        """Do nothing."""

    def server_close(self) -> None:
        """Do nothing."""


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PrometheusPort:
    """Files in a folder of the test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(
        "worker.telemetry.prometheus.start_http_server", lambda *_: (Server(), None)
    )
    monkeypatch.setenv(FOLDER, "")  # restored after the test, as the class of values is
    monkeypatch.setattr("prometheus_client.values.ValueClass", None)
    return PrometheusPort(Configuration(metrics="prometheus"))


def fetched(port: PrometheusPort, name: str, **labels: str) -> float | None:
    """Return a sample as Prometheus would fetch it."""
    assert generate_latest(port.registry)
    return port.registry.get_sample_value(name, labels)


def points(data: MetricsData | None, name: str) -> list[Any]:
    """Return the points of a metric."""
    assert data is not None
    return [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def in_a_child(work: Callable[[], None]) -> None:
    """Do something in a forked process, as a pool's child would."""
    child = os.fork()
    if not child:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)  # like a killed process, without Python's clean-up
    assert os.waitpid(child, 0)[1] == 0


# --- Prometheus ----------------------------------------------------------------------------


def test_what_children_counted_is_added_up_and_outlives_them(port: PrometheusPort) -> None:
    """The parent's counts are included; gauges are the parent's only."""
    meter = PrometheusMeter(port)
    meter.measure(instruments.COMMANDS, 2, "BanUser", "accepted", "")

    def work() -> None:
        of_child = PrometheusMeter(port)
        of_child.measure(instruments.COMMANDS, 3, "BanUser", "accepted", "")
        of_child.measure(instruments.BATCH_SIZE, 10)
        of_child.observe(instruments.OUTBOX_AGE, lambda: [(9.0, ())])

    in_a_child(work)
    in_a_child(work)
    meter.observe(instruments.OUTBOX_AGE, lambda: [(1.0, ())])
    labels = {"command": "BanUser", "outcome": "accepted", "code": ""}
    assert fetched(port, "user_worker_commands_total", **labels) == 8
    assert fetched(port, "user_worker_batch_size_count") == 2
    assert fetched(port, "user_worker_batch_size_sum") == 20
    assert fetched(port, "user_worker_outbox_age_seconds") == 1.0


def test_a_child_can_count_though_its_parent_held_the_locks_at_the_fork(
    port: PrometheusPort,
) -> None:
    """The client library has locks, which another thread of the parent may hold just then."""
    metrics: Any = PrometheusMeter(port)._metrics
    counter, labelled = metrics["user_worker.redeliveries"], metrics["user_worker.dead_letters"]
    (lock,) = {
        cell.cell_contents
        for cell in type(counter._value).inc.__closure__ or ()
        if hasattr(cell.cell_contents, "acquire")
    }

    def work() -> None:
        done = threading.Event()

        def count() -> None:
            of_child = PrometheusMeter(port)
            of_child.measure(instruments.REDELIVERIES, 1)
            of_child.measure(instruments.DEAD_LETTERS, 1, "NotJson")
            done.set()

        threading.Thread(target=count, daemon=True).start()
        assert done.wait(DEADLINE)

    with labelled._lock, lock:
        in_a_child(work)
    assert fetched(port, "user_worker_redeliveries_total") == 1
    assert fetched(port, "user_worker_dead_letters_total", code="NotJson") == 1


def test_a_disk_that_is_full_does_not_stop_a_batch(
    port: PrometheusPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New series are lost, with one log line; existing ones continue."""
    meter = PrometheusMeter(port)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with capture_logs() as lines:
        with monkeypatch.context() as patch:
            patch.setattr("prometheus_client.values.ValueClass", full)
            for _ in range(2):
                meter.measure(instruments.COMMANDS, 1, "BanUser", "accepted", "")
                meter.measure(instruments.HANDLING_TIME, 1, "BanUser", "accepted")
            meter.measure(instruments.REDELIVERIES, 1)
        meter.measure(instruments.COMMANDS, 1, "BanUser", "accepted", "")
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("metrics_not_counted", "No space left on device")
    ]
    labels = {"command": "BanUser", "outcome": "accepted", "code": ""}
    assert fetched(port, "user_worker_commands_total", **labels) == 1
    assert fetched(port, "user_worker_redeliveries_total") == 1


def test_a_histogram_has_its_values_in_buckets(port: PrometheusPort) -> None:
    """Each value once: in the bucket whose upper bound is the first that is not below it."""
    reader = InMemoryMetricReader()
    for meter in (PrometheusMeter(port), OpenTelemetryMeter(MeterProvider([reader]))):
        for size in (1, 2, 2, 10, 31):
            meter.measure(instruments.BATCH_SIZE, size)
    (point,) = points(reader.get_metrics_data(), "user_worker.batch.size")
    assert point.explicit_bounds == (1, 2, 5, 10, 15, 20, 30)
    assert point.bucket_counts == (1, 2, 0, 1, 0, 0, 0, 1)
    assert (point.count, point.sum) == (5, 46)
    below = [
        fetched(port, "user_worker_batch_size_bucket", le=bound)
        for bound in ("1.0", "2.0", "5.0", "10.0", "15.0", "20.0", "30.0", "+Inf")
    ]
    assert below == [1, 3, 3, 4, 4, 4, 4, 5]


@pytest.mark.parametrize("instrument", CATALOGUE, ids=lambda each: each.name)
def test_both_ways_have_the_same_metrics(port: PrometheusPort, instrument: Instrument) -> None:
    """They have the names that a collector derives from OpenTelemetry's."""
    reader = InMemoryMetricReader()
    labels = tuple(f"value of {name}" for name in instrument.labels)
    for meter in (PrometheusMeter(port), OpenTelemetryMeter(MeterProvider([reader]))):
        if instrument.kind is Kind.GAUGE:
            meter.observe(instrument, lambda: [(0.01, labels)])
        else:
            meter.measure(instrument, 0.01, *labels)
    (point,) = points(reader.get_metrics_data(), instrument.name)
    assert point.attributes == dict(zip(instrument.labels, labels, strict=True))
    assert getattr(point, "explicit_bounds", ()) == instrument.buckets
    of_port = dict(zip(instrument.prometheus_labels, labels, strict=True))
    found = {
        sample.name: sample.labels.get("le")
        for family in port.registry.collect()
        for sample in family.samples
        if sample.name in prometheus_names(instrument)
        and {k: v for k, v in sample.labels.items() if k != "le"} == of_port
    }
    assert found.keys() == prometheus_names(instrument)


def test_counters_without_labels_start_at_0(port: PrometheusPort) -> None:
    """So the first increment is visible as a rise."""
    reader = InMemoryMetricReader()
    OpenTelemetryMeter(MeterProvider([reader]))
    PrometheusMeter(port)
    data = reader.get_metrics_data()
    for each in CATALOGUE:
        if each.kind is Kind.COUNTER and not each.labels:
            (point,) = points(data, each.name)
            assert point.value == 0
            assert fetched(port, f"{each.prometheus_name}_total") == 0


def test_a_label_without_a_value_is_left_out_of_otlp() -> None:
    """For example a code, if there is none."""
    reader = InMemoryMetricReader()
    meter = OpenTelemetryMeter(MeterProvider([reader]))
    meter.measure(instruments.COMMANDS, 1, "BanUser", "accepted", "")
    (point,) = points(reader.get_metrics_data(), "user_worker.commands")
    assert point.attributes == {"command": "BanUser", "outcome": "accepted"}


def test_files_are_removed_by_their_owner(port: PrometheusPort) -> None:
    """A child that ends leaves what it counted, and what its parent counts."""
    in_a_child(port.stop)
    assert port.folder.is_dir()
    port.stop()
    assert not port.folder.exists()


# --- OTLP ----------------------------------------------------------------------------------


class Collector(MetricExporter):
    """Keeps what it gets, and can be down."""

    def __init__(self, temporality: AggregationTemporality) -> None:
        super().__init__({Counter: temporality, Histogram: temporality})
        self.got: list[MetricsData] = []
        self.down = False
        self.asked = threading.Semaphore(0)
        self.closed = False

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 0, **_: object
    ) -> MetricExportResult:
        """Keep, or refuse."""
        assert timeout_millis > 0
        if not self.down:
            self.got.append(metrics_data)
        self.asked.release()
        return MetricExportResult.FAILURE if self.down else MetricExportResult.SUCCESS

    def shutdown(self, timeout_millis: float = 0, **_: object) -> None:
        """Close."""
        self.closed = True

    def force_flush(self, timeout_millis: float = 0) -> bool:
        """Keep nothing back."""
        return True

    def total(self, name: str) -> float:
        """Return the sum of what arrived, or of what arrived last."""
        values = [point.value for data in self.got for point in points(data, name)]
        delta = self._preferred_temporality == {
            Counter: AggregationTemporality.DELTA,
            Histogram: AggregationTemporality.DELTA,
        }
        return float(sum(values) if delta else values[-1])


@pytest.fixture(params=["cumulative", "delta"])
def collector(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Collector:
    """A collector that gets totals, or increments."""
    variable = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    monkeypatch.setenv(variable, request.param)
    made = Collector(AggregationTemporality[request.param.upper()])
    monkeypatch.setattr(sdk, "_metric_exporter", lambda _: made)
    return made


def test_metrics_are_sent_every_interval_and_at_the_end(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last counts are included."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "200")
    provider = sdk.meter_provider("otlp")
    meter = OpenTelemetryMeter(provider)
    for _ in range(2):
        meter.measure(instruments.REDELIVERIES, 1)
        assert collector.asked.acquire(timeout=DEADLINE)
    meter.measure(instruments.REDELIVERIES, 1)
    provider.shutdown()
    assert collector.total("user_worker.redeliveries") == 3
    assert collector.closed


def test_a_collector_that_is_down_gets_all_when_it_is_back(collector: Collector) -> None:
    """There is one line when sending starts to fail, and no count is lost."""
    collector.down = True
    with capture_logs() as lines:
        provider = sdk.meter_provider("otlp")
        meter = OpenTelemetryMeter(provider)
        for _ in range(3):
            meter.measure(instruments.REDELIVERIES, 1)
            provider.force_flush()
        collector.down = False
        meter.measure(instruments.REDELIVERIES, 1)
        provider.shutdown()
    assert [line["event"] for line in lines] == ["telemetry_not_sent", "telemetry_sent_again"]
    assert collector.total("user_worker.redeliveries") == 4


def test_increments_are_kept_for_a_bounded_time(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector that never comes back must not fill the memory."""
    monkeypatch.setattr(sdk, "KEPT_INTERVALS", 2)
    exporter = sdk.send_metrics_by(collector)
    collector.down = True
    with capture_logs():
        for _ in range(5):
            exporter.export(MetricsData([]), 30_000)
        collector.down = False
        exporter.export(MetricsData([]), 30_000)
    assert len(collector.got) <= 2


def test_a_child_does_not_send_its_parents_metrics(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's threads start again after a fork, in the child too."""
    exporter = sdk.send_metrics_by(collector)
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert exporter.export(MetricsData([]), 30_000) is MetricExportResult.SUCCESS
    assert not collector.got


def test_metrics_can_be_sent_by_every_exporter() -> None:
    """To the console as well."""
    assert isinstance(sdk._metric_exporter("console"), ConsoleMetricExporter)
    assert not isinstance(sdk._metric_exporter("otlp"), ConsoleMetricExporter)
