"""The connections of fast calls send, read and fail like botocore's own session."""

from __future__ import annotations

import datetime as dt
import io
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)
from botocore.httpsession import ProxyConfiguration, URLLib3Session, create_urllib3_context
from botocore.utils import get_environ_proxies
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from adapters.aws import client as aws
from adapters.aws.fast_calls import connections, use_fast_calls
from adapters.aws.fast_calls.connections import Connections, connections_to

pytestmark = pytest.mark.embedded

HEADERS: Final = {
    "X-Amz-Target": "T",
    "User-Agent": "test",
    "Authorization": b"AWS4 x",
    "Content-Length": "2",
}
AMAZON: Final = "https://dynamodb.us-east-1.amazonaws.com/"
READ_TIMEOUT: Final = 0.3
"""Seconds; only tests that expect the timeout wait for it."""


@pytest.fixture(autouse=True)
def _no_proxies_and_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def config(**changes: Any) -> Config:
    """Return the configuration of the worker's clients, with a short timeout."""
    return aws.config(read_timeout=READ_TIMEOUT).merge(Config(**changes))


def request_to(url: str, body: bytes = b"{}", token: str = "token") -> AWSPreparedRequest:
    """Return a request as fast calls prepare it."""
    own = {"X-Amz-Security-Token": token, "Content-Length": str(len(body))}
    given: Any = HEADERS | own
    return AWSPreparedRequest("POST", url, given, body, stream_output=False)


def plain(text: bytes, *headers: bytes) -> bytes:
    """Render an answer with a length."""
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(text), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + text


OK: Final = plain(b"{}")


@dataclass(slots=True)
class Server:
    """A server that answers each request with what a function returns; None: close at once.

    It closes a connection after an answer that contains "close", or no "Length".
    """

    answer: Callable[[bytes], bytes | None]
    context: ssl.SSLContext | None = None
    requests: list[bytes] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)
    """Of all connections, in the order in which they were opened."""
    port: int = 0

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Serve while the block runs."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
            threading.Thread(target=self._accept, args=(listening,), daemon=True).start()
            try:
                yield self
            finally:
                listening.shutdown(socket.SHUT_RDWR)
                for each in self.sockets:
                    with suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)
                    each.close()

    def url(self, scheme: str = "http", host: str = "127.0.0.1") -> str:
        """Return the address of the server."""
        return f"{scheme}://{host}:{self.port}/"

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                self.sockets.append(listening.accept()[0])
                threading.Thread(target=self._serve, args=(self.sockets[-1],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
                self.sockets.append(connection)
            while request := self._read(connection):
                self.requests.append(request)
                answer = self.answer(request)
                if answer is not None:
                    connection.sendall(answer)
                if answer is None or b"close" in answer.lower() or b"Length" not in answer:
                    connection.shutdown(socket.SHUT_RDWR)
                    connection.close()
                    return

    @staticmethod
    def _read(connection: socket.socket) -> bytes:
        read = b""
        while b"\r\n\r\n" not in read:
            part = connection.recv(65536)
            if not part:
                return b""
            read += part
        head, _, body = read.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body


def own(url: str, **changes: Any) -> Connections:
    """Return connections to a URL; fail if it is left to botocore."""
    made = connections_to(url, config(**changes))
    assert made is not None
    return made


# --- requests and answers ------------------------------------------------------------------


def test_a_request_has_the_lines_of_botocores() -> None:
    """The same first line, headers and body; the order of headers has no meaning."""
    with Server(lambda _: OK).running() as server:
        request = request_to(server.url() + "a/b", "ü€".encode())
        own(server.url()).send(request)
        URLLib3Session().send(request)
    heads = [each.partition(b"\r\n\r\n") for each in server.requests]
    first, second = [(head.split(b"\r\n")[0], sorted(head.split(b"\r\n"))) for head, _, _ in heads]
    assert first == second
    assert heads[0][2] == heads[1][2] == "ü€".encode()


ANSWERS: Final[dict[str, bytes]] = {
    "a length": OK,
    "an empty body": plain(b""),
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nx-Length: 5\r\n\r\n"
    b"2\r\n{}\r\n3;x=y\r\n \n \r\n0\r\n\r\n",
    "neither length nor chunks": b"HTTP/1.1 200 OK\r\nx-a: b\r\n\r\n{}",
    "a closed connection": plain(b"{}", b"Connection: close"),
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "no content": b"HTTP/1.1 204 No Content\r\nx-Length: 0\r\n\r\n",
    "an error": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\n\r\n{1}\n",
    "a status without words": b"HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n",
    "a redirection": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2/\r\n"
    b"Content-Length: 0\r\n\r\n",
    "other cases of letters": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-AMZN-requestid: ab\r\n"
    b"Length: 1\r\n\r\n{}",
    "spaces around a value": plain(b"{}", b"x-amzn-requestid:   ab  "),
    "a header of Latin letters": plain(b"{}", b"x-name: Zo\xeb"),
    "a header twice": plain(b"{}", b"x-name: a", b"X-Name: b"),
    "a large body": plain(b"x" * 300_000),
    "half of the head": b"HTTP/1.1 200 OK\r\nContent-",
    "a compressed body": plain(b"\x1f\x8b..", b"Content-Encoding: gzip"),
}


def seen(answer: AWSResponse) -> object:
    """Return all that a caller reads of an answer."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return answer.status_code, headers, answer.content


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_read_as_botocore_does(name: str) -> None:
    """For the first answer of a connection and for the next one."""
    with Server(lambda _: ANSWERS[name]).running() as server:
        request, sender, session = request_to(server.url()), own(server.url()), URLLib3Session()
        answers = [seen(each.send(request)) for each in (sender, sender, session, session)]
    assert answers[0] == answers[1] == answers[2] == answers[3]


FAULTS: Final[dict[str, bytes | None]] = {
    "nothing": None,
    "no HTTP": b"SSH-2.0-OpenSSH\r\n",
    "an endless header": b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70_000 + b"\r\n\r\n",
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 101 + b"\r\n",
    "a status that is no number": b"HTTP/1.1 abc OK\r\n\r\n",
    "odd chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "half of the chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}",
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_answer_is_botocores_error(name: str) -> None:
    """The class is the same, so botocore retries it; the next request has a new connection."""
    with Server(lambda _: FAULTS[name]).running() as server:
        request, sender = request_to(server.url()), own(server.url())
        errors = []
        for each in (sender, URLLib3Session()):
            with pytest.raises(Exception, match=r".") as caught:
                each.send(request)
            errors.append(caught.type)
        server.answer = lambda _: OK
        assert sender.send(request).content == b"{}"
    assert errors[0] is errors[1]


def test_an_answer_that_is_cut_off_is_no_answer() -> None:
    """Botocore's session returns the part, and the call succeeds if the part can be parsed."""
    cut = plain(b"{}").replace(b": 2", b": 100") + b" close"
    with Server(lambda _: cut).running() as server, pytest.raises(ConnectionClosedError):
        own(server.url()).send(request_to(server.url()))


@pytest.mark.parametrize("size", [10, 4_000_000])
def test_an_answer_is_read_although_the_request_was_not(size: int) -> None:
    """A server may refuse a large request and close before it has read the body."""
    refusal = plain(b"large", b"Connection: close").replace(b"200 OK", b"413 Too Large")

    def refuse(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                with listening.accept()[0] as connection:
                    connection.recv(100)
                    connection.sendall(refusal)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=refuse, args=(listening,), daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        request, sender, session = request_to(url, b"x" * size), own(url), URLLib3Session()
        answers = [seen(each.send(request)) for each in (sender, sender, session, session)]
        listening.shutdown(socket.SHUT_RDWR)
    assert answers == [(413, {"content-length": "5", "connection": "close"}, b"large")] * 4


def test_a_failed_connection_is_closed_while_its_error_is_kept() -> None:
    """An error in a log or a queue of retries keeps no file descriptor."""
    with Server(lambda _: plain(b"{}")[:-1]).running() as server:
        with pytest.raises(ReadTimeoutError) as kept:
            own(server.url()).send(request_to(server.url()))
        server.sockets[0].settimeout(5)
        assert server.sockets[0].recv(1) == b""
    assert kept.value.__cause__ is not None


def test_a_silent_server_is_a_timeout_of_reading() -> None:
    """Here in the middle of an answer."""
    with Server(lambda _: plain(b"{}")[:-1]).running() as server:
        sender = own(server.url())
        with pytest.raises(ReadTimeoutError):
            sender.send(request_to(server.url()))
        server.answer = lambda _: OK
        assert sender.send(request_to(server.url())).status_code == 200


def test_the_time_to_answer_is_not_that_of_connecting() -> None:
    """A receive may wait for 20 s, while a host must be connected within three."""

    def answer(_: bytes) -> bytes:
        time.sleep(0.6)
        return OK

    with Server(answer).running() as server:
        sender = own(server.url(), connect_timeout=0.3, read_timeout=10)
        assert sender.send(request_to(server.url())).status_code == 200


def test_a_header_with_a_line_break_is_not_sent() -> None:
    """A token from outside cannot add a header or a request."""
    with Server(lambda _: OK).running() as server:
        sender = own(server.url())
        for broken in ("a\r\nx: y", "a\nx: y", "a\rx", "a\r\n\r\nPOST / HTTP/1.1", "€"):
            with pytest.raises(HTTPClientError):
                sender.send(request_to(server.url(), token=broken))
    assert server.requests == []


# --- connections ---------------------------------------------------------------------------


def test_connections_are_reused_and_kept_to_a_limit() -> None:
    """Requests in turn share one connection; of many at once, those above the limit are closed."""
    together = threading.Barrier(4, timeout=10)

    def answer(request: bytes) -> bytes:
        if request.endswith(b"together"):
            together.wait()
        return OK

    with Server(answer).running() as server:
        sender = own(server.url(), max_pool_connections=2, read_timeout=10)
        for _ in range(5):
            sender.send(request_to(server.url()))
        assert len(server.sockets) == 1
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(sender.send, [request_to(server.url(), b"together")] * 4))
        assert len(server.sockets) == 4
        together = threading.Barrier(2, timeout=10)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(sender.send, [request_to(server.url(), b"together")] * 2))
        assert len(server.sockets) == 4


def test_each_thread_gets_the_answer_of_its_own_request() -> None:
    """With eight threads and some connections that the server closes."""

    def answer(request: bytes) -> bytes:
        body = request.rpartition(b"\r\n\r\n")[2]
        return plain(body, b"Connection: close") if int(body) % 7 == 0 else plain(body)

    with Server(answer).running() as server:
        sender = own(server.url(), read_timeout=10)
        with ThreadPoolExecutor(8) as pool:
            bodies = [b"%d" % number for number in range(400)]
            answers = pool.map(lambda body: sender.send(request_to(server.url(), body)), bodies)
            assert [each.content for each in answers] == bodies


def test_a_connection_that_the_server_closed_is_not_used() -> None:
    """The request goes over a new one, and is sent once."""
    with Server(lambda _: OK).running() as server:
        sender = own(server.url())
        sender.send(request_to(server.url()))
        server.sockets[0].shutdown(socket.SHUT_RDWR)
        assert sender.send(request_to(server.url())).status_code == 200
    assert len(server.requests) == 2


def test_an_answer_that_came_unasked_is_given_to_no_request() -> None:
    """A server that answers twice would otherwise answer the next request with the second."""
    with Server(lambda _: OK).running() as server:
        sender = own(server.url())
        server.answer = lambda _: OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"
        assert sender.send(request_to(server.url())).content == b"{}"
        server.answer = lambda _: plain(b"mine")
        assert sender.send(request_to(server.url())).content == b"mine"


def test_a_request_during_the_exit_of_the_interpreter_is_sent() -> None:
    """Idle connections are closed at exit; a later exit handler may make another call."""
    with Server(lambda _: OK).running() as server:
        sender = own(server.url())
        sender.send(request_to(server.url()))
        connections._close(sender._idle)
        assert sender.send(request_to(server.url())).status_code == 200
    assert len(server.sockets) == 2


def test_an_answer_after_early_hints_is_given_to_no_other_request() -> None:
    """Status 103 ends a call, as for botocore; the answer that follows it is not read."""
    with Server(lambda _: OK).running() as server:
        sender = own(server.url())
        server.answer = lambda _: b"HTTP/1.1 103 Early Hints\r\nx-Length: 0\r\n\r\n"
        assert sender.send(request_to(server.url())).status_code == 103
        server.answer = lambda _: OK
        assert sender.send(request_to(server.url())).content == b"{}"
    assert len(server.sockets) == 2


def test_botocore_retries_a_connection_that_ends_during_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fast call whose answer is lost is made again, by botocore, and succeeds."""
    with Server(lambda _: plain(b"{}", b"x-amzn-RequestId: a")).running() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url())
        client: Any = aws.client("dynamodb")
        use_fast_calls(client)
        key = {"TableName": "t", "Key": {"pk": {"S": "a"}}}
        client.delete_item(**key)
        answers = iter([None])
        server.answer = lambda _: next(answers, plain(b"{}"))
        assert client.delete_item(**key)["ResponseMetadata"]["RetryAttempts"] == 1
    assert len(server.requests) == 3


def test_a_host_that_refuses_is_botocores_error() -> None:
    """Nothing listens at the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    with pytest.raises(EndpointConnectionError):
        own(url).send(request_to(url))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://[::1]/", ("::1", 80)),
        ("https://[::1]/", ("::1", 443)),
        ("https://[::1]:8443/", ("::1", 8443)),
        ("http://LocalHost/", ("localhost", 80)),
        (AMAZON, ("dynamodb.us-east-1.amazonaws.com", 443)),
    ],
)
def test_the_host_and_port_are_those_of_the_url(
    monkeypatch: pytest.MonkeyPatch, url: str, address: tuple[str, int]
) -> None:
    """Without a port, that of the scheme."""
    addresses = []

    def connect(address: tuple[str, int], *_: object) -> socket.socket:
        addresses.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(EndpointConnectionError):
        own(url).send(request_to(url))
    assert addresses == [address]


def test_a_host_that_does_not_answer_is_a_timeout_of_connecting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The time is that of connecting, not that of reading."""
    timeouts = []

    def connect(_address: object, timeout: float, *_: object) -> socket.socket:
        timeouts.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", connect)
    url = "http://127.0.0.1:9/"
    with pytest.raises(ConnectTimeoutError):
        own(url).send(request_to(url))
    assert timeouts == [aws.CONNECT_TIMEOUT]


# --- TLS -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a certificate for 127.0.0.1 that is its own authority; key and certificate in one."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def secure(authority: Path) -> Iterator[Server]:
    """A server with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    with Server(lambda _: OK, context).running() as server:
        yield server


def trusting(monkeypatch: pytest.MonkeyPatch, authority: Path) -> None:
    """Make the tests' authority the only one that connections trust."""
    context = ssl.create_default_context(cafile=str(authority))
    monkeypatch.setattr(connections, "_tls", lambda: context)


def test_requests_are_encrypted(
    monkeypatch: pytest.MonkeyPatch, authority: Path, secure: Server
) -> None:
    """Also over a connection that is used again."""
    trusting(monkeypatch, authority)
    sender = own(secure.url("https"))
    for _ in range(3):
        assert sender.send(request_to(secure.url("https"))).content == b"{}"
    assert len(secure.sockets) == 2  # one connection, in clear text and encrypted


def test_a_decrypted_answer_that_came_unasked_is_given_to_no_request(
    monkeypatch: pytest.MonkeyPatch, authority: Path, secure: Server
) -> None:
    """It is in the memory of TLS, so the socket itself is not readable."""
    trusting(monkeypatch, authority)
    sender = own(secure.url("https"))
    head = len(plain(b"x" * 8000)) - 8000
    unread = plain(b"x" * (io.DEFAULT_BUFFER_SIZE - head))  # what is read from TLS at once
    secure.answer = lambda _: unread + plain(b"other")
    sender.send(request_to(secure.url("https")))
    secure.answer = lambda _: plain(b"mine")
    assert sender.send(request_to(secure.url("https"))).content == b"mine"


def test_an_unknown_authority_is_refused(secure: Server) -> None:
    """Nothing is sent: the authorities are botocore's."""
    with pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        own(secure.url("https")).send(request_to(secure.url("https")))
    assert secure.requests == []


def test_a_certificate_of_another_host_is_refused(
    monkeypatch: pytest.MonkeyPatch, authority: Path, secure: Server
) -> None:
    """The certificate is for 127.0.0.1 and not for localhost."""
    trusting(monkeypatch, authority)
    url = secure.url("https", "localhost")
    with pytest.raises(SSLError, match="mismatch"):
        own(url).send(request_to(url))
    assert secure.requests == []


def test_a_server_without_tls_is_refused(monkeypatch: pytest.MonkeyPatch, authority: Path) -> None:
    """A request to `https` is never sent in clear text."""
    trusting(monkeypatch, authority)
    with Server(lambda _: OK).running() as server:
        sender = own(server.url("https"), connect_timeout=1)
        with pytest.raises((SSLError, ConnectTimeoutError)):
            sender.send(request_to(server.url("https")))
    assert not any(b"AWS4" in each for each in server.requests)


def test_the_context_checks_certificates() -> None:
    """By Python's secure defaults, with at least TLS 1.2."""
    context = connections._tls()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.get_ca_certs()


def test_a_certificate_that_botocore_accepts_is_not_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python 3.13 is stricter by default; each fast call would fail, and botocore repeat it."""
    create = ssl.create_default_context

    def strict(**options: Any) -> ssl.SSLContext:
        context = create(**options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    connections._tls.cache_clear()
    try:
        flags = connections._tls().verify_flags
    finally:
        connections._tls.cache_clear()
    assert not (flags ^ create_urllib3_context().verify_flags) & ssl.VERIFY_X509_STRICT


# --- what is left to botocore --------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value", "url"),
    [
        ("HTTPS_PROXY", "http://proxy:3128", AMAZON),
        ("https_proxy", "http://proxy:3128", AMAZON),
        ("HTTP_PROXY", "http://proxy:3128", "http://10.0.0.1:4566/"),
        ("AWS_CA_BUNDLE", "/etc/ssl/own.pem", AMAZON),
        ("REQUESTS_CA_BUNDLE", "/etc/ssl/own.pem", AMAZON),
    ],
)
def test_special_connections_are_left_to_botocore(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, url: str
) -> None:
    """A proxy or a CA bundle of its own."""
    assert connections_to(url, config()) is not None
    monkeypatch.setenv(variable, value)
    assert connections_to(url, config()) is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [("NO_PROXY", "10.0.0.0/8"), ("HTTP_PROXY", "http://proxy:3128"), ("ALL_PROXY", "http://p:1")],
)
def test_a_variable_that_sets_no_proxy_for_the_url_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """An HTTP proxy is not for `https`, and botocore does not read ALL_PROXY."""
    monkeypatch.setenv(variable, value)
    proxies = get_environ_proxies(AMAZON)
    assert proxies
    assert ProxyConfiguration(proxies).proxy_url_for(AMAZON) is None
    assert connections_to(AMAZON, config()) is not None


def test_a_ca_bundle_of_the_configuration_file_is_left_to_botocore(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The bundle may also be set in a profile."""
    file = tmp_path / "config"
    file.write_text("[profile own]\nca_bundle = /etc/ssl/own.pem\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    assert connections_to(AMAZON, config()) is not None
    monkeypatch.setenv("AWS_PROFILE", "own")
    assert connections_to(AMAZON, config()) is None


@pytest.mark.parametrize(
    "changes",
    [{"client_cert": "/etc/own.pem"}, {"proxies": {"https": "http://proxy:3128"}}],
    ids=["certificate", "proxy"],
)
def test_special_settings_of_a_client_are_left_to_botocore(changes: dict[str, Any]) -> None:
    """A client certificate, or a proxy that the program itself sets."""
    assert connections_to(AMAZON, config(**changes)) is None


@pytest.mark.parametrize(
    "url",
    ["https://localhost./", "https://b\u00fccher.example/", "http://[fe80::1%25lo]/", "http:///"],
    ids=["final dot", "umlaut", "zone", "no host"],
)
def test_a_host_that_botocore_rewrites_is_left_to_it(url: str) -> None:
    """A certificate, for example, names no final dot; each fast call would fail and be repeated."""
    assert connections_to(url, config()) is None


def test_an_endpoint_of_this_machine_needs_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is created without proxies for it, so the connections are plain ones."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    with Server(lambda _: plain(b"{}", b"x-amzn-RequestId: a")).running() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url())
        client: Any = aws.client("dynamodb")
        assert connections_to(server.url(), client.meta.config) is not None
