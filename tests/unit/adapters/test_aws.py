from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, NoCredentialsError, NoRegionError

from adapters.aws import client as aws
from adapters.aws.fast_calls.call import _DirectCall
from adapters.aws.fast_calls.operations import OPERATIONS
from worker import bootstrap
from worker.cli_errors import explain
from worker.connections import Aws
from worker.settings import Settings


def test_the_region_of_either_variable_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_DEFAULT_REGION is the SDK's own and wins; other SDKs use AWS_REGION."""
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert aws.client("sqs").meta.region_name == "eu-central-1"
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert aws.client("sqs").meta.region_name == "eu-west-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "")
    assert aws.client("sqs").meta.region_name == "eu-west-1"


def test_no_region_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the variable to set."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(NoRegionError) as caught:
        aws.client("dynamodb")
    assert "AWS_DEFAULT_REGION" in str(explain(caught.value))


def test_no_credentials_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and not at the first call."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(NoCredentialsError) as caught:
        aws.client("dynamodb")
    assert "AWS_ACCESS_KEY_ID" in str(explain(caught.value))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AWS_PROFILE", "nobody"),
        ("AWS_ENDPOINT_URL", "no url"),
        ("AWS_ENDPOINT_URL", "http://[::1"),
        ("AWS_DEFAULT_REGION", "!!"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """The SDK raises many classes for them."""
    monkeypatch.setenv(variable, value)
    with pytest.raises((BotoCoreError, ValueError)) as caught:
        aws.client("dynamodb")
    explained = str(explain(caught.value))
    assert explained.startswith(variable)
    assert "\n" not in explained


def test_every_client_gives_up_in_finite_time() -> None:
    """A thread without a time limit must not wait forever."""
    config: Any = aws.client("sns", read_timeout=25).meta.config
    assert (config.connect_timeout, config.read_timeout) == (aws.CONNECT_TIMEOUT, 25)
    assert config.retries["total_max_attempts"] == aws.ATTEMPTS


def test_the_client_identifies_itself_in_the_user_agent() -> None:
    """For AWS's own logs."""
    config: Any = aws.client("dynamodb").meta.config
    assert "user-worker" in config.user_agent_extra


@pytest.mark.parametrize("service", ["dynamodb", "sns", "sqs"])
def test_only_the_workers_hot_path_has_fast_calls(
    monkeypatch: pytest.MonkeyPatch, service: aws.Service
) -> None:
    """Instrumentation that wraps botocore's calls sees all other calls."""

    def fast(client: Any) -> set[str]:
        return {name for name, value in vars(client).items() if isinstance(value, _DirectCall)}

    made: list[Any] = []
    real: Any = aws.client

    def client(*given: Any, **options: Any) -> Any:
        made.append(real(*given, **options))
        return made[-1]

    monkeypatch.setattr(aws, "client", client)
    bootstrap.build_ports(Settings())
    bootstrap.command_queue_factory("user-commands")
    hot = [client for client in made if client.meta.service_model.service_name == service]
    assert hot
    for client in hot:
        assert fast(client) == {operation.method for operation in OPERATIONS[service]}
    assert fast(real(service)) == set()
    assert fast(getattr(Aws(Settings()), service)) == set()
