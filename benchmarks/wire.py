"""The part of HTTP/1.1 that the benchmark's servers need: keep-alive, bodies with a length."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import TypeAlias
from uuid import uuid4

HOST = "127.0.0.1"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TARGET = re.compile(rb"\r\nx-amz-target: *\w+\.(\w+)", re.IGNORECASE)

Answer: TypeAlias = Callable[[bytes, str], None]
"""Takes an answer's content and its type; called once, at once or later."""
Handler: TypeAlias = Callable[[bytes, bytes, Answer], None]
"""Takes a request's head and body, and the function that answers it."""


def operation(head: bytes) -> str:
    """Return the operation that AWS's JSON protocol names in a request's head, or ''."""
    found = _TARGET.search(head)
    return found[1].decode() if found else ""


def answer_head(length: int, content_type: str, status: HTTPStatus = HTTPStatus.OK) -> bytes:
    """Render the head of an answer."""
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {length}\r\nDate: {formatdate(usegmt=True)}\r\n"
        f"x-amzn-RequestId: {uuid4()}\r\n\r\n"
    ).encode()


class HttpConnection(asyncio.Protocol):
    """One client's connection; its requests are answered one after another."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Stop answering."""
        self._transport = None

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Handle every complete request."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end])
            length = _LENGTH.search(head)
            total = end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < total:
                return
            body = bytes(self._received[end + 4 : total])
            del self._received[:total]
            self._handler(head, body, self._answer)

    def _answer(self, content: bytes, content_type: str) -> None:
        if self._transport is not None:
            # AWS names its errors in the content, but clients look at the status first.
            failed = content.startswith((b'{"__type"', b"<ErrorResponse>"))
            status = HTTPStatus.BAD_REQUEST if failed else HTTPStatus.OK
            self._transport.write(answer_head(len(content), content_type, status) + content)
