"""Probes over HTTP, as an orchestrator makes them."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from worker.errors import ExitCode
from worker.health import step
from worker.health.assessment import HealthAssessment
from worker.health.report import Report
from worker.health.server import HealthServer, PortInUseError
from worker.lifecycle import begin_health
from worker.settings import load_settings

SICK = Report(("the event loop has not run",), ("queue q: the store is unavailable",))


@dataclass
class Probe:
    """A server, and the report that it returns."""

    report: Report = field(default_factory=Report)
    server: HealthServer = field(init=False)

    def __post_init__(self) -> None:
        """Listen on a free port."""
        self.server = HealthServer("127.0.0.1", 0, lambda: self.report)
        self.server.start()

    def ask(self, path: str, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
        """Make a request; return status, body and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        connection.request(method, path)
        answer = connection.getresponse()
        with answer:
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}


@pytest.fixture(scope="module")
def server() -> Iterator[Probe]:
    """A server for all tests here."""
    made = Probe()
    yield made
    made.server.close()


@pytest.fixture
def probe(server: Probe) -> Probe:
    """A server that reports a healthy worker."""
    server.report = Report()
    return server


def test_probes_are_answered_with_a_status_and_reasons(probe: Probe) -> None:
    """200 or 503, and JSON, with the state of the moment."""
    assert probe.ask("/live")[:2] == (200, b'{"live": true, "reasons": []}\n')
    assert probe.ask("/ready")[:2] == (200, b'{"ready": true, "reasons": []}\n')
    probe.report = Report((), ("starting",))
    assert probe.ask("/live")[0] == 200
    status, body, headers = probe.ask("/ready?verbose=1")
    assert (status, json.loads(body)) == (503, {"ready": False, "reasons": ["starting"]})
    assert headers["content-type"] == "application/json"
    probe.report = SICK
    status, body, _ = probe.ask("/live")
    assert (status, json.loads(body)["reasons"]) == (503, list(SICK.not_live))
    status, body, headers = probe.ask("/live", "HEAD")
    assert (status, body) == (503, b"")
    assert "python" not in headers["server"].lower()


@pytest.mark.parametrize("path", ["/", "/metrics", "/live/.."])
def test_there_is_nothing_else(probe: Probe, path: str) -> None:
    """Other paths are not found, and other methods not supported."""
    assert probe.ask(path)[0] == 404
    assert probe.ask("/live", "POST")[0] == 501


def test_a_silent_client_does_not_block_others(probe: Probe) -> None:
    """Each client has its own thread, and half a request does no harm."""
    silent = [socket.create_connection(("127.0.0.1", probe.server.port)) for _ in range(5)]
    silent[0].sendall(b"GET /li")
    silent[1].sendall(b"\x00\xff nonsense\r\n\r\n")
    assert probe.ask("/live")[0] == 200
    for each in silent:
        each.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
def test_a_port_that_cannot_be_had_is_one_line(probe: Probe, host: str) -> None:
    """In use, or an address of another machine."""
    with pytest.raises(PortInUseError) as refused:
        HealthServer(host, probe.server.port, Report)
    assert str(refused.value).startswith(f"cannot listen on port {probe.server.port} of {host}: ")


def test_a_worker_whose_port_is_taken_ends_with_one_line(
    probe: Probe, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Otherwise a probe would read another worker's answers."""
    port = probe.server.port
    monkeypatch.setenv("USER_WORKER_HEALTH_PORT", str(port))
    with pytest.raises(SystemExit) as ended:
        begin_health(SimpleNamespace(pool_cls="prefork"), load_settings())
    assert ended.value.code == ExitCode.ENVIRONMENT
    err = capfd.readouterr().err
    assert err.startswith(f"error: cannot listen on port {port} of 127.0.0.1: Address already in")
    assert "USER_WORKER_HEALTH_PORT" in err
    assert err.count("\n") == 1


def test_without_a_port_no_server_is_started() -> None:
    """A worker opens no port unless one is set."""
    assert step._server(None, HealthAssessment()) is None
