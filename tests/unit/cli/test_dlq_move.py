"""`user-worker dlq redrive` by SQS's own task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from operations.dead_letters import move_task
from operations.dead_letters.move_task import MoveTask
from tests.unit.cli.dlq_world import Done, World, mocked
from worker.errors import ExitCode

RUNNING = {"Status": "RUNNING", "ApproximateNumberOfMessagesToMove": 3}
DONE = {"Status": "COMPLETED", "ApproximateNumberOfMessagesMoved": 3}


@pytest.fixture(scope="module")
def _aws() -> Iterator[None]:
    """An AWS in this process, for all tests."""
    with mocked():
        yield


@pytest.fixture
def world(_aws: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    """Standard queues, with two dead letters."""
    world = World(capsys, monkeypatch)
    for _ in range(2):
        world.letter()
    return world


class Tasks:
    """An SQS with given answers to calls about tasks."""

    def __init__(self, start: str = "", cancel: Exception | str = "", *looks: Any) -> None:
        """Take the error codes of start and cancel, and the results of successive lists."""
        self._start, self._cancel, self._looks = start, cancel, iter(looks)
        self.cancelled = 0

    def start_message_move_task(self, **_: Any) -> dict[str, str]:
        """Start, or raise the error."""
        if self._start:
            raise refusal(self._start)
        return {"TaskHandle": "handle"}

    def list_message_move_tasks(self, **_: Any) -> dict[str, Any]:
        """Return the next result."""
        look = next(self._looks)
        if isinstance(look, BaseException):
            raise look
        return {"Results": [look] if look else []}

    def cancel_message_move_task(self, **_: Any) -> None:
        """Cancel, or raise the error."""
        self.cancelled += 1
        if self._cancel:
            raise self._cancel if isinstance(self._cancel, Exception) else refusal(self._cancel)


def refusal(code: str) -> ClientError:
    """Create an error answer."""
    return ClientError({"Error": {"Code": code}}, "StartMessageMoveTask")


def redrive(world: World, monkeypatch: pytest.MonkeyPatch, tasks: Tasks) -> Done:
    """Redrive all dead letters, on such an SQS."""
    monkeypatch.setattr(move_task, "MoveTask", lambda _, arn: MoveTask(tasks, arn))  # type: ignore[arg-type]
    monkeypatch.setattr(move_task, "POLL_INTERVAL", 0)
    return world.dlq("redrive", "--move-task", "--yes", "--json")


def test_sqs_moves_all_and_is_followed_to_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQS reports the number of moved dead letters."""
    done = redrive(world, monkeypatch, Tasks("", "", RUNNING, RUNNING, DONE))
    assert (done.code, done.rows) == (
        0,
        [{"redriven": 3, "method": "move_task", "without_original": 0}],
    )


@pytest.mark.parametrize(("name", "value"), [("PERMISSIONS", "permissions.toml"), ("ENV", "prod")])
def test_sqs_moves_none_where_permissions_apply(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Its task cannot state who sent a message first."""
    monkeypatch.setenv(f"USER_WORKER_{name}", value)
    done = redrive(world, monkeypatch, Tasks("", "", RUNNING, DONE))
    assert (done.code, done.rows) == (
        0,
        [{"redriven": 2, "method": "batches", "without_original": 0}],
    )


@pytest.mark.parametrize(
    "code",
    [
        "InvalidParameterValue",
        "AWS.SimpleQueueService.UnsupportedOperation",
        "AccessDenied",
        "UnknownOperationException",
        "ResourceNotFoundException",
    ],
)
@pytest.mark.parametrize("look", [None, DONE, refusal("AccessDenied")])
def test_without_a_move_task_letters_are_moved_one_by_one(
    world: World, monkeypatch: pytest.MonkeyPatch, code: str, look: object
) -> None:
    """This includes the case that SQS does not know the queue as a dead-letter queue."""
    done = redrive(world, monkeypatch, Tasks(code, "", look))
    assert (done.code, done.rows) == (
        0,
        [{"redriven": 2, "method": "batches", "without_original": 0}],
    )
    assert f"({code}): moving letters one by one" in done.err


@pytest.mark.parametrize("status", ["RUNNING", "CANCELLING"])
@pytest.mark.parametrize(
    "code", ["InvalidParameterValue", "AWS.SimpleQueueService.UnsupportedOperation"]
)
def test_a_second_task_is_not_started_beside_one(
    world: World, monkeypatch: pytest.MonkeyPatch, code: str, status: str
) -> None:
    """The list of tasks shows that one is running, because its error code is ambiguous."""
    done = redrive(world, monkeypatch, Tasks(code, "", {"Status": status}))
    assert done.code == ExitCode.ENVIRONMENT
    assert "already running; wait until it has ended" in done.err
    assert len(world.dead()) == 2


@pytest.mark.parametrize("cancel", ["", "ResourceNotFoundException", "InvalidParameterValue"])
def test_letters_that_come_back_as_fast_as_they_go_end_it(
    world: World, monkeypatch: pytest.MonkeyPatch, cancel: str
) -> None:
    """The command says so, and the task may have ended in between."""
    going_round = {**RUNNING, "ApproximateNumberOfMessagesMoved": 4}
    ended = {**DONE, "ApproximateNumberOfMessagesMoved": 5}
    tasks = Tasks("", cancel, RUNNING, going_round, ended)
    done = redrive(world, monkeypatch, tasks)
    assert (done.code, done.rows[0]["redriven"], tasks.cancelled) == (ExitCode.NEGATIVE, 5, 1)
    assert "dead letters keep arriving" in done.err


@pytest.mark.parametrize(
    ("cancel", "goes_on"),
    [
        ("", ""),
        ("ResourceNotFoundException", ""),
        ("AccessDenied", "still running and could not be cancelled: AccessDenied"),
        (ConnectTimeoutError(endpoint_url="x"), "could not be cancelled: ConnectTimeoutError"),
    ],
)
def test_ctrl_c_cancels_it(
    world: World, monkeypatch: pytest.MonkeyPatch, cancel: Exception | str, goes_on: str
) -> None:
    """If cancelling fails, the command says that SQS continues."""
    tasks = Tasks("", cancel, RUNNING, KeyboardInterrupt())
    done = redrive(world, monkeypatch, tasks)
    assert (done.code, tasks.cancelled) == (ExitCode.INTERRUPTED, 1)
    assert goes_on in done.err
    assert bool(done.err) is bool(goes_on)


def test_a_failed_task_is_an_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has SQS's reason, and the number of moved dead letters."""
    failed = {"Status": "FAILED", "FailureReason": "KMS", "ApproximateNumberOfMessagesMoved": 1}
    done = redrive(world, monkeypatch, Tasks("", "", RUNNING, failed))
    assert done.code == ExitCode.ENVIRONMENT
    assert "stopped the redrive after 1 dead letter: KMS" in done.err
