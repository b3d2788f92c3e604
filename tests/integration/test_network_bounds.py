from __future__ import annotations

import socket

import pytest


def test_an_integration_test_reaches_this_machine_only() -> None:
    """A test on an emulator that forgets the endpoint cannot reach the real service."""
    with socket.socket() as client, pytest.raises(AssertionError, match="this machine only"):
        client.connect(("203.0.113.1", 443))  # an address kept for documentation, RFC 5737


def test_an_integration_test_reaches_this_machine() -> None:
    """The emulators are on this machine, so its own addresses are open."""
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
        assert client.getpeername() == server.getsockname()
