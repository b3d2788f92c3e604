from __future__ import annotations

import pytest
from botocore import exceptions as sdk

from adapters.errors import ProvisioningRefusedError, ResourceMismatchError
from application.ports import StoreUnavailableError
from worker.cli_errors import explain
from worker.errors import CliError, ExitCode, SettingsError, UsageError, missing


def answer(code: str, operation: str = "GetQueueUrl") -> sdk.ClientError:
    """Create an error answer of AWS."""
    return sdk.ClientError({"Error": {"Code": code, "Message": "secret text"}}, operation)


def test_provision_is_not_recommended_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    """In production a missing resource is to be deployed, or the name is wrong."""
    assert "user-worker provision" in str(missing("queue q", "USER_WORKER_COMMAND_QUEUE"))
    monkeypatch.setenv("USER_WORKER_ENV", "prod")
    told = str(missing("queue q", "USER_WORKER_COMMAND_QUEUE"))
    assert "provision" not in told
    assert "correct USER_WORKER_COMMAND_QUEUE" in told


@pytest.mark.parametrize(
    ("error", "wrong", "do"),
    [
        (sdk.NoCredentialsError(), "no AWS credentials", "AWS_ACCESS_KEY_ID"),
        (sdk.NoRegionError(), "no AWS region", "AWS_DEFAULT_REGION"),
        (sdk.ProfileNotFound(profile="x"), "AWS_PROFILE", "correct"),
        (
            sdk.EndpointConnectionError(endpoint_url="http://127.0.0.1:4566/"),
            "nothing answers at http://127.0.0.1:4566;",
            "make up",
        ),
        (
            sdk.ConnectTimeoutError(endpoint_url="https://sqs.eu-west-1.amazonaws.com/"),
            "https://sqs.eu-west-1.amazonaws.com",
            "region and the network",
        ),
        (sdk.ReadTimeoutError(endpoint_url="http://127.0.0.1:1/x?sig=1"), ":1;", "LocalStack"),
        (
            sdk.ProxyConnectionError(proxy_url="http://eve:secret@proxy.test:3128"),
            "the proxy proxy.test:3128 does not answer",
            "NO_PROXY",
        ),
        (
            sdk.ProxyConnectionError(
                proxy_url="http://***:***@proxy.test:3128",
                error=OSError("Tunnel connection failed: 407 Proxy Authentication Required"),
            ),
            "the proxy proxy.test:3128 refuses the connection with status 407",
            "HTTPS_PROXY",
        ),
        (sdk.ProxyConnectionError(proxy_url="http://[::1"), "the proxy of HTTP_PROXY", "correct"),
        (ValueError("Invalid endpoint: nonsense"), "AWS_ENDPOINT_URL", "http://127.0.0.1:4566"),
        (answer("QueueDoesNotExist"), "no such queue", "user-worker provision"),
        (answer("ResourceNotFoundException"), "no such table", "USER_WORKER_TABLE"),
        (answer("NotFound", "Subscribe"), "no such topic", "USER_WORKER_EVENTS_TOPIC"),
        (answer("InvalidClientTokenId"), "InvalidClientTokenId", "sign in"),
        (answer("AccessDeniedException", "Query"), "does not allow Query", "role"),
        (answer("InternalError", "Query"), "answered Query with InternalError", "try again"),
        (SettingsError("USER_WORKER_ENV: wrong"), "USER_WORKER_ENV", "environment variable"),
        (ValueError("Port could not be cast to integer value as 'x'"), "AWS_ENDPOINT_URL", "http"),
        (ResourceMismatchError("queue", "c", "FifoQueue"), "different FifoQueue", "delete it"),
        (ProvisioningRefusedError("not in production: deploy"), "production", "deploy"),
        (StoreUnavailableError("reads: throttled"), "throttled", "try again"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_error_is_one_line_with_advice(error: Exception, wrong: str, do: str) -> None:
    """Every known error has its line and its remedy."""
    known = explain(error)
    assert known is not None
    assert known.code == ExitCode.ENVIRONMENT
    assert "\n" not in str(known)
    assert wrong in str(known)
    assert do in str(known)


def test_the_text_of_an_aws_error_is_not_repeated() -> None:
    """An error's message may quote what was sent; its code does not."""
    assert "secret text" not in str(explain(answer("InternalError")))


def test_a_signed_url_loses_its_query() -> None:
    """A signature is a secret."""
    error = sdk.EndpointConnectionError(endpoint_url="http://host:1/?X-Amz-Signature=abc")
    assert "abc" not in str(explain(error))


def test_the_cause_is_found_behind_what_an_adapter_made_of_it() -> None:
    """The error shown is the one that a person can fix."""
    error = StoreUnavailableError("unavailable")
    error.__cause__ = sdk.EndpointConnectionError(endpoint_url="http://127.0.0.1:4566/")
    assert "nothing answers" in str(explain(error))


def test_a_circle_of_causes_comes_to_an_end() -> None:
    """Python allows a cycle of causes."""
    one, two = RuntimeError(), RuntimeError()
    one.__cause__, two.__cause__ = two, one
    assert explain(one) is None


def test_an_unexpected_error_is_not_explained() -> None:
    """A bug of the program is not attributed to the environment."""
    assert explain(KeyError("x")) is None


def test_a_cli_error_is_not_changed() -> None:
    """It already is a line."""
    own = UsageError("wrong", "do this")
    assert explain(own) is own
    assert (str(own), own.code) == ("wrong; do this", ExitCode.USAGE)


def test_a_missing_resource_is_named_with_where_it_was_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wrong region or endpoint is the usual reason."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    error: CliError = missing("queue c", "USER_WORKER_COMMAND_QUEUE")
    assert "no queue c in region us-east-1 at http://127.0.0.1:4566" in str(error)
