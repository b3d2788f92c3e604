"""A proxy before the AWS endpoint, on 127.0.0.1, that can go wrong in chosen ways.

    with FaultyProxy(aws_endpoint) as proxy:
        fault = proxy.inject(Unavailable(), "ReceiveMessage", seconds=3)
        ...                             # AWS_ENDPOINT_URL=proxy.url for whoever shall suffer
        assert fault.hits and proxy.calls["DeleteMessageBatch"] == 1

Operations are named as AWS names them (`TransactWriteItems`, `PublishBatch`, ...); `*` is any.
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
    """What the service answered, or would have."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Exchange(Protocol):
    """One request, as a fault may treat it."""

    def forward(self, body: bytes | None = None) -> Answer:
        """Forward the request, or another one of the same kind, to the real service."""
        ...

    def answer(self, answer: Answer) -> None:
        """Answer the client."""
        ...

    def answer_half(self, answer: Answer) -> None:
        """Answer the client half, and hang up."""
        ...

    def reset(self) -> None:
        """Hang up by a TCP reset."""
        ...

    def wait(self, seconds: float) -> None:
        """Let the client wait, unless the proxy closes."""
        ...

    @property
    def query_protocol(self) -> bool:
        """Whether errors are told in XML, as to SNS's clients."""
        ...

    @property
    def asked(self) -> bytes:
        """The body of the request."""
        ...

    @property
    def operation(self) -> str:
        """What is asked for, as AWS names it."""
        ...


class Fault(Protocol):
    """A way of going wrong."""

    def strike(self, exchange: Exchange) -> None:
        """Treat one request."""
        ...


@dataclass(frozen=True, slots=True)
class Refused:
    """The service refuses, and does nothing."""

    status: int
    code: str

    def strike(self, exchange: Exchange) -> None:
        """Answer with the error in the protocol that the client speaks."""
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
    """HTTP 400 with the code of a throttled call."""

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
        """Reset."""
        exchange.reset()


@dataclass(frozen=True, slots=True)
class LostAnswer:
    """The service does it, but the connection is reset before the answer."""

    def strike(self, exchange: Exchange) -> None:
        """Forward, then reset."""
        exchange.forward()
        exchange.reset()


@dataclass(frozen=True, slots=True)
class HalfAnswer:
    """The service does it, but half of the answer is lost."""

    def strike(self, exchange: Exchange) -> None:
        """Forward, then send half."""
        exchange.answer_half(exchange.forward())


@dataclass(frozen=True, slots=True)
class Junk:
    """Something answers 200 that is not AWS."""

    body: bytes = b"<html>welcome to the hotel</html>"

    def strike(self, exchange: Exchange) -> None:
        """Answer with something else."""
        exchange.answer(Answer(200, {"Content-Type": "text/html"}, self.body))


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing is done and nothing answered, until the client's patience ends."""

    seconds: float = 120

    def strike(self, exchange: Exchange) -> None:
        """Wait, then reset."""
        exchange.wait(self.seconds)
        exchange.reset()


@dataclass(frozen=True, slots=True)
class Dated:
    """The answer is right, and its Date is so many seconds from the machine's time."""

    seconds: float

    def strike(self, exchange: Exchange) -> None:
        """Forward, then answer with another Date."""
        answer = exchange.forward()
        date = formatdate(time.time() + self.seconds, usegmt=True)
        exchange.answer(Answer(answer.status, {**answer.headers, "Date": date}, answer.body))


@dataclass(frozen=True, slots=True)
class Slow:
    """The answer is right, but late."""

    seconds: float

    def strike(self, exchange: Exchange) -> None:
        """Wait, then forward."""
        exchange.wait(self.seconds)
        exchange.answer(exchange.forward())


@dataclass(frozen=True, slots=True)
class UnreadPartition:
    """DynamoDB throttles the reads of one partition: BatchGetItem leaves its keys unprocessed."""

    partition: str

    def strike(self, exchange: Exchange) -> None:
        """Take the partition's items out of the answer; refuse a call that asks for nothing else.

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
    """DynamoDB throttles the writes of one partition: it cancels the transactions that have any.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
    """

    partition: str

    def strike(self, exchange: Exchange) -> None:
        """Cancel with a reason for each action of the partition, or forward."""
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
    """SNS publishes a batch but for chosen events, of which it says that the fault is its own."""

    subjects: frozenset[str]
    """User ids whose events are refused."""
    code: str = "InternalError"

    def strike(self, exchange: Exchange) -> None:
        """Forward the others, and answer for all."""
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
    """Read the entries of a PublishBatch, each by the names of its parameters."""
    entries: dict[int, dict[str, str]] = {}
    for name, value in parse_qsl(body.decode()):
        if name.startswith(_ENTRY):
            number, _, field_name = name.removeprefix(_ENTRY).partition(".")
            entries.setdefault(int(number), {})[field_name] = value
    return [entries[number] for number in sorted(entries)]


def _without(body: bytes, entries: list[dict[str, str]]) -> bytes:
    """Render a PublishBatch anew, with these entries only."""
    pairs = [pair for pair in parse_qsl(body.decode()) if not pair[0].startswith(_ENTRY)]
    for number, entry in enumerate(entries, 1):
        pairs += [(f"{_ENTRY}{number}.{name}", value) for name, value in entry.items()]
    return urlencode(pairs).encode()


@dataclass(slots=True)
class Injection:
    """A fault with its limits, and how often it struck."""

    fault: Fault
    operation: str
    times: int | None
    until: float
    hits: int = 0

    def takes(self, operation: str, now: float) -> bool:
        """Say whether it strikes this request, counting it if so."""
        spent = self.times is not None and self.hits >= self.times
        if spent or now >= self.until or self.operation not in (operation, ANY):
            return False
        self.hits += 1
        return True


@dataclass(slots=True)
class FaultyProxy:
    """Forwards to `target`, a URL, unless an injected fault strikes. Use it as a `with` block."""

    target: str
    calls: Counter[str] = field(default_factory=Counter)
    """Requests so far by operation, struck or not."""
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
        """Where it listens."""
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
        """Let a fault strike an operation so many times, or so many seconds from now, or both.

        Of several that apply, the first one injected strikes.
        """
        until = float("inf") if seconds is None else time.monotonic() + seconds
        injection = Injection(fault, operation, times, until)
        with self._lock:
            self._injections.append(injection)
        return injection

    def withdraw(self, injection: Injection) -> None:
        """Take one fault back."""
        with self._lock:
            self._injections.remove(injection)

    def clear(self) -> None:
        """Take all faults back."""
        with self._lock:
            self._injections.clear()

    def fault_for(self, operation: str) -> Fault | None:
        """Count a request and choose what strikes it."""
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
        """Say nothing: clients that hang up are what is wanted here."""


class _Handler(BaseHTTPRequestHandler):
    """One client connection; a thread of its own."""

    proxy: FaultyProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    _upstream: http.client.HTTPConnection | None = None
    _body = b""

    def do_POST(self) -> None:  # the base class finds it by name
        """Forward one request, or let a fault have it."""
        self._body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.proxy.fault_for(self.operation)
        try:
            if fault is None:
                self.answer(self.forward())
            else:
                fault.strike(self)
        except OSError:  # the client, or the service, hung up
            self.close_connection = True

    do_GET = do_POST  # noqa: N815

    @property
    def operation(self) -> str:
        """See `Exchange`, as for the rest."""
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
        """Forward the request, or another one of the same kind, to the real service."""
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
        """Answer the client."""
        self._send(answer, answer.body)

    def answer_half(self, answer: Answer) -> None:
        """Send half of the body that the header promises, and hang up."""
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
        """Hang up by a TCP reset."""
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        # both files over the socket must go before the descriptor does, and the reset with it
        with contextlib.suppress(OSError):
            self.rfile.close()
            self.wfile.close()
        self.connection.close()

    def wait(self, seconds: float) -> None:
        """Let the client wait."""
        self.proxy.wait(seconds)

    def finish(self) -> None:
        """Hang up on the service with the client."""
        if self._upstream is not None:
            self._upstream.close()
        if not self.wfile.closed:
            super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""
