"""Check that any answer on a worker's ports is reported, without an exception."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from console.workers import LARGEST, Ended, Totals, Workers, parse_totals

METRICS = """\
# TYPE user_worker_commands_total counter
user_worker_commands_total{command="BanUser",outcome="accepted",code=""} 7.0
user_worker_commands_total{command="RegisterUser",outcome="accepted",code=""} 3.0
user_worker_commands_total{command="RegisterUser",outcome="rejected",code="EmailTaken"} 2.0
# TYPE user_worker_command_critical_time_seconds histogram
user_worker_command_critical_time_seconds_bucket{command="BanUser",le="0.1"} 5.0
user_worker_command_critical_time_seconds_bucket{command="BanUser",le="0.2"} 10.0
user_worker_command_critical_time_seconds_bucket{command="BanUser",le="+Inf"} 10.0
"""
Answer = tuple[int, bytes]
METRICS_ANSWER: Answer = (200, METRICS.encode())


@contextmanager
def server(answer: Callable[[str], Answer]) -> Iterator[int]:
    """Serve answers by path; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
        yield served.server_address[1]
        served.shutdown()


def read(
    health: Answer, metrics: Answer = METRICS_ANSWER
) -> tuple[bool | None, str, Totals | None]:
    """Return readiness, reasons and totals of a worker that gives these answers."""
    with server(lambda path: metrics if path == "/metrics" else health) as port:
        (state,) = Workers(["127.0.0.1"], port, port).read()
    return state.ready, "; ".join(state.reasons), state.totals


def ready(*, is_ready: bool, reasons: list[str]) -> bytes:
    """Return the body of a worker's answer."""
    return json.dumps({"ready": is_ready, "reasons": reasons}).encode()


def test_a_worker_states_its_readiness_and_its_counters() -> None:
    """By the ports that every worker serves."""
    is_ready, reasons, totals = read((200, ready(is_ready=True, reasons=[])))
    assert (is_ready, reasons) == (True, "")
    assert isinstance(totals, Totals)
    assert totals.count("accepted") == 10
    assert totals.ended[Ended("rejected", "EmailTaken")] == 2


def test_a_worker_that_is_not_ready_says_why() -> None:
    """The answer has status 503."""
    is_ready, reasons, _ = read((503, ready(is_ready=False, reasons=["clock differs"])))
    assert (is_ready, reasons) == (False, "clock differs")


@pytest.mark.parametrize(
    "answer",
    [
        (200, b""),
        (200, b"\xff\xfe"),
        (200, b"[]"),
        (200, b'{"ready": "yes", "reasons": []}'),
        (200, b'{"ready": true}'),
        (200, b"[" * 100_000),
        (404, b"not found"),
        (200, b"x" * (LARGEST + 10)),
    ],
)
def test_anything_may_listen_on_the_ports(answer: Answer) -> None:
    """Another program is reported as no worker, and raises nothing."""
    is_ready, reasons, totals = read(answer, answer)
    assert is_ready is None
    assert "no health" in reasons
    assert totals is None or totals.count("accepted") == 0


def test_a_worker_that_does_not_answer_is_reported() -> None:
    """Nothing listens on its port."""
    with server(lambda _: (200, b"")) as port:
        pass
    (gone,) = Workers(["127.0.0.1"], port, port).read()
    assert gone.ready is None
    assert "refused" in " ".join(gone.reasons)


def test_a_name_that_does_not_exist_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other workers are shown all the same."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    (state,) = Workers(["workers.internal"], 1, 1).read()
    assert (state.address, state.ready) == ("workers.internal", None)
    assert state.reasons == ["Name or service not known"]


def test_without_a_health_port_the_page_says_what_to_set() -> None:
    """Instead of an empty cell."""
    (state,) = Workers(["127.0.0.1"]).read()
    assert state.reasons == ["health is not served: set USER_WORKER_HEALTH_PORT"]
    assert state.totals is None


def test_an_increase_survives_a_restart() -> None:
    """Counters that start again at zero do not give a negative rate."""
    first = Totals({Ended("accepted", ""): 100}, {1.0: 90, float("inf"): 100})
    later = Totals({Ended("accepted", ""): 130}, {1.0: 120, float("inf"): 130})
    again = Totals({Ended("accepted", ""): 5}, {1.0: 5, float("inf"): 5})
    assert later.since(first).count("accepted") == 30
    assert again.since(later).count("accepted") == 5
    assert again.since(later).within == {1.0: 5, float("inf"): 5}


@pytest.mark.parametrize(("part", "seconds"), [(0.5, 0.1), (0.99, 0.198), (1.0, 0.2), (0.25, 0.05)])
def test_a_percentile_is_interpolated_between_bounds(part: float, seconds: float) -> None:
    """As by Prometheus's histogram_quantile."""
    assert parse_totals(METRICS).percentile(part) == pytest.approx(seconds)


def test_a_percentile_beyond_the_last_bound_is_that_bound() -> None:
    """And without commands there is no percentile."""
    assert Totals({}, {1.0: 0, float("inf"): 4}).percentile(0.5) == 1.0
    assert Totals().percentile(0.5) is None
    assert Totals({}, {1.0: 0, float("inf"): 0}).percentile(0.5) is None


def test_metrics_that_are_not_of_prometheus_are_an_error() -> None:
    """The state says so, instead of zeros."""
    with pytest.raises(ValueError, match=r".+"):
        parse_totals("user_worker_commands_total{ 7")
