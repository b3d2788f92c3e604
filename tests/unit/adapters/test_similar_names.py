"""Which new names are probably mistyped, on an AWS in this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from adapters import similar_names
from adapters.aws import client
from adapters.similar_names import is_similar
from cli.app import run
from tests.unit.cli.dlq_world import mocked
from worker import bootstrap, logs
from worker.errors import ExitCode
from worker.settings import load_settings

RESOURCES = {"TABLE": "usres", "COMMAND_QUEUE": "user-comands", "EVENTS_TOPIC": "user-event"}
EXISTING = {"TABLE": "users", "COMMAND_QUEUE": "user-commands", "EVENTS_TOPIC": "user-events"}
KINDS = {"TABLE": "table", "COMMAND_QUEUE": "queue", "EVENTS_TOPIC": "topic"}


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("usres", "users"),
        ("user", "users"),
        ("userss", "users"),
        ("Users", "users"),
        ("user_commands", "user-commands"),
        ("user-comm", "user-commands"),
        ("user-commands-dql", "user-commands-dlq"),
        ("user-event.fifo", "user-events.fifo"),
    ],
)
def test_a_slip_of_the_keyboard_is_similar(name: str, other: str) -> None:
    """A letter more, less or other, two swapped, and a name that ends early."""
    assert is_similar(name, other)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("users", "users-dev"),
        ("users-dev", "users"),
        ("users-1", "users-2"),
        ("users2", "users"),
        ("users-dev", "users-test"),
        ("alice-users", "bob-users"),
        ("user-commands", "user-commands-dlq"),
        ("user-commands-priority", "user-commands-quarantine"),
        ("orders", "users"),
        ("a", "b"),
        ("commands-3f9c2a7b41d0", "commands-81e5d07c6ba2"),
    ],
)
def test_another_name_is_not_similar(name: str, other: str) -> None:
    """Names with another word or number are chosen on purpose."""
    assert not is_similar(name, other)


@pytest.fixture
def account() -> Iterator[None]:
    """An empty account."""
    with mocked():
        yield


@pytest.mark.usefixtures("account")
def test_the_first_start_warns_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing exists yet; our own names are similar to each other and to nothing else."""
    assert run(["provision"]) == ExitCode.OK
    assert run(["provision"]) == ExitCode.OK
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("variable", RESOURCES)
def test_provision_warns_of_a_mistyped_name_and_names_both(
    variable: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was created without a word."""
    assert run(["provision"]) == ExitCode.OK
    monkeypatch.setenv(f"USER_WORKER_{variable}", RESOURCES[variable])
    capsys.readouterr()
    assert run(["provision", "--json"]) == ExitCode.OK
    first, *_ = capsys.readouterr().err.splitlines()
    kind = KINDS[variable]
    assert f"{kind} {RESOURCES[variable]} did not exist and was created" in first
    assert f"{kind} {EXISTING[variable]} exists" in first
    assert f"correct USER_WORKER_{variable} and delete the new {kind}" in first
    assert run(["provision"]) == ExitCode.OK
    assert capsys.readouterr().err == ""  # now both exist, and nothing is created


@pytest.mark.usefixtures("account")
def test_a_worker_logs_a_mistyped_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`run` and `dev` in development create what is missing."""
    assert run(["provision"]) == ExitCode.OK
    monkeypatch.setattr(client, "is_amazon", lambda _: False)
    configured: list[object] = []
    monkeypatch.setattr(logs, "configure", lambda *form: configured.append(form))
    monkeypatch.setenv("USER_WORKER_TABLE", "usres")
    logged: list[Any] = []
    monkeypatch.setattr(bootstrap.logger, "warning", lambda *event, **f: logged.append((event, f)))
    assert bootstrap.provision_for_development(load_settings())
    ((event, fields),) = logged
    assert configured == [("console", "INFO")]  # it is logged before Celery configures logs
    assert event == ("similar_resource_exists",)
    assert "table usres did not exist and was created, but table users exists" in fields["text"]
    assert "USER_WORKER_TABLE" in fields["advice"]


@pytest.mark.usefixtures("account")
def test_a_table_of_something_else_is_not_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keys are others."""
    dynamodb: Any = boto3.client("dynamodb")
    dynamodb.create_table(
        TableName="user",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    monkeypatch.setenv("USER_WORKER_TABLE", "users")
    assert run(["provision"]) == ExitCode.OK
    assert capsys.readouterr().err == ""


class Listing:
    """A client that lists queues, page by page, or fails."""

    def __init__(self, *pages: Any) -> None:
        self.pages = pages

    def get_paginator(self, _: str) -> Listing:
        """Return itself."""
        return self

    def paginate(self, **_: object) -> Iterator[Any]:
        """Yield the pages."""
        for page in self.pages:
            if isinstance(page, Exception):
                raise page
            yield page


DENIED = ClientError({"Error": {"Code": "AccessDenied"}}, "ListQueues")
PAGE = {"QueueUrls": ["http://sqs/1/user-commands"]}


@pytest.mark.parametrize(
    ("pages", "count"),
    [
        ([PAGE], 1),
        ([PAGE] * similar_names.PAGES, 1),
        ([{}], 0),
        ([DENIED], 0),
        ([PAGE, DENIED], 0),
        ([PAGE] * (similar_names.PAGES + 1), 0),
    ],
    ids=["one", "all", "none", "denied", "denied later", "too many"],
)
def test_names_that_cannot_be_read_completely_give_no_warning(pages: Any, count: int) -> None:
    """The missing queue might be on the next page; a hint must not stop the start."""
    listing: Any = Listing(*pages)
    assert len(similar_names.similar_queues(listing, ["user-comands"])) == count
