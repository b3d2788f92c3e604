"""Recognise an emulator of AWS by its health report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.parse import urljoin
from urllib.request import ProxyHandler, build_opener

HOST = "127.0.0.1"
DEFAULT_PORT = 4566
NEEDED = ("dynamodb", "sns", "sqs")
REPORTS = {"MiniStack": "/_ministack/health", "LocalStack": "/_localstack/health"}
"""Paths of the reports by name; MiniStack, which answers at both, is asked first."""
_TIMEOUT = 3.0
"""Seconds."""


class Emulator(NamedTuple):
    """An emulator that answers."""

    name: str
    version: str
    services: Mapping[str, Any]
    """State by name of the service."""

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}".strip()

    @property
    def lacking(self) -> list[str]:
        """Services that the worker needs and the emulator does not run."""
        running = {"available", "running"}
        return [name for name in NEEDED if self.services.get(name) not in running]


def find_emulator(endpoint: str) -> Emulator | None:
    """Return the emulator at an endpoint; `None` for another server."""
    for name, path in REPORTS.items():
        report = _report(endpoint, path)
        if isinstance(report, dict) and isinstance(report.get("services"), dict):
            return Emulator(name, str(report.get("version") or ""), report["services"])
    return None


def _report(endpoint: str, path: str) -> object:
    try:
        # without the proxies of the environment
        with build_opener(ProxyHandler({})).open(urljoin(endpoint, path), timeout=_TIMEOUT) as got:
            return json.load(got)
    except (OSError, ValueError, HTTPException):
        return None
