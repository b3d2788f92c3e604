from __future__ import annotations

import os
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.e2e.collector import Collector
from worker.telemetry import instruments, process, sdk
from worker.telemetry.metrics import OpenTelemetryMeter


@pytest.mark.parametrize("preference", ["cumulative", "delta"])
def test_a_collector_gets_what_was_counted(
    monkeypatch: pytest.MonkeyPatch, preference: str
) -> None:
    """By OTLP over HTTP, with the sender's attributes, and the names of OpenTelemetry."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", preference)
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        provider = sdk.meter_provider("otlp")
        meter = OpenTelemetryMeter(provider)
        meter.measure(instruments.RECEIVED, 10, "aws_sqs", "receive", "user-commands")
        meter.measure(instruments.HANDLING_TIME, 0.3, "BanUser", "accepted")
        provider.shutdown()
        received, handling = (
            collector.metric(name)
            for name in ("messaging.client.consumed.messages", "user_worker.command.handling_time")
        )
        (instance,) = collector.instances()
    assert instance.endswith(f"-{os.getpid()}")
    (point,) = received.sum.data_points
    assert (point.as_int, received.unit, received.sum.is_monotonic) == (10, "{message}", True)
    assert {each.key for each in point.attributes} == set(instruments.RECEIVED.labels)
    (point,) = handling.histogram.data_points
    assert (point.count, point.sum, sum(point.bucket_counts)) == (1, pytest.approx(0.3), 1)
    assert tuple(point.explicit_bounds) == instruments.HANDLING_SECONDS
    assert (point.min, point.max) == (pytest.approx(0.3), pytest.approx(0.3))
    expected = {"cumulative": 2, "delta": 1}[preference]
    assert handling.histogram.aggregation_temporality == expected


def test_each_process_of_a_pool_sends_its_own_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a child when it ends, and its parent's only once."""
    monkeypatch.setattr(process, "_made", {})
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "3600000")
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{collector.url}/v1/metrics")
        process.prepare()
        process.of_process().observer.received("user-commands", 1, 1)
        child = os.fork()
        if not child:
            try:
                process.forget_parent()
                process.of_process().observer.received("user-commands", 2, 1)
                process.stop()
            finally:
                os._exit(0)  # the received data shows whether it succeeded
        assert os.waitpid(child, 0)[1] == 0
        (of_child,) = collector.instances()
        (point,) = collector.metric("messaging.client.consumed.messages").sum.data_points
        assert (of_child.rpartition("-")[2], point.as_int) == (str(child), 2)
        process.stop()
        (of_parent,) = collector.instances() - {of_child}
        (point,) = collector.metric("messaging.client.consumed.messages").sum.data_points
        assert (of_parent.rpartition("-")[2], point.as_int) == (str(os.getpid()), 1)


def test_a_pool_without_children_keeps_the_port_of_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery reports the start of a process for the only process of a solo pool, too."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(process, "_made", {})
    monkeypatch.setattr(process, "_port", None)
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "prometheus")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.1")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", "0")
    process.prepare()
    try:
        process.forget_parent()
        port = process._port.port  # type: ignore[union-attr]
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            assert answer.status == 200
    finally:
        process.stop()
    assert not list(tmp_path.iterdir())
