from __future__ import annotations

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from application.repository import Outcome
from operations.free_port import free_port
from tests import canaries
from tests.builders import register
from tests.e2e.collector import Collector
from tests.e2e.proxy import FaultyProxy, Throttled
from tests.e2e.system import PREFORK, THREADS, System, log_lines, message
from tests.e2e.worker_process import eventually
from tests.emitted import nothing_personal
from tests.prometheus_names import prometheus_names
from worker.telemetry.instruments import CATALOGUE

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.xdist_group("telemetry"),
]

DEPLOY = Path(__file__).parents[2] / "deploy"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PRODUCER = f"00-{TRACE}-b7ad6b7169203331-01"
SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
NAME = re.compile(r"\b(?:user_worker|messaging_client|db_client)_[a-z_]+\b")


@dataclass
class Watched:
    """What a worker with two children did and emitted, from its start to its end."""

    collector: Collector
    metrics: str
    traced: Outcome
    event: dict[str, Any]
    stopped_after: float
    port_taken: tuple[int, str]


def fetch(port: int) -> str:
    """Return the response for Prometheus, or an empty text if nothing listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""


def total(text: str, name: str, label: str = "") -> float:
    """Return the sum of the samples of a name whose labels contain a text."""
    return sum(float(v) for n, labels, v in SAMPLE.findall(text) if n == name and label in labels)


@pytest.fixture(scope="module")
def watched(aws_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Run a worker until it has emitted everything, and stop it; run another one misconfigured."""
    system = System.create(aws_endpoint, tmp_path_factory.mktemp("telemetry"))
    port = free_port()
    with (
        pytest.MonkeyPatch.context() as patch,
        FaultyProxy(aws_endpoint) as proxy,
        Collector() as collector,
    ):
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_METRICS_EXPORTER", "prometheus")
        patch.setenv("OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.1")
        patch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", str(port))
        fast = {"RELAY_INTERVAL": "0.1", "RELAY_AGE": "3600"}
        with system.worker(PREFORK, endpoint=proxy.url, **fast) as worker:
            worker.ready()
            with pytest.MonkeyPatch.context() as wrong:
                wrong.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
                wrong.setenv("OTEL_TRACES_EXPORTER", "console,otlp")
                wrong.setenv("OTEL_SDK_DISABLED", "1")
                with system.worker(PREFORK, **fast) as second:
                    second.ready()
                    code, told = second.stop(), second.log
            proxy.inject(Throttled(), "BatchGetItem", times=1)
            users = [str(uuid4()) for _ in range(12)]
            messages = [message(register(user), user, traceparent=PRODUCER) for user in users]
            (first, *_) = outcomes = system.do(*messages)
            event = next(e for e in system.published(outcomes) if e["subject"] == first.user_id)
            taken = message(register(users[0]), str(uuid4()))
            system.do(taken)
            system.send(messages[0])
            system.queues.send("{no JSON")
            assert system.queues.dead_letters(1)
            expected = {"accepted": 12, "rejected": 1, "duplicate": 1, "dead": 1}

            def counted() -> str:
                text = fetch(port)
                found = {o: total(text, "user_worker_commands_total", f'"{o}"') for o in expected}
                # A command is counted when it is committed, its time when its event is published.
                published = total(text, "user_worker_command_critical_time_seconds_count")
                return text if found == expected and published == 13 else ""

            eventually(counted, what="every message in the metrics")
            metrics = eventually(
                lambda: text if "user_worker_outbox_overdue 0" in (text := fetch(port)) else "",
                what="a look of the relay",
            )
            assert worker.stop() == 0, worker.log
            assert not log_lines(worker, "telemetry_not_sent")
        yield Watched(collector, metrics, first, event, worker.stopped_after, (code, told))
    system.delete()


def test_one_port_has_the_metrics_of_all_children(watched: Watched) -> None:
    """The parent's metrics are included: it received as many as the children handled."""
    received = total(watched.metrics, "messaging_client_consumed_messages_total")
    assert received == total(watched.metrics, "user_worker_commands_total") == 15
    assert total(watched.metrics, "user_worker_batch_size_sum") == 15
    assert total(watched.metrics, "user_worker_dead_letters_total", 'code="NotJson"') == 1
    assert total(watched.metrics, "user_worker_command_critical_time_seconds_count") == 13
    assert total(watched.metrics, "user_worker_aws_throttles_total", "BatchGetItem") == 1
    assert total(watched.metrics, "user_worker_breaker_state") == 0


def test_a_worker_goes_on_without_telemetry_that_cannot_be_had(watched: Watched) -> None:
    """A port in use and unsupported settings are logged in one line each; the worker is ready."""
    code, log = watched.port_taken
    assert code == 0
    assert log.count("telemetry_setting_ignored") == 3
    assert log.count("telemetry_off") == 1
    assert "OTEL_EXPORTER_PROMETHEUS_PORT" in log
    assert "Traceback" not in log


def test_spans_lead_from_the_producer_to_the_event(watched: Watched) -> None:
    """All spans are sent before the worker ends."""
    commands = watched.collector.spans("process RegisterUser")
    assert len(commands) == 14
    ours = [span for span in commands if span.trace_id.hex() == TRACE]
    assert len(ours) == 13
    contexts = {f"00-{TRACE}-{span.span_id.hex()}-01" for span in ours}
    assert watched.traced.traceparent in contexts
    assert watched.event["traceparent"] == watched.traced.traceparent
    batches = watched.collector.spans("handle batch")
    receives = {span.span_id for span in watched.collector.spans(_receive(watched))}
    assert batches
    assert {span.parent_span_id for span in batches} <= receives
    linked = {link.span_id for span in batches for link in span.links}
    assert {span.span_id for span in commands} <= linked
    for step in ("commit", "publish"):
        parents = {span.parent_span_id for span in watched.collector.spans(step)}
        assert parents <= {span.span_id for span in batches}
        assert parents


def _receive(watched: Watched) -> str:
    (name,) = set(re.findall(r'name: "(receive [^"]+)"', watched.collector.everything()))
    return str(name)


def test_calls_to_aws_are_part_of_the_trace(watched: Watched) -> None:
    """Their spans have the names of table and topic."""
    text = watched.collector.everything()
    for operation in ("BatchGetItem", "TransactWriteItems", "PublishBatch"):
        assert re.search(rf'name: "{operation} [\w-]+"', text), operation


def test_every_process_is_an_instance(watched: Watched) -> None:
    """The parent, which receives, and its children, which handle, are separate instances."""
    assert len(watched.collector.instances()) >= 2


def test_nothing_personal_is_sent(watched: Watched) -> None:
    """Neither the collector nor Prometheus gets personal data."""
    nothing_personal(watched.collector.everything(), "spans")
    nothing_personal(watched.metrics, "metrics")


def test_telemetry_does_not_hold_up_the_end(watched: Watched) -> None:
    """A shutdown may take 30 s."""
    assert watched.stopped_after < 20


def test_a_silent_collector_does_not_block_the_worker(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It delays neither commands nor the end. The log does not show the password of its URL."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"http://someone:{canaries.SECRET}@127.0.0.1:{port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        with system.worker(THREADS) as worker:
            user = str(uuid4())
            system.do(message(register(user), user))
            eventually(lambda: log_lines(worker, "telemetry_not_sent"), what="a line about it")
            system.do(message(register("later"), str(uuid4())))
            assert worker.stop() == 0, worker.log
    assert len(log_lines(worker, "telemetry_not_sent")) <= 2, "one a signal"
    assert not canaries.secret_in(worker.log)
    assert "Traceback" not in worker.log
    assert worker.stopped_after < 20


def named_in_dashboard() -> set[str]:
    """Return the metrics of the worker that the dashboard queries."""
    dashboard = json.loads((DEPLOY / "grafana" / "user-worker.json").read_text())
    targets = [t for p in dashboard["panels"] for t in p.get("targets", ())]
    expressions = [t["expr"] for t in targets if t["datasource"]["type"] == "prometheus"]
    variables = [v["query"]["query"] for v in dashboard["templating"]["list"] if v["name"] == "job"]
    assert len(expressions) > 20
    return {name for text in (*expressions, *variables) for name in NAME.findall(text)}


def test_every_metric_of_the_dashboard_is_emitted(watched: Watched) -> None:
    """This worker emits them all: a panel for another metric would always be empty."""
    emitted = {name for name, _, _ in SAMPLE.findall(watched.metrics)}
    assert named_in_dashboard() <= emitted


def test_the_dashboard_shows_every_metric() -> None:
    """A metric without a panel could not be found when it is needed."""
    shown = named_in_dashboard()
    for each in CATALOGUE:
        assert prometheus_names(each) & shown, each.name


def test_every_metric_of_the_alarms_is_emitted(watched: Watched) -> None:
    """Of all metrics in the alarms, those of this worker, by their OTLP names."""
    text = (DEPLOY / "alarms.yaml").read_text()
    named = set(re.findall(r"\buser_worker\.[a-z_.]+", text))
    emitted = {name for name, _, _ in SAMPLE.findall(watched.metrics)}
    prometheus = {each.name: prometheus_names(each) for each in CATALOGUE}
    assert named
    for name in named:
        assert prometheus[name] <= emitted, name
