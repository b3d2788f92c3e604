"""Read the health report of LocalStack."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

HOST = "127.0.0.1"
DEFAULT_PORT = 4566
NEEDED = ("dynamodb", "sns", "sqs")
HEALTH = "/_localstack/health"
_TIMEOUT = 3.0
"""Seconds."""


def localstack_health(endpoint: str) -> dict[str, Any] | None:
    """Return LocalStack's report, with `services` and `version`; `None` for another server."""
    url = urlsplit(endpoint)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(url.hostname or HOST, url.port, timeout=_TIMEOUT)
        try:
            connection.request("GET", HEALTH)
            report = json.load(connection.getresponse())
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return report if isinstance(report, dict) and isinstance(report.get("services"), dict) else None


def lacking(report: dict[str, Any]) -> list[str]:
    """Return the services that the worker needs and LocalStack does not run."""
    services = report["services"]
    return [name for name in NEEDED if services.get(name) not in {"available", "running"}]
