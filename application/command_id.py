"""New ids of commands."""

from __future__ import annotations

import secrets
import time
from uuid import UUID


def new_command_id() -> str:
    """Return a UUIDv7 (RFC 9562): ids sort by the millisecond in which they were created."""
    milliseconds = time.time_ns() // 1_000_000
    head = 0x7000 | secrets.randbits(12)  # the version, and rand_a
    tail = 0b10 << 62 | secrets.randbits(62)  # the variant, and rand_b
    return str(UUID(int=milliseconds << 80 | head << 64 | tail))
