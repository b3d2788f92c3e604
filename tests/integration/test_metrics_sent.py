from __future__ import annotations

import os
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.e2e.collector import Collector
from worker.telemetry import instruments, process
from worker.telemetry.counting import CountingMeter, Counts
from worker.telemetry.sending import MetricSender, exporter_of


@pytest.mark.parametrize("preference", ["cumulative", "delta"])
def test_a_collector_gets_what_was_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preference: str
) -> None:
    """By OTLP over HTTP, with who sends it, and in the names of OpenTelemetry."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", preference)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    counts = Counts()
    meter = CountingMeter(counts)
    meter.measure(instruments.RECEIVED, 10, "aws_sqs", "receive", "user-commands")
    meter.measure(instruments.HANDLING_TIME, 0.3, "BanUser", "accepted")
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        MetricSender(counts, exporter_of("otlp")).stop()
        received, handling = (
            collector.metric(name)
            for name in ("messaging.client.consumed.messages", "user_worker.command.handling_time")
        )
        (instance,) = collector.instances()
    assert instance.endswith(f"-{os.getpid()}")
    (point,) = received.sum.data_points
    assert (point.as_double, received.unit, received.sum.is_monotonic) == (10, "{message}", True)
    assert {each.key for each in point.attributes} == set(instruments.RECEIVED.labels)
    (point,) = handling.histogram.data_points
    assert (point.count, point.sum, sum(point.bucket_counts)) == (1, pytest.approx(0.3), 1)
    assert not point.HasField("min"), "not known, and so not told"
    expected = {"cumulative": 2, "delta": 1}[preference]
    assert handling.histogram.aggregation_temporality == expected


def test_a_pool_without_children_keeps_the_port_of_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery tells the only process of a solo pool that a process begins."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(process, "_made", {})
    monkeypatch.setattr(process, "_metrics", None)
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "prometheus")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.1")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", "0")
    process.prepare()
    try:
        process.forget_parent()
        port = process._metrics.outlet.port  # type: ignore[union-attr]
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            assert answer.status == 200
    finally:
        process.stop()
    assert not list(tmp_path.iterdir())
