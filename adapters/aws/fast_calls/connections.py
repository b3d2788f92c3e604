"""Send signed requests over persistent connections of the standard library.

See docs/adr/0048-fast-calls-have-their-own-connections.md.
"""

from __future__ import annotations

import functools
import os
import re
import socket
import ssl
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import (
    HTTP_PORT,
    HTTPS_PORT,
    HTTPConnection,
    HTTPException,
    HTTPResponse,
    HTTPSConnection,
)
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)
from botocore.httpsession import get_cert_path
from botocore.session import Session
from botocore.utils import get_environ_proxies
from urllib3.util import wait_for_read

Connect = Callable[[], HTTPConnection]
CA_BUNDLE: Final = "REQUESTS_CA_BUNDLE"
"""The variable that botocore reads besides its own setting `ca_bundle`."""
PLAIN_HOST: Final = re.compile(r"[a-z0-9_.:-]*[a-z0-9_:-]")
"""Matches hosts that botocore's session sends as they are: not with a final dot, a zone or a letter
that is not ASCII."""
FIRST_FINAL: Final = 200
"""The lowest status code of an answer that no other answer to the same request follows."""


class Connections:
    """Connections to one host. Thread-safe: each request has a connection of its own."""

    def __init__(self, connect: Connect, *, read_timeout: float, limit: int) -> None:
        """Open no connection yet; requests open them.

        Args:
            connect: creates a connection that is not open; its timeout is that of connecting.
            read_timeout: maximum seconds to send a request, and between two parts of an answer.
            limit: maximum number of idle connections to keep.
        """
        self._connect = connect
        self._read_timeout = read_timeout
        self._limit = limit
        self._idle: deque[HTTPConnection] = deque()
        weakref.finalize(self, _close, self._idle)

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        """Send a POST and return the whole answer, whatever its status.

        Raises:
            BotoCoreError: there is no answer. The class is one that botocore's own session raises,
                so botocore retries or reports the error in the same way.
        """
        url: str = request.url
        connection = self._take_idle() or self._open(url)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # an answer may be there
                connection.sock.sendall(_render(request))  # one piece, since each is a system call
            # The block ends the response's use of the socket, which otherwise delays its closing.
            with HTTPResponse(connection.sock, method="POST") as response:
                response.begin()
                content = response.read()
        except BaseException as error:
            connection.close()
            if isinstance(error, Exception):
                raise _no_answer(error, url, request) from error
            raise
        is_last = response.status < FIRST_FINAL or response.will_close
        if is_last or len(self._idle) >= self._limit:
            connection.close()
        else:
            self._idle.append(connection)
        return AWSResponse(url, response.status, _joined(response), _Content(content))

    def _take_idle(self) -> HTTPConnection | None:
        """Return an idle connection that the server has not closed, the last used one first."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if not _is_readable(connection.sock):
                return connection
            connection.close()  # the server closed it, or sent an answer to no request

    def _open(self, url: str) -> HTTPConnection:
        connection = self._connect()
        try:
            connection.connect()
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.sock.settimeout(self._read_timeout)
        except BaseException as error:
            connection.close()
            if isinstance(error, Exception):
                raise _not_connected(error, url) from error
            raise
        return connection


def _is_readable(sock: socket.socket) -> bool:
    """Return True if a read would return at once: with data, decrypted data, or the end."""
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return True
    return wait_for_read(sock, timeout=0)


def _close(idle: deque[HTTPConnection]) -> None:
    while idle:  # at the exit of the interpreter, a thread or handler may still send
        idle.pop().close()


def _joined(response: HTTPResponse) -> Any:
    """Return the headers of an answer, with the values of a repeated header joined."""
    joined: dict[str, str] = {}
    for name, value in response.getheaders():
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of an answer, in the form in which botocore reads it."""

    content: bytes

    def stream(self) -> Iterator[bytes]:
        yield self.content


def connections_to(url: str, config: Any) -> Connections | None:
    """Return new connections to the host of a URL for a client with this configuration.

    Return None if requests to the URL need more than a plain connection: a proxy, a client
    certificate, a CA bundle, or another form of the host. They are left to botocore's session.
    """
    parts = urlsplit(url)
    proxies = get_environ_proxies(url) if config.proxies is None else config.proxies
    host = parts.hostname or ""
    if proxies.get(parts.scheme) or config.client_cert or not PLAIN_HOST.fullmatch(host):
        return None
    if parts.scheme == "https" and not _has_ca_bundle():
        connect: Connect = functools.partial(
            HTTPSConnection,
            host,
            parts.port or HTTPS_PORT,  # given no port, http.client takes the end of `::1` for it
            timeout=config.connect_timeout,
            context=_tls(),
        )
    elif parts.scheme == "http":
        connect = functools.partial(
            HTTPConnection,
            host,
            parts.port or HTTP_PORT,
            timeout=config.connect_timeout,
        )
    else:
        return None
    return Connections(connect, read_timeout=config.read_timeout, limit=config.max_pool_connections)


def _has_ca_bundle() -> bool:
    return bool(Session().get_config_variable("ca_bundle") or os.environ.get(CA_BUNDLE))


@functools.cache
def _tls() -> ssl.SSLContext:
    """Return a context that checks certificate and host name, with botocore's authorities."""
    context = ssl.create_default_context(cafile=get_cert_path(verify=True))
    # Python 3.13 refuses certificates without an authority key identifier, botocore does not.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _render(request: AWSPreparedRequest) -> bytes:
    """Return the bytes of a request.

    Raises:
        ValueError: a header contains a line break, or a character that HTTP does not allow.
    """
    body: Any = request.body
    lines = [f"{name}: {as_text(value)}" for name, value in request.headers.items()]
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise ValueError("a header contains a line break")
    return b"%s%s\r\n\r\n%s" % (_start(request.url), head.encode("latin-1"), body)


@functools.lru_cache(maxsize=64)
def _start(url: str) -> bytes:
    """Return the lines of a request that depend on the URL only."""
    parts = urlsplit(url)
    lines = (
        f"POST {parts.path or '/'} HTTP/1.1",
        f"Host: {host_header(parts)}",
        "Accept-Encoding: identity",
        "",
    )
    return "\r\n".join(lines).encode("ascii")


def host_header(url: SplitResult) -> str:
    """Return the Host header; the scheme's default port is left out."""
    host = url.hostname or ""
    host = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}.get(url.scheme)
    return host if url.port in {None, usual} else f"{host}:{url.port}"


def as_text(value: str | bytes) -> str:
    """Return the value of a header as a string."""
    return value.decode() if isinstance(value, bytes) else value


def _not_connected(error: Exception, url: str) -> Exception:
    """Return botocore's error for a connection that cannot be opened."""
    if isinstance(error, TimeoutError):
        return ConnectTimeoutError(endpoint_url=url, error=error)
    if isinstance(error, ssl.SSLError):
        return SSLError(endpoint_url=url, error=error)
    if isinstance(error, OSError):
        return EndpointConnectionError(endpoint_url=url, error=error)
    return HTTPClientError(error=error)


def _no_answer(error: Exception, url: str, request: AWSPreparedRequest) -> Exception:
    """Return botocore's error for a connection that failed after it was open."""
    if isinstance(error, TimeoutError):
        return ReadTimeoutError(endpoint_url=url, error=error)
    if isinstance(error, ssl.SSLError):
        return SSLError(endpoint_url=url, error=error)
    if isinstance(error, (OSError, HTTPException)):
        return ConnectionClosedError(endpoint_url=url, request=request, error=error)
    return HTTPClientError(error=error)
