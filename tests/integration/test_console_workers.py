"""What the console reads of a worker's metrics, and of anything else that answers in its place."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from console.workers import Ended, Totals, Workers, parse_totals
from worker.telemetry.instruments import CATALOGUE, COMMANDS, CRITICAL_TIME, Instrument, Kind


def exposed(*commands: tuple[str, str, float]) -> str:
    """Return the text of all of a worker's metrics after these commands.

    Each has an outcome, a code and its critical time.
    """
    registry = CollectorRegistry()
    made: dict[str, Counter | Histogram] = {}
    for each in CATALOGUE:
        if each.kind is not Kind.GAUGE:
            kind = Counter if each.kind is Kind.COUNTER else Histogram
            more = {} if each.kind is Kind.COUNTER else {"buckets": each.buckets}
            made[each.name] = kind(
                each.prometheus_name,
                each.description,
                each.prometheus_labels,
                registry=registry,
                **more,  # type: ignore[arg-type]
            )
    for outcome, code, seconds in commands:
        counter, times = made[COMMANDS.name], made[CRITICAL_TIME.name]
        assert isinstance(counter, Counter)
        assert isinstance(times, Histogram)
        given = {"outcome": outcome, "code": code}
        counter.labels(**labels(COMMANDS, given)).inc()
        (times.labels(**labels(CRITICAL_TIME, {})) if times._labelnames else times).observe(seconds)
    return generate_latest(registry).decode()


def labels(instrument: Instrument, given: dict[str, str]) -> dict[str, str]:
    """Return a value for each label of a metric."""
    return {name: given.get(name, "x") for name in instrument.prometheus_labels}


def test_commands_and_critical_times_are_found_among_all_metrics() -> None:
    """Other metrics are not parsed, which would take most of the time."""
    text = exposed(("accepted", "", 0.01), ("accepted", "", 0.02), ("rejected", "EmailTaken", 9.0))
    totals = parse_totals(text)
    assert totals.count("accepted") == 2
    assert totals.ended[Ended("rejected", "EmailTaken")] == 1
    assert totals.within[float("inf")] == 3
    median = totals.percentile(0.5)
    assert median is not None
    assert median < 1 < (totals.percentile(0.99) or 0)


def test_a_worker_without_commands_has_totals_without_commands() -> None:
    """It has just started."""
    totals = parse_totals(exposed())
    assert (totals.count("accepted"), totals.percentile(0.5)) == (0, None)
    assert parse_totals("") == Totals()


@pytest.mark.parametrize(
    "text",
    [
        "<!doctype html>\n<html></html>",
        '{"status": "UP"}',
        f"{COMMANDS.prometheus_name}_total{{outcome=",
        f"{COMMANDS.prometheus_name}_total many",
        " \u202e\x1b[31m",
    ],
)
def test_what_is_not_prometheus_is_refused(text: str) -> None:
    """Another program may listen on the port."""
    with pytest.raises(ValueError):  # noqa: PT011 - of the library, too
        parse_totals(text)


@contextmanager
def answering(status: int, body: bytes) -> Iterator[int]:
    """Answer every request with a body; yield the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the base class finds it by name
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "ready", "reason"),
    [
        (200, b'{"ready": true, "reasons": []}', True, None),
        (503, b'{"ready": false, "reasons": ["no table"]}', False, "no table"),
        (200, b"<html>", None, "no health: not a worker's answer"),
        (200, b"[]", None, "no health: not a worker's answer"),
        (200, b'{"ready": "yes", "reasons": []}', None, "no health: not a worker's answer"),
        (500, b"\xff\xfe", None, "no health: not a worker's answer"),
    ],
)
def test_health_is_shown_or_why_there_is_none(
    status: int, body: bytes, ready: bool | None, reason: str | None
) -> None:
    """Whatever listens on the port."""
    with answering(status, body) as port:
        (state,) = Workers(["127.0.0.1"], health_port=port).read()
    assert state.ready is ready
    assert list(state.reasons) == ([] if reason is None else [reason])


def test_a_worker_that_does_not_answer_is_named() -> None:
    """Its address is shown, with what is wrong."""
    with answering(200, b"") as port:
        pass
    (state,) = Workers(["127.0.0.1"], health_port=port, metrics_port=port).read()
    assert (state.address, state.ready, state.totals) == ("127.0.0.1", None, None)
    assert [each.partition(":")[0] for each in state.reasons] == ["no health", "no metrics"]
