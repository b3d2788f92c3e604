"""What the command line says when it cannot go on: one line, and an exit code that tells why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


class ExitCode(IntEnum):
    """What the caller can tell from the exit code."""

    OK = 0
    NEGATIVE = 1
    """The answer is no: a command was rejected, or what was asked for does not exist."""
    USAGE = 2
    """The command line, or a command on it, is wrong; nothing was sent."""
    ENVIRONMENT = 3
    """A setting, a resource or AWS itself is missing or does not answer."""
    TIMEOUT = 4
    """No answer in the time given."""
    UNFORESEEN = 70
    """A mistake of this program (EX_SOFTWARE of sysexits.h)."""
    INTERRUPTED = 130
    """Ctrl-C before the work was done."""


class CliError(Exception):
    """Ends the program with one line for a person: what is wrong, and what to do."""

    def __init__(
        self, problem: str, advice: str = "", code: ExitCode = ExitCode.ENVIRONMENT
    ) -> None:
        super().__init__(f"{problem}; {advice}" if advice else problem)
        self.code = code


class UsageError(CliError):
    """What was typed is wrong."""

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__(problem, advice, ExitCode.USAGE)


_ADVICE_CREDENTIALS = (
    "sign in, or for LocalStack set AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test"
)
_ADVICE_ENDPOINT = (
    "start LocalStack with `make up`, or use `user-worker dev`, or correct AWS_ENDPOINT_URL"
)
_ADVICE_NETWORK = (
    "check region and network, or set AWS_ENDPOINT_URL=http://127.0.0.1:4566 for LocalStack"
)
_ADVICE_PROVISION = "create it with `user-worker provision`, or correct {variable} or the region"
_MISSING = {
    "AWS.SimpleQueueService.NonExistentQueue": ("such queue", "USER_WORKER_COMMAND_QUEUE"),
    "QueueDoesNotExist": ("such queue", "USER_WORKER_COMMAND_QUEUE"),
    "ResourceNotFoundException": ("such table", "USER_WORKER_TABLE"),
    "NotFound": ("such topic", "USER_WORKER_EVENTS_TOPIC"),
    "NotFoundException": ("such topic", "USER_WORKER_EVENTS_TOPIC"),
}
_BAD_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError"})


def region() -> str:
    """Give the region that is asked for, as the environment names it."""
    return os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or "the default"


def missing(what: str, variable: str) -> CliError:
    """Say that a resource does not exist, and how to make it."""
    place = f"region {region()}"
    if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
        place += f" at {endpoint}"
    return CliError(f"no {what} in {place}", _ADVICE_PROVISION.format(variable=variable))


def no_region() -> CliError:
    """Say that the region is not known."""
    return CliError("no AWS region", "set AWS_DEFAULT_REGION, such as us-east-1")


def explain(error: BaseException) -> CliError | None:
    """Put an error of the settings, the SDK or an adapter into one line; `None`: unforeseen."""
    for each in _causes(error):
        if isinstance(each, CliError):
            return each
        if (known := _explain_own(each)) or (known := _explain_sdk(each)):
            return known
    return _explain_store(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give the error and what led to it, the outermost first, none twice."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _explain_own(error: BaseException) -> CliError | None:
    # Imported here: an error of a kind that is not loaded yet cannot have been raised.
    from adapters.aws import AwsConfigurationError
    from adapters.errors import ProvisioningRefusedError, ResourceMismatchError
    from worker.embedded import EmbeddedAwsError
    from worker.settings import SettingsError

    if isinstance(error, SettingsError):
        return CliError(str(error), "correct the environment variable")
    if isinstance(error, ProvisioningRefusedError | ResourceMismatchError):
        return CliError(str(error))
    if isinstance(error, AwsConfigurationError):
        return _explain_configuration(error)
    if isinstance(error, EmbeddedAwsError):
        in_use = "in use" in str(error)
        return CliError(str(error), "choose another with --port, or none" if in_use else "")
    return None


def _explain_configuration(error: Exception) -> CliError:
    """Say what the SDK lacks, with our own advice where the SDK's error is known."""
    text, _, advice = str(error).partition(": ")
    if "region" in text:
        return no_region()
    if "credentials" in text:
        return CliError(text, _ADVICE_CREDENTIALS)
    cause = error.__cause__
    return (cause and _explain_sdk(cause)) or CliError(text, advice)


def _explain_sdk(error: BaseException) -> CliError | None:
    from botocore import exceptions as sdk

    match error:
        case sdk.NoCredentialsError() | sdk.PartialCredentialsError():
            return CliError("no AWS credentials", _ADVICE_CREDENTIALS)
        case sdk.TokenRetrievalError() | sdk.UnauthorizedSSOTokenError():
            return CliError("the AWS sign-in has expired", "sign in with `aws sso login`")
        case sdk.ProfileNotFound():
            return CliError("AWS_PROFILE names no profile of the AWS configuration", "correct it")
        case sdk.NoRegionError():
            return no_region()
        case sdk.InvalidRegionError():
            return CliError("AWS_DEFAULT_REGION is not the name of a region", "correct it")
        case sdk.ConnectionError() | sdk.HTTPClientError():
            endpoint = error.kwargs.get("endpoint_url") or "AWS"
            here = "amazonaws.com" not in endpoint
            advice = _ADVICE_ENDPOINT if here else _ADVICE_NETWORK
            return CliError(f"nothing answers at {_origin(endpoint)}", advice)
        case sdk.ClientError():
            return _explain_answer(error)
        case sdk.BotoCoreError():
            return CliError(f"the AWS SDK refuses: {_one_line(str(error))}")
        case ValueError() if "Invalid endpoint" in str(error):
            return CliError("AWS_ENDPOINT_URL is not a URL", "write it as http://127.0.0.1:4566")
    return None


def _explain_answer(error: ClientError) -> CliError:
    code = error.response.get("Error", {}).get("Code", "")
    operation = error.operation_name
    if code in _MISSING:
        return missing(*_MISSING[code])
    if code in _BAD_CREDENTIALS:
        return CliError(f"AWS does not accept the credentials ({code})", _ADVICE_CREDENTIALS)
    if code in _DENIED:
        return CliError(f"AWS does not allow {operation}", "use a role with that permission")
    return CliError(f"AWS answered {operation} with {code}", "try again, or see --debug")


def _explain_store(error: BaseException) -> CliError | None:
    from domain.ports import StoreUnavailableError

    if isinstance(error, StoreUnavailableError):
        return CliError(f"the store does not answer: {_one_line(str(error))}", _ADVICE_ENDPOINT)
    return None


def _origin(endpoint: str) -> str:
    """Give scheme, host and port of a URL: a query could hold a signature."""
    return "/".join(endpoint.split("?")[0].split("/")[:3])


def _one_line(text: str) -> str:
    return " ".join(text.split())
