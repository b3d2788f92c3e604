"""The most common mistakes: each is one line that says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.client
import pytest

from cli.app import run
from tests.unit.cli.mistakes import ALL, ANSWERS, ENDPOINT, PASSWORD, Mistake, refused
from worker import app, lifecycle, logs
from worker.errors import ExitCode
from worker.health import step
from worker.health.assessment import HealthAssessment
from worker.resources.start import require_resources
from worker.settings import load_settings


@pytest.fixture(autouse=True)
def anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Use an empty folder, with a region and credentials, and LocalStack's endpoint."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", ENDPOINT)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Return a function that sets the result of every call of the SDK, without a network."""

    def answer(result: Any) -> None:
        def call(*_: object) -> Any:
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)

    return answer


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the only line of the output, without `error: `."""
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


@pytest.mark.parametrize("mistake", ALL.values(), ids=ALL)
def test_a_mistake_is_one_line_that_says_what_is_wrong_and_what_to_do(
    mistake: Mistake,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answered: Callable[[Any], None],
) -> None:
    """The exit code distinguishes a usage error from an environment that does not work."""
    for name, value in mistake.variables.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    answered(mistake.answer or AssertionError("called AWS"))
    assert run(mistake.line.split()) == mistake.code
    line = complaint(capsys)
    assert mistake.says in line
    assert mistake.do in line
    assert PASSWORD not in line
    assert "private" not in line


@pytest.mark.parametrize("mistake", ANSWERS.values(), ids=ANSWERS)
def test_a_worker_that_cannot_start_gives_the_same_error(
    mistake: Mistake,
    capfd: pytest.CaptureFixture[str],
    answered: Callable[[Any], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`run`, and `celery worker` without it, end like `send`, with its exit code."""
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    answered(mistake.answer)
    with pytest.raises(SystemExit) as ended:
        require_resources(load_settings(), HealthAssessment())
    assert ended.value.code == ExitCode.ENVIRONMENT
    err = capfd.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert mistake.says in err
    assert mistake.do in err


def test_a_table_of_another_shape_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`provision` and the worker's own provisioning use the same words."""
    old = {
        "TableName": "users",
        "TableStatus": "ACTIVE",
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    }

    def call(_client: Any, operation: str, _parameters: Any) -> Any:
        if operation == "CreateTable":
            raise refused("ResourceInUseException")
        if operation == "DescribeTable":
            return {"Table": old}
        return {"QueueUrl": "http://q", "Attributes": {"QueueArn": "arn:aws:sqs:r:1:q"}}

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
    assert run(["provision"]) == ExitCode.ENVIRONMENT
    said = complaint(capsys)
    assert "table users exists with a different primary key: delete it, or use another name" in said
    monkeypatch.setattr(step, "begin", lambda *_: HealthAssessment())
    with pytest.raises(SystemExit) as ended:
        lifecycle.prepare(SimpleNamespace(pool_cls="prefork"))
    assert ended.value.code == ExitCode.ENVIRONMENT


@pytest.mark.parametrize("option", ["queues", "exclude_queues"])
def test_a_queue_that_celery_is_to_serve_has_to_be_one_of_the_settings(
    option: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """`celery worker -Q unknown` is one error line, and known queues are accepted."""
    conf = app.make_app(load_settings()).conf
    app.check_options(conf, {option: "user-commands"})
    app.check_options(conf, {option: ["user-commands"]})
    app.check_options(conf, {option: None})
    with pytest.raises(SystemExit) as ended:
        app.check_options(conf, {option: "user-commands,unknown"})
    assert ended.value.code == ExitCode.USAGE
    assert "the settings name user-commands" in capfd.readouterr().err
