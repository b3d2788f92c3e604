"""Create AWS clients, with one configuration."""

from __future__ import annotations

import functools
import os
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Literal, overload
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.session import Session
from botocore.utils import get_environ_proxies

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

Service = Literal["dynamodb", "sns", "sqs"]

CONNECT_TIMEOUT: Final = 3.0
READ_TIMEOUT: Final = 10.0
"""Seconds. A call without an answer by then is considered lost and tried again."""
ATTEMPTS: Final = 3
CONNECTIONS: Final = 32
USER_AGENT: Final = "user-worker"
_AMAZON: Final = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
_LOCAL_HOSTS: Final = frozenset({"localhost", "localhost.localstack.cloud"})


@overload
def client(
    service: Literal["dynamodb"], *, read_timeout: float = ..., attempts: int = ...
) -> DynamoDBClient: ...
@overload
def client(
    service: Literal["sns"], *, read_timeout: float = ..., attempts: int = ...
) -> SNSClient: ...
@overload
def client(
    service: Literal["sqs"], *, read_timeout: float = ..., attempts: int = ...
) -> SQSClient: ...


def client(
    service: Service, *, read_timeout: float = READ_TIMEOUT, attempts: int = ATTEMPTS
) -> Any:
    """Create a client from the SDK's own environment variables and files.

    It is an ordinary boto3 client: every call goes through `BaseClient._make_api_call`, which is
    what OpenTelemetry, X-Ray and Datadog wrap. The worker's hot path alone replaces some calls
    (`adapters.aws.fast_calls`). A client is thread-safe. Create it after a fork, not before. An
    endpoint on this machine is called without a proxy, whatever HTTP_PROXY and NO_PROXY say.

    Args:
        service: the service to call.
        read_timeout: seconds to wait for an answer; a long poll needs more than its 20 s.
        attempts: how often to try a call.

    Raises:
        BotoCoreError: no region or no credentials, or a profile that does not exist.
        ValueError: an endpoint that is not a URL.
    """
    session = Session()
    session.register_component("data_loader", _models())
    if session.get_credentials() is None:
        raise NoCredentialsError
    own = config(read_timeout, attempts)
    made = session.create_client(service, region(), config=own)
    endpoint = made.meta.endpoint_url
    if is_loopback(endpoint) and get_environ_proxies(endpoint):
        direct = own.merge(Config(proxies={}))
        made = session.create_client(service, region(), config=direct)
    return made


@functools.cache
def _models() -> Any:
    """Return the loader of botocore's own files, shared by all sessions, since it caches them.

    A session with its own loader spends 50 ms on the first client; with this one, the second
    client takes 10 ms.
    """
    return Session().get_component("data_loader")


def is_loopback(url: str) -> bool:
    """Return True if a URL names this machine, which no proxy can reach for it.

    `localhost.localstack.cloud` is what LocalStack calls itself; it resolves to 127.0.0.1.
    """
    host = (urlsplit(url).hostname or "").removesuffix(".")
    if host in _LOCAL_HOSTS or host.endswith(tuple(f".{name}" for name in _LOCAL_HOSTS)):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def is_amazon(url: str) -> bool:
    """Return True if a URL is an endpoint of AWS itself, and not of an emulator."""
    return (urlsplit(url).hostname or "").endswith(_AMAZON)


def region() -> str | None:
    """Return the region from AWS_DEFAULT_REGION or, as in other SDKs, from AWS_REGION.

    `None` leaves the region to the profile.
    """
    return os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or None


def config(read_timeout: float = READ_TIMEOUT, attempts: int = ATTEMPTS) -> Config:
    """Return the configuration of every client.

    The timeouts are finite, since a thread pool has no time limit of its own. The worker's mappers
    build the parameters, so botocore does not validate them again: for a transaction of 31 items,
    validation took a third of the call's processor time (4.4 ms with it, 2.9 ms without).
    """
    return Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        parameter_validation=False,
        user_agent_extra=USER_AGENT,
    )


def error_code(error: Exception) -> str:
    """Return the service's error code or, for an error of another kind, the name of its class."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "Unknown"))
    return type(error).__name__
