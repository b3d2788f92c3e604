"""Find a port for a program that is started next."""

from __future__ import annotations

import random
import socket
from typing import Final

HOST: Final = "127.0.0.1"
NOT_ASSIGNED: Final = range(20_000, 32_000)
"""Ports below those that systems assign by themselves: Linux from 32,768, macOS from 49,152.

Between the choice of a port and the start of the program, an outgoing connection of any other
process may be assigned a port of the system's range.
"""
_ATTEMPTS: Final = 100


def free_port() -> int:
    """Return a port of this machine on which nothing listens.

    Raises:
        OSError: a hundred ports were tried, and all of them are in use.
    """
    for port in random.sample(NOT_ASSIGNED, _ATTEMPTS):
        try:
            with socket.create_server((HOST, port)):
                return port
        except OSError:
            continue
    raise OSError(f"no free port of {HOST} was found from {NOT_ASSIGNED[0]} to {NOT_ASSIGNED[-1]}")
