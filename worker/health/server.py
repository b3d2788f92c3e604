"""Health over HTTP: `/live` and `/ready`, 200 or 503, with the reasons in JSON."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final

from worker.health.report import Report

REQUEST_TIMEOUT: Final = 5.0
"""Seconds that a client may take to send its request."""
LIVE: Final = "/live"
READY: Final = "/ready"


class PortInUseError(Exception):
    """The address is not available; the message is one line for an operator."""


class HealthServer:
    """Answer probes, in daemon threads; makes no call and waits for its client only."""

    def __init__(self, host: str, port: int, report: Callable[[], Report]) -> None:
        """Listen on a host's address and port, 0 for a free one; answers nothing until `start`.

        Raises:
            PortInUseError: the address is not available.
        """
        handler = type("Handler", (_Handler,), {"report": staticmethod(report)})
        try:
            kind = _Server6 if ":" in host else _Server
            self._server = kind((host, port), handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "unknown error"
            raise PortInUseError(f"cannot listen on port {port} of {host}: {reason}") from error
        self.port: int = self._server.server_address[1]
        self._thread = Thread(
            target=self._server.serve_forever, args=(0.5,), name="health", daemon=True
        )

    def start(self) -> None:
        """Answer requests, in a thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()

    def forget(self) -> None:
        """Close the socket in a forked child, which does not answer requests."""
        self._server.socket.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    report: Callable[[], Report]
    timeout = REQUEST_TIMEOUT
    server_version = "user-worker"
    sys_version = ""

    def do_GET(self) -> None:  # the base class finds it by name
        """Answer a probe."""
        path = self.path.partition("?")[0]
        report = self.report()
        if path == LIVE:
            self._answer({"live": report.live, "reasons": report.not_live}, good=report.live)
        elif path == READY:
            self._answer({"ready": report.ready, "reasons": report.reasons}, good=report.ready)
        else:
            self._send(HTTPStatus.NOT_FOUND, {"paths": [LIVE, READY]})

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, body: dict[str, Any], *, good: bool) -> None:
        self._send(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, body)

    def _send(self, status: HTTPStatus, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: probes arrive every few seconds."""
