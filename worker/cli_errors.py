"""Explain errors of the settings, the SDK, the adapters and the machine in one line each.

An explanation says what is wrong, where, and what to do. It repeats no text of AWS and no query of
a URL, because both may contain what was sent.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NoReturn
from urllib.parse import urlsplit
from urllib.request import getproxies

from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from adapters.aws.client import error_code, is_amazon
from adapters.errors import MalformedItemError, ProvisioningRefusedError, ResourceMismatchError
from adapters.sqs.command_queue import QueueMissingError
from application.ports import StoreUnavailableError
from worker.errors import (
    CliError,
    ExitCode,
    SettingsError,
    missing,
    no_region,
    one_line,
    write_error,
)

_CREDENTIALS: Final = (
    "sign in, or for LocalStack set AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test"
)
_EMULATOR: Final = (
    "start LocalStack with `make up`, or use `user-worker dev`, or correct AWS_ENDPOINT_URL"
)
_NETWORK: Final = (
    "check the region and the network, or set AWS_ENDPOINT_URL=http://127.0.0.1:4566 for LocalStack"
)
_PROXY: Final = "correct HTTP_PROXY or HTTPS_PROXY, or add the host of AWS to NO_PROXY"
_NOT_A_URL: Final = re.compile("Invalid endpoint|Invalid IPv6 URL|Port ")
"""Beginning of the SDK's, and of Python's, text about an endpoint."""
_TUNNEL_REFUSED: Final = re.compile(r"Tunnel connection failed: (\d{3})")

_TOPICS: Final = "USER_WORKER_EVENTS_TOPIC and USER_WORKER_PERSONAL_TOPIC"
_RESOURCES: Final = {
    "AWS.SimpleQueueService.NonExistentQueue": ("such queue", "USER_WORKER_COMMAND_QUEUE"),
    "QueueDoesNotExist": ("such queue", "USER_WORKER_COMMAND_QUEUE"),
    "ResourceNotFoundException": ("such table", "USER_WORKER_TABLE"),
    "NotFound": ("such topic", _TOPICS),
    "NotFoundException": ("such topic", _TOPICS),
}
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException"})
_SKEWED: Final = frozenset({"RequestExpired", "RequestTimeTooSkewed"})
_SKEW_TEXTS: Final = ("Signature expired", "Signature not yet current")
"""Beginning of a service's text if a signature is rejected because of the time."""
_BAD_CREDENTIALS: Final = frozenset(
    {
        *("IncompleteSignature", "InvalidAccessKeyId", "InvalidClientTokenId"),
        *("InvalidSignatureException", "SignatureDoesNotMatch", "UnrecognizedClientException"),
    }
)
_DENIED: Final = frozenset(
    {
        *("AccessDenied", "AccessDeniedException", "AuthorizationError"),
        *("AuthorizationErrorException", "KMSAccessDeniedException", "KmsAccessDenied"),
    }
)
_REFUSALS: Final = _EXPIRED | _SKEWED | _BAD_CREDENTIALS | _DENIED
_ANSWERS: Final = (
    (_SKEWED, "the clock of this machine differs from AWS's by minutes", "correct the clock"),
    (_EXPIRED, "the AWS credentials have expired", "sign in again"),
    (_BAD_CREDENTIALS, "AWS does not accept the credentials ({code})", _CREDENTIALS),
    (_DENIED, "AWS does not allow {operation}", "use a role with this permission"),
    (
        frozenset({"ValidationException"}),
        "the table does not support {operation}",
        "run `user-worker doctor` to check its keys",
    ),
)

_SEMAPHORES: Final = (
    "the prefork pool's semaphores need a writable /dev/shm; --pool threads does not"
)
_LACKS: Final = {
    errno.ENOSPC: f"free space on the disk; {_SEMAPHORES}",
    errno.EDQUOT: "free space, or raise the quota",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the machine's limit of open files",
    errno.EAGAIN: "raise the limit of processes and threads (ulimit -u, pids of the container)",
    errno.ENOMEM: "add memory, or start fewer children (--concurrency)",
}
"""Advice for an error of the operating system that does not depend on a file."""


def explain(error: BaseException) -> CliError | None:
    """Return the explanation of an error or its cause; `None` for an unforeseen error."""
    for each in _causes(error):
        if known := _explain_one(each):
            return known
    if isinstance(error, StoreUnavailableError):
        advice = "try again; if it persists, run `user-worker doctor`"
        return CliError(f"the store is unavailable: {_text(error)}", advice)
    return None


def is_denial(error: BaseException) -> bool:
    """Return True if AWS knows the caller and denies the operation."""
    return _has_code(error, _DENIED)


def is_refusal(error: BaseException) -> bool:
    """Return True if AWS refuses the caller, so that a retry cannot succeed."""
    return _has_code(error, _REFUSALS)


def explain_system_error(error: Exception) -> CliError | None:
    """Return the explanation of an error of the operating system at the start, or `None`."""
    from celery.platforms import LockFailed  # noqa: PLC0415 - needed for an error at start only

    match error:
        case OSError(errno=int(number), strerror=str(reason)):
            at = f": {os.fsdecode(error.filename)}" if error.filename else ""
            advice = "allow the worker's user to write there, or use another path"
            advice = _LACKS.get(number) or (advice if at else _SEMAPHORES)
            return CliError(f"cannot start: {reason}{at}", advice)
        case LockFailed():
            return CliError(f"cannot write the pid file: {error}", "choose another --pidfile")
        case MemoryError():
            return CliError("cannot start: out of memory", _LACKS[errno.ENOMEM])
        case RuntimeError() if "start new thread" in str(error):
            return CliError("cannot start: no more threads", _LACKS[errno.EAGAIN])
        case ImportError() if "sem_open" in str(error):
            return CliError("cannot start: no semaphores", _SEMAPHORES)
    return None


def exit_with_error(error: Exception) -> NoReturn:
    """Exit with one line and the exit code of the error, as `user-worker`'s other commands do.

    Nothing else would end the process: Celery logs and ignores what a signal handler raises.

    Raises:
        SystemExit: always.
    """
    known = explain(error) or CliError(one_line(error), code=ExitCode.UNFORESEEN)
    # Celery may have redirected sys.stderr to its log
    write_error(known, sys.__stderr__ or sys.stderr)
    raise SystemExit(int(known.code)) from error


@contextmanager
def exit_if_start_fails(is_starting: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Exit with one line, and no traceback, if the machine lacks what the start needs.

    Args:
        is_starting: whether an error still concerns the start; later ones are raised unchanged.

    Raises:
        SystemExit: the system has no space, descriptors, threads, memory or semaphores left, or
            denies access to a file.
    """
    try:
        yield
    except Exception as error:
        known = explain_system_error(error) if is_starting() else None
        if known is None:
            raise
        exit_with_error(known)


def _has_code(error: BaseException, codes: frozenset[str]) -> bool:
    causes = _causes(error)
    return any(isinstance(e, sdk.ClientError) and error_code(e) in codes for e in causes)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes, the outermost first, each once."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _explain_one(error: BaseException) -> CliError | None:  # noqa: C901, PLR0911, PLR0912 - a table
    match error:
        case SettingsError(advice=""):
            return CliError(error.problem, "correct the environment variable")
        case CliError():
            return error
        case ProvisioningRefusedError() | ResourceMismatchError():
            return CliError(str(error))
        case QueueMissingError():
            return missing(str(error).removesuffix(" does not exist"))
        case MalformedItemError():
            problem = f"the table contains an item that this version cannot read: {_text(error)}"
            return CliError(problem, "if a newer version wrote it, install that version")
        case sdk.NoRegionError():
            return no_region()
        case sdk.NoCredentialsError() | sdk.PartialCredentialsError():
            return CliError("no AWS credentials", _CREDENTIALS)
        case sdk.TokenRetrievalError() | sdk.UnauthorizedSSOTokenError():
            return CliError("the AWS sign-in has expired", "sign in with `aws sso login`")
        case sdk.ProfileNotFound():
            return CliError(
                "AWS_PROFILE names a profile that does not exist", "correct AWS_PROFILE"
            )
        case sdk.InvalidRegionError():
            return CliError(
                "AWS_DEFAULT_REGION is not the name of a region", "correct AWS_DEFAULT_REGION"
            )
        case sdk.ConnectionError() | sdk.HTTPClientError():
            return _explain_connection(error)
        case sdk.ClientError():
            return _explain_answer(error)
        case ResponseParserError():
            return _not_aws()
        case sdk.BotoCoreError():
            advice = "`user-worker doctor` checks the settings"
            return CliError(f"error of the AWS SDK: {_text(error)}", advice)
        case ValueError() if _NOT_A_URL.match(str(error)):
            return CliError("AWS_ENDPOINT_URL is not a URL", "write it as http://127.0.0.1:4566")
    return None


def _explain_connection(error: sdk.BotoCoreError) -> CliError:
    unnamed = "endpoint_url" not in error.kwargs and isinstance(error, sdk.HTTPClientError)
    if isinstance(error, sdk.ProxyConnectionError | sdk.InvalidProxiesConfigError) or (
        unnamed and getproxies()  # the HTTP client raises this for an invalid proxy URL
    ):
        return _explain_proxy(error)
    endpoint = str(error.kwargs.get("endpoint_url") or "AWS")
    # scheme, host and port only: a query may contain a signature
    origin = "/".join(endpoint.partition("?")[0].split("/", 3)[:3])
    emulated = not is_amazon(origin)
    if isinstance(error, sdk.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        advice = "use http:// for an emulator, or set AWS_CA_BUNDLE to the file of its authority"
        return CliError(f"the certificate of {origin} is not trusted", advice)
    if isinstance(error, sdk.SSLError):
        plain = origin.replace("https://", "http://", 1)
        return CliError(f"no TLS at {origin}", f"for an emulator set AWS_ENDPOINT_URL={plain}")
    if any(isinstance(each, socket.gaierror) for each in _causes(error)):
        advice = "check AWS_DEFAULT_REGION and the network"
        advice = "correct AWS_ENDPOINT_URL" if emulated else advice
        return CliError(f"the host of {origin} does not exist", advice)
    if isinstance(error, sdk.ConnectionClosedError):
        advice = "check whether AWS_ENDPOINT_URL needs http or https, or try again"
        return CliError(f"{origin} closed the connection", advice)
    return CliError(f"nothing answers at {origin}", _EMULATOR if emulated else _NETWORK)


def _explain_proxy(error: sdk.BotoCoreError) -> CliError:
    """Name the proxy by its host and port only: its URL may contain a password."""
    proxy = "of HTTP_PROXY or HTTPS_PROXY"
    try:
        url = urlsplit(str(error.kwargs.get("proxy_url", "")))
        if url.hostname:
            proxy = f"{url.hostname}:{url.port}" if url.port else url.hostname
    except ValueError:  # not a URL
        pass
    refused = _TUNNEL_REFUSED.search(str(error.kwargs.get("error", "")))
    does = f"refuses the connection with status {refused[1]}" if refused else "does not answer"
    return CliError(f"the proxy {proxy} {does}", _PROXY)


def _explain_answer(error: sdk.ClientError) -> CliError:
    """Repeat the code only: the text of an answer may quote what was sent."""
    answer = error.response.get("Error", {})
    code = str(answer.get("Code", ""))
    if code in _RESOURCES:
        return missing(*_RESOURCES[code])
    if code in _REFUSALS and str(answer.get("Message", "")).startswith(_SKEW_TEXTS):
        code = "RequestExpired"
    operation = error.operation_name
    for codes, problem, advice in _ANSWERS:
        if code in codes:
            return CliError(problem.format(code=code, operation=operation), advice)
    if not code or code.isdigit():  # an HTTP status; a service would name its error
        return _not_aws()
    return CliError(
        f"AWS answered {operation} with {code}", "try again, or run `user-worker doctor`"
    )


def _not_aws() -> CliError:
    advice = "correct AWS_ENDPOINT_URL, especially its port"
    if getproxies():
        advice = f"correct AWS_ENDPOINT_URL; a proxy may have answered: {_PROXY}"
    return CliError("the endpoint is not AWS", advice)


def _text(error: BaseException) -> str:
    return " ".join(str(error).split())
