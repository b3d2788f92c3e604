"""Puts what settings, SDK and adapters raise into one line for a person."""

from __future__ import annotations

from collections.abc import Iterator

from botocore import exceptions as sdk

from adapters.aws import AwsConfigurationError
from adapters.errors import ProvisioningRefusedError, ResourceMismatchError
from domain.ports import StoreUnavailableError
from worker.cli.errors import CliError, missing, no_region
from worker.embedded import EmbeddedAwsError
from worker.settings import SettingsError

_CREDENTIALS = "sign in, or for LocalStack set AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test"
_EMULATOR = "start LocalStack with `make up`, or use `user-worker dev`, or correct AWS_ENDPOINT_URL"
_NETWORK = "check region and network, or set AWS_ENDPOINT_URL=http://127.0.0.1:4566 for LocalStack"
_REGION = "set AWS_DEFAULT_REGION, such as us-east-1"
_URL = "write it as http://127.0.0.1:4566"

_LACKING: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    ((sdk.NoCredentialsError, sdk.PartialCredentialsError), "no AWS credentials", _CREDENTIALS),
    (
        (sdk.TokenRetrievalError, sdk.UnauthorizedSSOTokenError),
        "the AWS sign-in has expired",
        "sign in with `aws sso login`",
    ),
    ((sdk.NoRegionError,), "no AWS region", _REGION),
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


def explain(error: BaseException) -> CliError | None:
    """Put an error, or what led to it, into one line; `None` if nobody foresaw it."""
    for each in _causes(error):
        if isinstance(each, CliError):
            return each
        if known := _explain_own(each) or _explain_sdk(each):
            return known
    if isinstance(error, StoreUnavailableError):
        return CliError(f"the store does not answer: {_one_line(error)}", _EMULATOR)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give the error and what led to it, the outermost first, none twice."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _explain_own(error: BaseException) -> CliError | None:
    match error:
        case SettingsError():
            return CliError(str(error), "correct the environment variable")
        case ProvisioningRefusedError() | ResourceMismatchError():
            return CliError(str(error))
        case EmbeddedAwsError():
            in_use = "in use" in str(error)
            return CliError(str(error), "choose another with --port, or none" if in_use else "")
        case AwsConfigurationError():
            return _explain_configuration(error)
    return None


def _explain_configuration(error: AwsConfigurationError) -> CliError:
    """Say what the SDK lacks, with our own advice where its own error is known."""
    text, _, advice = str(error).partition(": ")
    if "region" in text:
        return no_region()
    if "credentials" in text:
        return CliError(text, _CREDENTIALS)
    known = None if error.__cause__ is None else _explain_sdk(error.__cause__)
    return known or CliError(text, advice)


def _explain_sdk(error: BaseException) -> CliError | None:
    for kinds, problem, advice in _LACKING:
        if isinstance(error, kinds):
            return CliError(problem, advice)
    match error:
        case sdk.ConnectionError() | sdk.HTTPClientError():
            return _explain_silence(error)
        case sdk.ClientError():
            return _explain_answer(error)
        case sdk.BotoCoreError():
            return CliError(f"the AWS SDK refuses: {_one_line(error)}", "see --debug")
        case ValueError() if "Invalid endpoint" in str(error):
            return CliError("AWS_ENDPOINT_URL is not a URL", _URL)
    return None


def _explain_silence(error: sdk.BotoCoreError) -> CliError:
    endpoint = str(error.kwargs.get("endpoint_url") or "AWS")
    # scheme, host and port alone: a query could hold a signature
    origin = "/".join(endpoint.partition("?")[0].split("/", 3)[:3])
    advice = _NETWORK if "amazonaws.com" in origin else _EMULATOR
    return CliError(f"nothing answers at {origin}", advice)


def _explain_answer(error: sdk.ClientError) -> CliError:
    """Repeat the code alone: an error's text may quote what was sent."""
    code = error.response.get("Error", {}).get("Code", "")
    if code in _MISSING:
        return missing(*_MISSING[code])
    if code in _BAD_CREDENTIALS:
        return CliError(f"AWS does not accept the credentials ({code})", _CREDENTIALS)
    if code in _DENIED:
        return CliError(f"AWS does not allow {error.operation_name}", "use a role that may do it")
    return CliError(f"AWS answered {error.operation_name} with {code}", "try again, or see --debug")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
