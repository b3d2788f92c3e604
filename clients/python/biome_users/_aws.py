"""AWS clients with finite timeouts, and the codes of their errors."""

from __future__ import annotations

import os
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

CONNECT_TIMEOUT: Final = 3.0
READ_TIMEOUT: Final = 10.0
"""Seconds. A call without an answer by then is tried again."""
ATTEMPTS: Final = 3
FIFO: Final = ".fifo"
"""Suffix of the name of a FIFO queue or topic."""
MAX_BATCH: Final = 10
"""Entries of one call of SQS."""
MAX_CALL_BYTES: Final = 262_144
"""Bytes of one call. SQS accepts 1 MiB now, but 256 KiB on queues created before that change."""


def client(service: str, *, read_timeout: float = READ_TIMEOUT) -> Any:
    """Return a new client for a service; a long poll needs a read timeout above its 20 s.

    The region is also read from AWS_REGION, as by other SDKs of AWS.
    """
    config = Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=32,
        tcp_keepalive=True,
        user_agent_extra="biome-users",
    )
    region = os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION")
    create: Any = boto3.session.Session(region_name=region).client  # its types list each service
    return create(service, config=config)


def error_code(error: BaseException) -> str:
    """Return AWS's error code or, for an error of another kind, the name of its class."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "Unknown"))
    return type(error).__name__
