"""Replace a client's method: learn the request from botocore once, then send it directly."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import local
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import urlsplit
from uuid import uuid4
from zlib import crc32

from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import BotoCoreError
from botocore.hooks import first_non_none_response
from urllib3.response import BaseHTTPResponse

from adapters.aws.fast_calls.connections import (
    Connections,
    as_text,
    connections_to,
    host_header,
)
from adapters.aws.fast_calls.operations import OPERATIONS, NotPlainError, Operation, Parameters
from adapters.aws.fast_calls.signing import DATE_FORMAT, Authorization, Signature

logger = logging.getLogger(__name__)  # not structlog: other services import the adapters
Answer: TypeAlias = dict[str, Any]

LEARNING_CALLS: Final = 20
"""Calls to learn from before the operation is left to botocore permanently."""
OK: Final = 200
FIXED: Final = frozenset(
    {"x-amz-target", "content-type", "x-amzn-query-mode", "user-agent", "amz-sdk-request"}
)
RENEWED: Final = frozenset(
    {
        "authorization",
        "amz-sdk-invocation-id",
        "content-length",
        "x-amz-date",
        "x-amz-security-token",
    }
)
"""Headers that stay fixed, and headers that are renewed in each call. A call with any other header
is left to botocore."""

CONTEXT: Final = frozenset(
    {
        *("client_region", "client_config", "has_streaming_input", "unsigned_payload"),
        *("auth_type", "auth_options", "signing", "endpoint_properties", "retries", "timestamp"),
    }
)
"""Keys of botocore's context that do not change the next call. Not included: a timeout of its own,
or a discovered URL, which expires."""
UNEXPECTED: Final = (
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RecursionError,
    NotPlainError,
)
"""Errors of reading or rendering unexpected data; a timeout is not among them and is raised."""


def use_fast_calls(client: Any) -> None:
    """Replace the methods of a boto3 client that every batch calls.

    Arguments, results and errors stay the same. Of botocore's events, only `before-send` and
    `after-call` are emitted. If the answer is not a plain success, the listeners of `before-send`
    are called twice. The client must have been created without `verify`: certificates are checked
    by botocore's default.
    """
    service: str = client.meta.service_model.service_name
    recorder = _Recorder(client)
    for operation in OPERATIONS.get(service, ()):
        setattr(client, operation.method, _DirectCall(client, operation, recorder))


class Sender(Protocol):
    """Connections, or botocore's session."""

    def send(self, request: Any) -> Any:
        """Send a request and return the answer, or raise one of botocore's errors."""
        ...


class _Recorded(local):
    """What botocore reported during this thread's call, and an answer to pass to botocore."""

    request: Any = None
    signer: Any = None
    session: Any = None
    http: Any = None
    context: Any = None
    first_answer: Any = None
    """The result of a call that was already sent: an answer or an exception."""


class _Recorder:
    """Listen to a client's public events, and keep its connections."""

    def __init__(self, client: Any) -> None:
        self.recorded = _Recorded()
        self._config = client.meta.config
        self._connections: dict[str, Connections | None] = {}
        """By scheme and host."""
        events, service = client.meta.events, client.meta.service_model.service_id.hyphenize()
        events.register(f"before-sign.{service}", self._signing)
        events.register_first(f"before-send.{service}", self._sending)
        events.register(f"needs-retry.{service}", self._answered)
        events.register(f"after-call.{service}", self._called)

    def sender(self, url: str) -> Sender:
        """Return the sender of later requests to the URL of the recorded call."""
        origin = url[: len(url) - len(urlsplit(url).path)]
        if origin not in self._connections:
            self._connections[origin] = connections_to(url, self._config)
        return self._connections[origin] or self.recorded.session

    def _signing(self, request_signer: Any, **_: object) -> None:
        self.recorded.signer = request_signer

    def _sending(self, request: Any, **_: object) -> Any:
        self.recorded.request = request
        answer, self.recorded.first_answer = self.recorded.first_answer, None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _answered(self, endpoint: Any, **_: object) -> None:
        self.recorded.session = endpoint.http_session

    def _called(self, http_response: Any, context: Any, **_: object) -> None:
        self.recorded.http = http_response
        self.recorded.context = context


@dataclass(frozen=True, slots=True)
class _Route:
    """The request of one operation on one resource, with one set of credentials."""

    url: str
    headers: dict[str, Any]
    """The headers that are the same in each call."""
    authorization: Authorization
    signature: Signature
    signer: Any
    sender: Sender

    def request(self, body: bytes) -> Any | None:
        """Build the signed request; return `None` if the credentials have changed."""
        authorization = self.authorization
        credentials = self.signer.get_auth_instance(
            authorization.service, authorization.region, "v4"
        ).credentials
        if credentials.access_key != authorization.access_key:
            return None
        now = time.strftime(DATE_FORMAT, time.gmtime())
        headers = {
            **self.headers,
            "X-Amz-Date": now,
            "Authorization": self.signature.authorization(credentials, now, body),
            "amz-sdk-invocation-id": str(uuid4()),
            "Content-Length": str(len(body)),
        }
        if credentials.token:
            headers["X-Amz-Security-Token"] = credentials.token
        sent: Any = headers
        return AWSPreparedRequest("POST", self.url, sent, body, stream_output=False)


class _DirectCall:
    """Call one operation.

    The first call on a resource is made by botocore. Its request and answer are compared, byte for
    byte, with what this class would send and read. Only if they are equal, later calls are sent
    here.
    """

    def __init__(self, client: Any, operation: Operation, recorder: _Recorder) -> None:
        self._botocore: Callable[..., Answer] = getattr(client, operation.method)
        self._operation = operation
        self._recorder = recorder
        self._routes: dict[Hashable, _Route] = {}
        self._learning_calls = 0
        self._emit: Callable[..., Any] = client.meta.events.emit
        self._model = client.meta.service_model.operation_model(operation.name)
        service = client.meta.service_model.service_id.hyphenize()
        self._before_send = f"before-send.{service}.{operation.name}"
        self._after_call = f"after-call.{service}.{operation.name}"

    def __call__(self, **parameters: Any) -> Answer:
        """Make the call."""
        try:
            target = self._operation.target(parameters)
            body = self._operation.render(parameters)
        except UNEXPECTED:  # botocore reports the error
            return self._botocore(**parameters)
        route = self._routes.get(target)
        request = route.request(body) if route else None
        if route is None or request is None:
            return self._learn(target, body, parameters)
        try:
            http = self._send(route, request)
            answer = _read(self._operation, http)
        except Exception as error:  # noqa: BLE001 - as botocore does; its retries decide
            return self._hand_over(error, parameters)
        if answer is None:
            return self._hand_over(http, parameters)
        # Needed by botocore's retry quota and by listeners to answers.
        self._emit(
            self._after_call, http_response=http, parsed=answer, model=self._model, context={}
        )
        return answer

    def _send(self, route: _Route, request: Any) -> Any:
        listeners = self._emit(self._before_send, request=request)
        answer = first_non_none_response(listeners)
        return route.sender.send(request) if answer is None else answer

    def _hand_over(self, first_answer: Any, parameters: Parameters) -> Answer:
        """Pass the answer to botocore as if botocore had sent the request, and retry."""
        recorded = self._recorder.recorded
        recorded.first_answer = first_answer
        try:
            return self._botocore(**parameters)
        finally:
            recorded.first_answer = None

    def _learn(self, target: Hashable, body: bytes, parameters: Parameters) -> Answer:
        """Make the call with botocore, and record its request for later calls."""
        recorded = self._recorder.recorded
        recorded.request = recorded.signer = recorded.session = recorded.http = recorded.context = (
            None
        )
        answer = self._botocore(**parameters)
        if (
            self._learning_calls < LEARNING_CALLS
            and answer["ResponseMetadata"].get("RetryAttempts") == 0
        ):
            route = self._learned_route(answer, body)
            if route is not None:
                self._routes[target] = route
                self._learning_calls = 0
        return answer

    def _learned_route(self, answer: Answer, body: bytes) -> _Route | None:
        """Compare the recorded call; return `None` if it differs or was not a plain success."""
        recorded = self._recorder.recorded
        try:
            read = _read(self._operation, recorded.http)
            if read is None:
                return None
            same = read == _comparable(answer)
            route = _route(self._recorder, body) if same else None
        except (*UNEXPECTED, OSError, BotoCoreError):  # the call itself was successful
            route = None
        if route is None:
            self._learning_calls += 1
            if self._learning_calls >= LEARNING_CALLS:
                # calls stay correct, at four times the cost
                logger.info("direct_calls_disabled operation=%s", self._operation.name)
        return route


def _read(operation: Operation, http: Any) -> Answer | None:
    """Parse a plain success as botocore does; return `None` for any other answer."""
    if http.status_code != OK:
        return None
    headers = {name.lower(): value for name, value in http.headers.items()}
    metadata: Answer = {"HTTPStatusCode": OK, "HTTPHeaders": headers, "RetryAttempts": 0}
    try:
        if "x-amz-crc32" in headers and int(headers["x-amz-crc32"]) != crc32(http.content):
            return None
        answer = operation.read(http.content, metadata)
    except UNEXPECTED:
        return None
    answer["ResponseMetadata"] = metadata
    return answer


def _comparable(answer: Answer) -> Answer:
    """Return the answer without what botocore adds to a success if it may try only once."""
    metadata = answer["ResponseMetadata"]
    kept = {name: value for name, value in metadata.items() if name != "MaxAttemptsReached"}
    return {**answer, "ResponseMetadata": kept}


def _route(recorder: _Recorder, body: bytes) -> _Route | None:
    """Build the route of the next calls from a recorded call; `None` if anything is unknown."""
    recorded = recorder.recorded
    request = recorded.request
    sent = request.body.encode() if isinstance(request.body, str) else request.body
    headers = {name.lower(): as_text(value) for name, value in request.headers.items()}
    url = urlsplit(request.url)
    is_understood = (
        request.method == "POST"
        and sent == body
        and headers.keys() <= FIXED | RENEWED
        and headers["amz-sdk-request"].startswith("attempt=1;")
        and headers["content-length"] == str(len(body))
        and not url.query
        and isinstance(recorded.http.raw, BaseHTTPResponse)  # a stubbed answer has no raw response
        and recorded.context.keys() <= CONTEXT
    )
    if not is_understood:
        return None
    authorization = Authorization.parse(headers["authorization"])
    fixed = {name: " ".join(headers[name].split()) for name in headers.keys() & FIXED}
    fixed["host"] = host_header(url)
    signature = Signature(
        url.path or "/", fixed, authorization.signed, authorization.region, authorization.service
    )
    credentials = recorded.signer.get_auth_instance(
        authorization.service, authorization.region, "v4"
    ).credentials
    if (
        signature.authorization(credentials, headers["x-amz-date"], body)
        != headers["authorization"]
    ):
        return None
    kept = {name: value for name, value in request.headers.items() if name.lower() in FIXED}
    sender = recorder.sender(request.url)
    return _Route(request.url, kept, authorization, signature, recorded.signer, sender)
