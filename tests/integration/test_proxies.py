"""With a proxy in the environment, an AWS on this machine is called directly."""

from __future__ import annotations

import pytest

from adapters.aws import client as aws
from tests.conftest import ResourceNames
from tests.e2e.command_line import CommandLine, complaint

pytestmark = pytest.mark.embedded

DEAD = "http://eve:hunter2@127.0.0.1:9"
VARIABLES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


@pytest.fixture(autouse=True)
def _dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, DEAD)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("service", ["sqs", "sns", "dynamodb"])
def test_a_client_goes_round_the_proxy_on_this_machine(
    aws_endpoint: str, monkeypatch: pytest.MonkeyPatch, service: aws.Service, host: str
) -> None:
    """By each of its names, also if only one service has its own endpoint."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    variable = f"AWS_ENDPOINT_URL_{service.upper()}"
    monkeypatch.setenv(variable, aws_endpoint.replace("127.0.0.1", host))

    client = aws.client(service, attempts=1)

    calls = {"sqs": "list_queues", "sns": "list_topics", "dynamodb": "list_tables"}
    assert getattr(client, calls[service])()["ResponseMetadata"]["HTTPStatusCode"] == 200


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:4566", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:4566", True),
        ("http://0.0.0.0:4566", True),
        ("http://LOCALHOST.:4566", True),
        ("http://sqs.us-east-1.localhost.localstack.cloud:4566", True),
        ("http://localhost.example.com", False),
        ("http://notlocalhost", False),
        ("http://10.0.0.1", False),
        ("https://sqs.eu-west-1.amazonaws.com", False),
    ],
)
def test_this_machine_is_known_by_its_names(url: str, *, local: bool) -> None:
    """No other host is taken for it."""
    assert aws.is_loopback(url) is local


def test_the_command_line_goes_round_the_proxy_on_this_machine(
    aws_endpoint: str, resource_names: ResourceNames
) -> None:
    """All commands: provision, send, status and doctor."""
    cli = CommandLine.on(resource_names, aws_endpoint)
    assert cli.run("provision").code == 0
    assert cli.run("send", "UnlockUser", "--user", "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77").code == 0
    for words in (("status",), ("doctor",)):
        done = cli.run(*words)
        assert done.code == 0, done.out + done.err


@pytest.mark.parametrize("words", [("status",), ("send", "UnlockUser", "--user", "x"), ("doctor",)])
def test_elsewhere_the_error_names_the_proxy_and_no_password(words: tuple[str, ...]) -> None:
    """No name is looked up: the proxy would do that, and it is on this machine."""
    words = tuple(word.replace("x", "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77") for word in words)
    done = CommandLine({"AWS_ENDPOINT_URL": "http://aws.test:4566"}).run(*words)
    assert done.code != 0
    assert "the proxy 127.0.0.1:9 does not answer" in " ".join((done.out + done.err).split())
    assert "hunter2" not in done.out + done.err
    if words != ("doctor",):
        assert complaint(done)
