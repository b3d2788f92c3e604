"""Puts what settings, SDK and adapters raise into one line for a person."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit
from urllib.request import getproxies

from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from adapters.aws.client import AwsConfigurationError
from adapters.dynamodb.errors import MalformedItemError
from adapters.errors import ProvisioningRefusedError, ResourceMismatchError
from adapters.sqs.command_queue import QueueMissingError
from application.ports import StoreUnavailableError
from worker.errors import CliError, missing, no_region
from worker.settings import SettingsError

_CREDENTIALS = "sign in, or for LocalStack set AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test"
_EMULATOR = "start LocalStack with `make up`, or use `user-worker dev`, or correct AWS_ENDPOINT_URL"
_NETWORK = "check region and network, or set AWS_ENDPOINT_URL=http://127.0.0.1:4566 for LocalStack"
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")
_URL = "write it as http://127.0.0.1:4566"

_LACKING: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    ((sdk.NoCredentialsError, sdk.PartialCredentialsError), "no AWS credentials", _CREDENTIALS),
    (
        (sdk.TokenRetrievalError, sdk.UnauthorizedSSOTokenError),
        "the AWS sign-in has expired",
        "sign in with `aws sso login`",
    ),
    ((sdk.ProfileNotFound,), "AWS_PROFILE names no profile of the AWS configuration", "correct it"),
    ((sdk.InvalidRegionError,), "AWS_DEFAULT_REGION is not the name of a region", "correct it"),
)
"""What the SDK misses before it calls anything."""

_MISSING = {
    "AWS.SimpleQueueService.NonExistentQueue": ("such queue", "USER_WORKER_COMMAND_QUEUE"),
    "QueueDoesNotExist": ("such queue", "USER_WORKER_COMMAND_QUEUE"),
    "ResourceNotFoundException": ("such table", "USER_WORKER_TABLE"),
    "NotFound": ("such topic", "USER_WORKER_EVENTS_TOPIC"),
    "NotFoundException": ("such topic", "USER_WORKER_EVENTS_TOPIC"),
}
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException"})
_SKEWED = frozenset({"RequestExpired", "RequestTimeTooSkewed"})
_SKEW_TEXTS = ("Signature expired", "Signature not yet current")
"""How the services begin to say, of a signature, that the clocks differ."""
_BAD_CREDENTIALS = frozenset(
    {
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "AuthorizationErrorException",
        "KMSAccessDeniedException",
        "KmsAccessDenied",
    }
)
_REFUSALS = _EXPIRED | _SKEWED | _BAD_CREDENTIALS | _DENIED
_ANSWERS = (
    (_SKEWED, "this machine's clock differs from AWS's by minutes", "set it right"),
    (_EXPIRED, "the AWS credentials have expired", "sign in again, as you did before"),
    (_BAD_CREDENTIALS, "AWS does not accept the credentials ({code})", _CREDENTIALS),
    (_DENIED, "AWS does not allow {operation}", "use a role that may do it"),
    (
        frozenset({"ValidationException"}),
        "the table does not take {operation}",
        "`user-worker doctor` tells whether it has the right keys",
    ),
)
_ROUND_PROXY = "correct HTTP_PROXY or HTTPS_PROXY, or name the host of AWS in NO_PROXY"


def explain(error: BaseException) -> CliError | None:
    """Put an error, or what led to it, into one line; `None` if nobody foresaw it."""
    for each in _causes(error):
        if isinstance(each, CliError):
            return each
        if known := _explain_first(each):
            return known
    if isinstance(error, StoreUnavailableError):
        advice = "try again; if that does not help, `user-worker doctor` looks at the table"
        return CliError(f"the store does not answer: {_one_line(error)}", advice)
    return None


def is_denial(error: BaseException) -> bool:
    """Tell whether AWS knows who asks, and does not allow it."""
    return any(isinstance(e, sdk.ClientError) and _code(e) in _DENIED for e in _causes(error))


def is_refusal(error: BaseException) -> bool:
    """Tell whether AWS refused who asks: it will do so again."""
    return any(isinstance(e, sdk.ClientError) and _code(e) in _REFUSALS for e in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give the error and what led to it, the outermost first, none twice."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _explain_first(error: BaseException) -> CliError | None:
    for explanation in (_explain_own, _explain_found, _explain_lack, _explain_sdk):
        if known := explanation(error):
            return known
    return None


def _explain_own(error: BaseException) -> CliError | None:
    match error:
        case SettingsError():
            problem, _, guess = str(error).partition("; did you mean ")
            advice = f"did you mean {guess}" if guess else "correct the environment variable"
            return CliError(problem, advice)
        case ProvisioningRefusedError() | ResourceMismatchError():
            return CliError(str(error))
        case AwsConfigurationError():
            return _explain_configuration(error)
    return None


def _explain_found(error: BaseException) -> CliError | None:
    """Say what was looked for and is not there, or is there and cannot be read."""
    match error:
        case QueueMissingError():
            return missing(str(error).removesuffix(" does not exist"))
        case MalformedItemError():
            return CliError(
                f"the table holds what this version cannot read: {_one_line(error)}",
                "a newer worker may have written it: install its version",
            )
    return None


def _explain_configuration(error: AwsConfigurationError) -> CliError:
    """Say what the SDK lacks, with our own advice where its own error is known."""
    text, _, advice = str(error).partition(": ")
    if "region" in text:
        return no_region()
    if "credentials" in text:
        return CliError(text, _CREDENTIALS)
    cause = error.__cause__
    known = None if cause is None else _explain_lack(cause) or _explain_sdk(cause)
    return known or CliError(text, advice)


def _explain_lack(error: BaseException) -> CliError | None:
    if isinstance(error, sdk.NoRegionError):
        return no_region()
    for kinds, problem, advice in _LACKING:
        if isinstance(error, kinds):
            return CliError(problem, advice)
    return None


def _explain_sdk(error: BaseException) -> CliError | None:
    match error:
        case sdk.ConnectionError() | sdk.HTTPClientError():
            return _explain_silence(error)
        case sdk.ClientError():
            return _explain_answer(error)
        case ResponseParserError():
            return _no_aws()
        case sdk.BotoCoreError():
            return CliError(f"the AWS SDK refuses: {_one_line(error)}", "see --debug")
        case ValueError() if "Invalid endpoint" in str(error):
            return CliError("AWS_ENDPOINT_URL is not a URL", _URL)
    return None


def _no_aws() -> CliError:
    advice = "correct AWS_ENDPOINT_URL, its port above all"
    if getproxies():
        advice = f"correct AWS_ENDPOINT_URL; it may be a proxy: {_ROUND_PROXY}"
    return CliError("what answers is no AWS", advice)


def _explain_proxy(error: sdk.BotoCoreError) -> CliError:
    """Name the proxy by its host and port alone: its URL may hold a password."""
    proxy = "that HTTP_PROXY or HTTPS_PROXY names"
    try:
        url = urlsplit(str(error.kwargs.get("proxy_url", "")))
        if url.hostname:
            proxy = f"{url.hostname}:{url.port}" if url.port else url.hostname
    except ValueError:  # no URL at all
        pass
    refused = _TUNNEL_REFUSED.search(str(error.kwargs.get("error", "")))
    does = f"refuses the connection with status {refused[1]}" if refused else "does not answer"
    return CliError(f"the proxy {proxy} {does}", _ROUND_PROXY)


def _explain_silence(error: sdk.BotoCoreError) -> CliError:
    if isinstance(error, sdk.ProxyConnectionError | sdk.InvalidProxiesConfigError):
        return _explain_proxy(error)
    unnamed = "endpoint_url" not in error.kwargs and isinstance(error, sdk.HTTPClientError)
    if unnamed and getproxies():  # raised by the HTTP client for an invalid proxy URL
        return _explain_proxy(error)
    endpoint = str(error.kwargs.get("endpoint_url") or "AWS")
    # scheme, host and port alone: a query could hold a signature
    origin = "/".join(endpoint.partition("?")[0].split("/", 3)[:3])
    ours = "amazonaws.com" not in origin
    if isinstance(error, sdk.SSLError):
        return _explain_tls(error, origin)
    if any(isinstance(each, socket.gaierror) for each in _causes(error)):
        advice = "correct AWS_ENDPOINT_URL" if ours else "check AWS_DEFAULT_REGION and the network"
        return CliError(f"there is no host as in {origin}", advice)
    if isinstance(error, sdk.ConnectionClosedError):
        advice = "is it http or https? correct AWS_ENDPOINT_URL, or try again"
        return CliError(f"what listens at {origin} hangs up", advice)
    return CliError(f"nothing answers at {origin}", _EMULATOR if ours else _NETWORK)


def _explain_tls(error: sdk.BotoCoreError, origin: str) -> CliError:
    """Tell a server that does not speak TLS from one that is not trusted."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        advice = "write http:// for an emulator, or name its authority's file in AWS_CA_BUNDLE"
        return CliError(f"the certificate of {origin} is not trusted", advice)
    plain = origin.replace("https://", "http://", 1)
    return CliError(f"no TLS at {origin}", f"an emulator speaks http: AWS_ENDPOINT_URL={plain}")


def _explain_answer(error: sdk.ClientError) -> CliError:
    """Repeat the code alone: an error's text may quote what was sent."""
    code, operation = _code(error), error.operation_name
    if code in _MISSING:
        return missing(*_MISSING[code])
    text = str(error.response.get("Error", {}).get("Message", ""))
    if code in _REFUSALS and text.startswith(_SKEW_TEXTS):
        code = "RequestExpired"
    for codes, problem, advice in _ANSWERS:
        if code in codes:
            return CliError(problem.format(code=code, operation=operation), advice)
    if not code or code.isdigit():  # an HTTP status, where a service would have named its error
        return _no_aws()
    return CliError(
        f"AWS answered {operation} with {code}", "try again, or see `user-worker doctor`"
    )


def _code(error: sdk.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
