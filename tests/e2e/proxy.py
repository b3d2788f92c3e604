"""Proxy for the AWS endpoint on 127.0.0.1 that injects chosen faults.

    with FaultyProxy(aws_endpoint) as proxy:
        fault = proxy.inject(Unavailable(), "ReceiveMessage", seconds=3)
        ...                             # AWS_ENDPOINT_URL=proxy.url for the faulty client
        assert fault.hits and proxy.calls["DeleteMessageBatch"] == 1

Operations have the names that AWS uses (`TransactWriteItems`, `PublishBatch`, ...); `*` is any.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol, Self
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

ANY = "*"
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date"})


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the service, real or made up."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Exchange(Protocol):
    """A request that a fault can handle."""

    def forward(self, body: bytes | None = None) -> Answer:
        """Forward the request to the real service, or a changed `body` in its place."""
        ...

    def answer(self, answer: Answer) -> None:
        """Answer the client."""
        ...

    def answer_half(self, answer: Answer) -> None:
        """Send half of an answer to the client, and close the connection."""
        ...

    def reset(self) -> None:
        """Close the connection by a TCP reset."""
        ...

    def wait(self, seconds: float) -> None:
        """Keep the client waiting, unless the proxy closes."""
        ...

    @property
    def query_protocol(self) -> bool:
        """Return True if the client expects errors in XML, as clients of SNS do."""
        ...

    @property
    def asked(self) -> bytes:
        """Return the body of the request."""
        ...

    @property
    def operation(self) -> str:
        """Return the requested operation, as AWS names it."""
        ...


class Fault(Protocol):
    """A way to fail or change a call."""

    def strike(self, exchange: Exchange) -> None:
        """Handle one request."""
        ...


@dataclass(frozen=True, slots=True)
class Refused:
    """The service refuses the request and does nothing."""

    status: int
    code: str

    def strike(self, exchange: Exchange) -> None:
        """Answer with the error in the protocol of the client."""
        if exchange.query_protocol:
            headers = {"Content-Type": "text/xml"}
            body = (
                "<ErrorResponse><Error><Type>Sender</Type>"
                f"<Code>{self.code}</Code><Message>injected</Message></Error>"
                "<RequestId>injected</RequestId></ErrorResponse>"
            ).encode()
        else:
            headers = {"Content-Type": "application/x-amz-json-1.0"}
            body = json.dumps({"__type": f"injected#{self.code}", "message": "injected"}).encode()
        exchange.answer(Answer(self.status, headers, body))


class Unavailable(Refused):
    """HTTP 503."""

    def __init__(self) -> None:
        super().__init__(503, "ServiceUnavailable")


class Throttled(Refused):
    """HTTP 400 with the error code of a throttled call."""

    def __init__(self, code: str = "ThrottlingException") -> None:
        super().__init__(400, code)


class Denied(Refused):
    """HTTP 403: no permission."""

    def __init__(self) -> None:
        super().__init__(403, "AccessDenied")


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset before anything is done."""

    def strike(self, exchange: Exchange) -> None:
        """Reset the connection."""
        exchange.reset()


@dataclass(frozen=True, slots=True)
class LostAnswer:
    """The service handles the request, but the connection is reset before the answer."""

    def strike(self, exchange: Exchange) -> None:
        """Forward the request, then reset the connection."""
        exchange.forward()
        exchange.reset()


@dataclass(frozen=True, slots=True)
class HalfAnswer:
    """The service handles the request, but half of the answer is lost."""

    def strike(self, exchange: Exchange) -> None:
        """Forward the request, then send half of the answer."""
        exchange.answer_half(exchange.forward())


@dataclass(frozen=True, slots=True)
class Junk:
    """A server that is not AWS answers 200."""

    body: bytes = b"<html>welcome to the hotel</html>"

    def strike(self, exchange: Exchange) -> None:
        """Answer with the foreign body."""
        exchange.answer(Answer(200, {"Content-Type": "text/html"}, self.body))


@dataclass(frozen=True, slots=True)
class Silence:
    """The request is neither handled nor answered, until the client times out."""

    seconds: float = 120

    def strike(self, exchange: Exchange) -> None:
        """Wait, then reset the connection."""
        exchange.wait(self.seconds)
        exchange.reset()


@dataclass(frozen=True, slots=True)
class Dated:
    """The answer is correct, but its Date differs from the machine's time by `seconds`."""

    seconds: float

    def strike(self, exchange: Exchange) -> None:
        """Forward the request, then answer with another Date."""
        answer = exchange.forward()
        date = formatdate(time.time() + self.seconds, usegmt=True)
        exchange.answer(Answer(answer.status, {**answer.headers, "Date": date}, answer.body))


@dataclass(frozen=True, slots=True)
class Slow:
    """The answer is correct, but late."""

    seconds: float

    def strike(self, exchange: Exchange) -> None:
        """Wait, then forward the request."""
        exchange.wait(self.seconds)
        exchange.answer(exchange.forward())


@dataclass(frozen=True, slots=True)
class UnreadPartition:
    """DynamoDB throttles the reads of one partition: BatchGetItem leaves its keys unprocessed."""

    partition: str

    def strike(self, exchange: Exchange) -> None:
        """Remove the partition's items from the answer; throttle a call that requests nothing else.

        https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
        """
        asked = json.loads(exchange.asked)["RequestItems"]
        [(table, request)] = asked.items()
        unread = [key for key in request["Keys"] if self._is_of(key)]
        if unread and len(unread) == len(request["Keys"]):
            Throttled("ProvisionedThroughputExceededException").strike(exchange)
            return
        answer = exchange.forward()
        body = json.loads(answer.body)
        if unread and answer.status == HTTPStatus.OK:
            found = [item for item in body["Responses"][table] if not self._is_of(item)]
            body["Responses"][table] = found
            body["UnprocessedKeys"] = {table: {**request, "Keys": unread}}
        exchange.answer(_json(answer.status, body))

    def _is_of(self, item: Mapping[str, Any]) -> bool:
        return bool(item["pk"]["S"] == self.partition)


@dataclass(frozen=True, slots=True)
class ThrottledPartition:
    """DynamoDB throttles the writes of one partition: it cancels each transaction that has any.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
    """

    partition: str

    def strike(self, exchange: Exchange) -> None:
        """Cancel with a reason for each action of the partition, or forward the request."""
        actions = json.loads(exchange.asked)["TransactItems"]
        codes = ["ThrottlingError" if self._is_of(action) else "None" for action in actions]
        if "ThrottlingError" not in codes:
            exchange.answer(exchange.forward())
            return
        body = {
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message": "injected",
            "CancellationReasons": [{"Code": code} for code in codes],
        }
        exchange.answer(_json(HTTPStatus.BAD_REQUEST, body))

    def _is_of(self, action: Mapping[str, Any]) -> bool:
        [request] = action.values()
        return bool((request.get("Item") or request["Key"])["pk"]["S"] == self.partition)


def _json(status: int, body: object) -> Answer:
    headers = {"Content-Type": "application/x-amz-json-1.0", "x-amzn-RequestId": "injected"}
    return Answer(status, headers, json.dumps(body).encode())


@dataclass(frozen=True, slots=True)
class RefusedEvents:
    """SNS publishes a batch except for chosen events, which fail with an error of the service."""

    subjects: frozenset[str]
    """User ids whose events are refused."""
    code: str = "InternalError"

    def strike(self, exchange: Exchange) -> None:
        """Forward the other events, and answer for all."""
        good: list[dict[str, str]] = []
        bad: list[dict[str, str]] = []
        for entry in _publish_batch_entries(exchange.asked):
            subject = json.loads(entry["Message"])["subject"]
            (bad if subject in self.subjects else good).append(entry)
        published = exchange.forward(_without(exchange.asked, good)) if good else None
        if published is not None and published.status != HTTPStatus.OK:
            exchange.answer(published)
            return
        taken = [
            f"<member><Id>{e['Id']}</Id><MessageId>{e['Id']}</MessageId></member>" for e in good
        ]
        failed = [
            f"<member><Id>{entry['Id']}</Id><Code>{self.code}</Code><Message>injected</Message>"
            "<SenderFault>false</SenderFault></member>"
            for entry in bad
        ]
        body = (
            '<PublishBatchResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">'
            f"<PublishBatchResult><Failed>{''.join(failed)}</Failed>"
            f"<Successful>{''.join(taken)}</Successful></PublishBatchResult>"
            "<ResponseMetadata><RequestId>injected</RequestId></ResponseMetadata>"
            "</PublishBatchResponse>"
        ).encode()
        exchange.answer(Answer(200, {"Content-Type": "text/xml"}, body))


_ENTRY = "PublishBatchRequestEntries.member."


def _publish_batch_entries(body: bytes) -> list[dict[str, str]]:
    """Parse the entries of a PublishBatch, each by the names of its parameters."""
    entries: dict[int, dict[str, str]] = {}
    for name, value in parse_qsl(body.decode()):
        if name.startswith(_ENTRY):
            number, _, field_name = name.removeprefix(_ENTRY).partition(".")
            entries.setdefault(int(number), {})[field_name] = value
    return [entries[number] for number in sorted(entries)]


def _without(body: bytes, entries: list[dict[str, str]]) -> bytes:
    """Render a PublishBatch again, with these entries only."""
    pairs = [pair for pair in parse_qsl(body.decode()) if not pair[0].startswith(_ENTRY)]
    for number, entry in enumerate(entries, 1):
        pairs += [(f"{_ENTRY}{number}.{name}", value) for name, value in entry.items()]
    return urlencode(pairs).encode()


@dataclass(slots=True)
class Injection:
    """A fault with its limits and the number of calls that it was applied to."""

    fault: Fault
    operation: str
    times: int | None
    until: float
    hits: int = 0

    def takes(self, operation: str, now: float) -> bool:
        """Return True if the fault applies to this request, and count the request."""
        spent = self.times is not None and self.hits >= self.times
        if spent or now >= self.until or self.operation not in (operation, ANY):
            return False
        self.hits += 1
        return True


@dataclass(slots=True)
class FaultyProxy:
    """Forwards to `target`, a URL, unless an injected fault applies. Use it as a `with` block."""

    target: str
    calls: Counter[str] = field(default_factory=Counter)
    """Requests so far by operation, faulty or not."""
    _injections: list[Injection] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: threading.Event = field(default_factory=threading.Event)
    _server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Return the URL on which it listens."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def inject(
        self,
        fault: Fault,
        operation: str = ANY,
        *,
        times: int | None = None,
        seconds: float | None = None,
    ) -> Injection:
        """Apply a fault to an operation, limited by a number of calls, seconds from now, or both.

        If several faults apply, the one that was injected first is used.
        """
        until = float("inf") if seconds is None else time.monotonic() + seconds
        injection = Injection(fault, operation, times, until)
        with self._lock:
            self._injections.append(injection)
        return injection

    def withdraw(self, injection: Injection) -> None:
        """Remove one fault."""
        with self._lock:
            self._injections.remove(injection)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._injections.clear()

    def fault_for(self, operation: str) -> Fault | None:
        """Count a request; return the fault that applies to it, or None."""
        with self._lock:
            self.calls[operation] += 1
            now = time.monotonic()
            return next((i.fault for i in self._injections if i.takes(operation, now)), None)

    def wait(self, seconds: float) -> None:
        """Wait, unless the proxy closes."""
        self._closed.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing, because clients are expected to close connections here."""


class _Handler(BaseHTTPRequestHandler):
    """One client connection; a thread of its own."""

    proxy: FaultyProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    _upstream: http.client.HTTPConnection | None = None
    _body = b""

    def do_POST(self) -> None:  # the base class finds it by name
        """Forward one request, or let a fault handle it."""
        self._body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.proxy.fault_for(self.operation)
        try:
            if fault is None:
                self.answer(self.forward())
            else:
                fault.strike(self)
        except OSError:  # the client or the service closed the connection
            self.close_connection = True

    do_GET = do_POST  # noqa: N815

    @property
    def operation(self) -> str:
        """See `Exchange`, also for the other methods."""
        target = self.headers.get("X-Amz-Target")
        if target:
            return target.rpartition(".")[2]
        return parse_qs(self._body.decode("latin-1")).get("Action", ["?"])[0]

    @property
    def query_protocol(self) -> bool:
        """See `Exchange`."""
        return "X-Amz-Target" not in self.headers

    @property
    def asked(self) -> bytes:
        """See `Exchange`."""
        return self._body

    def forward(self, body: bytes | None = None) -> Answer:
        """See `Exchange`."""
        parts = urlsplit(self.proxy.target)
        if self._upstream is None:
            self._upstream = http.client.HTTPConnection(
                parts.hostname or "", parts.port, timeout=60
            )
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
        self._upstream.request(self.command, self.path, body or self._body, headers)
        response = self._upstream.getresponse()
        kept = {k: v for k, v in response.getheaders() if k.lower() not in _HOP_BY_HOP}
        return Answer(response.status, kept, response.read())

    def answer(self, answer: Answer) -> None:
        """See `Exchange`."""
        self._send(answer, answer.body)

    def answer_half(self, answer: Answer) -> None:
        """Send half of the body that the header promises, and close the connection."""
        self._send(answer, answer.body[: len(answer.body) // 2])
        self.wfile.flush()
        self.close_connection = True

    def _send(self, answer: Answer, body: bytes) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(body)

    def reset(self) -> None:
        """Close the connection by a TCP reset."""
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        # Both file objects must be closed before the descriptor is, which sends the reset.
        with contextlib.suppress(OSError):
            self.rfile.close()
            self.wfile.close()
        self.connection.close()

    def wait(self, seconds: float) -> None:
        """Keep the client waiting."""
        self.proxy.wait(seconds)

    def finish(self) -> None:
        """Close the connection to the service with that of the client."""
        if self._upstream is not None:
            self._upstream.close()
        if not self.wfile.closed:
            super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""
