"""A port for a program that is started next."""

from __future__ import annotations

import socket

import pytest

from operations.free_port import HOST, NOT_ASSIGNED, free_port


def test_a_port_is_not_one_that_the_system_assigns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port in use is passed over."""
    tried: list[int] = []

    def create_server(address: tuple[str, int]) -> socket.socket:
        assert address[0] == HOST
        tried.append(address[1])
        if len(tried) < 3:
            raise OSError("in use")
        return socket.socket()

    monkeypatch.setattr(socket, "create_server", create_server)
    port = free_port()
    assert [port] == tried[2:]
    assert port in NOT_ASSIGNED


def test_without_a_free_port_the_range_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search ends."""

    def create_server(_: tuple[str, int]) -> socket.socket:
        raise OSError("in use")

    monkeypatch.setattr(socket, "create_server", create_server)
    with pytest.raises(OSError, match=r"no free port of 127\.0\.0\.1 .* from 20000 to 31999$"):
        free_port()
