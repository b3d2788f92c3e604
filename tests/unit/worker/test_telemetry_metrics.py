from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ConsoleMetricExporter,
    MetricExporter,
    MetricExportResult,
    MetricsData,
)
from structlog.testing import capture_logs

from worker.telemetry import instruments
from worker.telemetry.counting import CountingMeter, Counts
from worker.telemetry.sending import MetricSender, Report, exporter_of

DEADLINE = 30


@pytest.fixture
def counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counts:
    """Files in a folder of the test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Counts()


def points(data: MetricsData, name: str) -> list[Any]:
    """Give the points of a metric."""
    return [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def temporality(data: MetricsData, name: str) -> AggregationTemporality:
    """Say whether a metric's points are sums since the start, or what was added."""
    (found,) = {
        metric.data.aggregation_temporality  # type: ignore[union-attr]
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
    }
    return found


def in_a_child(work: Callable[[], None]) -> None:
    """Do something in a forked process, as a pool's child would."""
    child = os.fork()
    if not child:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)  # as one that is killed: nothing of Python's end is run
    assert os.waitpid(child, 0)[1] == 0


def test_what_children_counted_is_added_up_and_outlives_them(counts: Counts) -> None:
    """With the parent's own; gauges are the parent's alone."""
    meter = CountingMeter(counts)
    meter.measure(instruments.COMMANDS, 2, "BanUser", "accepted", "")

    def work() -> None:
        of_child = CountingMeter(counts)
        of_child.measure(instruments.COMMANDS, 3, "BanUser", "accepted", "")
        of_child.measure(instruments.BATCH_SIZE, 10)
        of_child.write()
        of_child.observe(instruments.OUTBOX_AGE, lambda: [(9.0, ())])

    in_a_child(work)
    in_a_child(work)
    meter.observe(instruments.OUTBOX_AGE, lambda: [(1.0, ())])
    report = Report(counts).take()
    (commands,) = points(report, "user_worker.commands")
    assert (commands.value, commands.attributes) == (
        8,
        {"command": "BanUser", "outcome": "accepted"},
    ), "a label without a value is left out"
    (sizes,) = points(report, "user_worker.batch.size")
    assert (sizes.count, sizes.sum) == (2, 20)
    assert [point.value for point in points(report, "user_worker.outbox.age")] == [1.0]


def test_a_child_can_count_though_its_parent_held_the_lock_at_the_fork(counts: Counts) -> None:
    """Counting has a lock, which another thread of the parent may hold just then."""
    meter = CountingMeter(counts)
    counter: Any = meter._series["user_worker.redeliveries", ()]
    (lock,) = {
        cell.cell_contents
        for cell in type(counter._total).inc.__closure__ or ()
        if hasattr(cell.cell_contents, "acquire")
    }

    def work() -> None:
        done = threading.Event()

        def count() -> None:
            of_child = CountingMeter(counts)
            of_child.measure(instruments.REDELIVERIES, 1)
            of_child.write()
            done.set()

        threading.Thread(target=count, daemon=True).start()
        assert done.wait(DEADLINE)

    with meter._lock, lock:
        in_a_child(work)
    (point,) = points(Report(counts).take(), "user_worker.redeliveries")
    assert point.value == 1


def test_a_disk_that_is_full_does_not_stop_a_batch(counts: Counts) -> None:
    """What would be a new series is lost, with one line; the others go on."""
    meter: Any = CountingMeter(counts)
    free = meter._value_class

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    meter._value_class = full
    with capture_logs() as lines:
        for _ in range(2):
            meter.measure(instruments.COMMANDS, 1, "BanUser", "accepted", "")
            meter.write()
        meter._value_class = free
        meter.measure(instruments.COMMANDS, 1, "BanUser", "accepted", "")
        meter.write()
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("metrics_not_counted", "No space left on device")
    ]
    (point,) = points(Report(counts).take(), "user_worker.commands")
    assert point.value == 1


def test_a_histogram_has_its_values_in_buckets(counts: Counts) -> None:
    """Each value once: in the bucket whose upper bound is the first that is not below it."""
    meter = CountingMeter(counts)
    for size in (1, 2, 2, 10, 31):
        meter.measure(instruments.BATCH_SIZE, size)
    (point,) = points(Report(counts).take(), "user_worker.batch.size")
    assert point.explicit_bounds == (1, 2, 5, 10, 15, 20, 30)
    assert point.bucket_counts == [1, 2, 0, 1, 0, 0, 0, 1]
    assert (point.count, point.sum) == (5, 46)


@pytest.mark.parametrize("delta", [False, True])
def test_a_report_is_of_all_or_of_what_was_added(counts: Counts, *, delta: bool) -> None:
    """As OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE has it; and says which."""
    meter, report = CountingMeter(counts), Report(counts, delta=delta)
    meter.measure(instruments.REDELIVERIES, 2)
    meter.measure(instruments.BATCH_SIZE, 10)
    first = report.take()
    report.taken()
    meter.measure(instruments.REDELIVERIES, 5)
    meter.measure(instruments.BATCH_SIZE, 10)
    second = report.take()
    (before,), (after,) = (points(each, "user_worker.redeliveries") for each in (first, second))
    assert (before.value, after.value) == ((2, 5) if delta else (2, 7))
    assert after.start_time_unix_nano == (
        before.time_unix_nano if delta else before.start_time_unix_nano
    )
    (sizes,) = points(second, "user_worker.batch.size")
    assert (sizes.count, sizes.sum) == ((1, 10) if delta else (2, 20))
    for name in ("user_worker.redeliveries", "user_worker.batch.size"):
        assert temporality(second, name).name == ("DELTA" if delta else "CUMULATIVE")


class Collector(MetricExporter):
    """Keeps what it gets, and can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[MetricsData] = []
        self.away = False
        self.asked = threading.Semaphore(0)
        self.closed = False

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 0, **_: object
    ) -> MetricExportResult:
        """Keep, or refuse."""
        assert timeout_millis == 30_000
        if not self.away:
            self.got.append(metrics_data)
        self.asked.release()
        return MetricExportResult.FAILURE if self.away else MetricExportResult.SUCCESS

    def shutdown(self, timeout_millis: float = 0, **_: object) -> None:
        """Close."""
        self.closed = True

    def force_flush(self, timeout_millis: float = 0) -> bool:
        """Keep nothing back."""
        return True


def test_metrics_are_sent_every_interval_and_at_the_end(
    counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was counted last as well."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
    meter, collector = CountingMeter(counts), Collector()
    sender = MetricSender(counts, collector)
    assert collector.asked.acquire(timeout=DEADLINE)
    assert collector.asked.acquire(timeout=DEADLINE)
    meter.measure(instruments.REDELIVERIES, 1)
    sender.stop()
    (point,) = points(collector.got[-1], "user_worker.redeliveries")
    assert point.value == 1
    assert collector.closed


@pytest.mark.parametrize("preference", ["cumulative", "delta"])
def test_a_collector_that_is_away_gets_all_when_it_is_back(
    counts: Counts, monkeypatch: pytest.MonkeyPatch, preference: str
) -> None:
    """With one line when sending begins to fail; nothing that was counted is lost."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", preference)
    meter, collector = CountingMeter(counts), Collector()
    meter.measure(instruments.REDELIVERIES, 1)
    collector.away = True
    with capture_logs() as lines:
        sender = MetricSender(counts, collector)
        assert collector.asked.acquire(timeout=DEADLINE)
        assert collector.asked.acquire(timeout=DEADLINE)
        collector.away = False
        sender.stop()
    assert [line["event"] for line in lines] == ["telemetry_not_sent", "telemetry_sent_again"]
    (point,) = points(collector.got[-1], "user_worker.redeliveries")
    assert point.value == 1


def test_files_are_removed_by_whom_they_are_of(counts: Counts) -> None:
    """A child that ends leaves what it counted, and what its parent counts."""
    in_a_child(counts.remove)
    assert counts.folder.is_dir()
    counts.remove()
    assert not counts.folder.exists()


def test_metrics_can_be_sent_by_every_exporter() -> None:
    """To the console as well."""
    assert isinstance(exporter_of("console"), ConsoleMetricExporter)
    assert not isinstance(exporter_of("otlp"), ConsoleMetricExporter)
