"""Dead letters as operations: results are returned, and progress goes to the caller."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from cli import composition
from operations.dead_letters.delete import delete_letters
from operations.dead_letters.filter import LetterFilter
from operations.dead_letters.listing import group_letters, list_letters
from operations.dead_letters.redrive import redrive_letters
from tests.unit.cli.dlq_world import World, mocked
from tests.unit.operations.recorded_progress import RecordedProgress


@pytest.fixture(scope="module")
def _aws() -> Iterator[None]:
    """An AWS in this process, for all tests."""
    with mocked():
        yield


@pytest.fixture
def world(_aws: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    """Standard queues with three dead letters."""
    world = World(capsys, monkeypatch)
    for code in ("Unavailable", "NotJson", "NotJson"):
        world.letter(code)
    return world


def test_operations_return_results_report_progress_and_print_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """A console other than the terminal can use the same functions."""
    aws, progress = composition.aws(), RecordedProgress()

    listing = list_letters(aws, LetterFilter(), progress=progress)
    assert [(group.reason, group.count) for group in group_letters(listing.letters)] == [
        ("NotJson", 2),
        ("Unavailable", 1),
    ]
    only = [each.message_id for each in listing.letters if each.reason == "NotJson"][:1]
    deleted = delete_letters(aws, LetterFilter(reasons=["NotJson"]), only=only, progress=progress)
    assert (deleted.result.done, deleted.result.unconfirmed, deleted.result.complete) == (
        1,
        1,
        True,
    )
    redriven = redrive_letters(aws, LetterFilter(reasons=["unavailable"]), progress=progress)
    assert (redriven.result.done, redriven.method) == (1, "batches")

    assert progress.done == {"looking": 3, "deleting": 1, "redriving": 1}
    assert progress.notes == ["1 arrived or became visible later, and stayed: run it again"]
    assert capsys.readouterr() == ("", "")
    assert len(world.dead()) == 1


@pytest.mark.parametrize("activity", ["looking", "deleting", "redriving"])
def test_progress_moves_with_each_batch_of_letters(world: World, activity: str) -> None:
    """SQS hands over ten letters at a time."""
    for _ in range(27):
        world.letter("Unavailable")
    operation: dict[str, Callable[..., object]] = {
        "looking": list_letters,
        "deleting": delete_letters,
        "redriving": redrive_letters,
    }
    progress = RecordedProgress()
    operation[activity](composition.aws(), LetterFilter(), progress=progress)
    assert progress.done == progress.totals == {activity: 30}
    assert len(progress.steps[activity]) >= 3


def test_operations_run_outside_the_main_thread(world: World) -> None:
    """Python allows signal handlers to be set in the main thread only."""
    done: list[int] = []
    aws = composition.aws()
    thread = threading.Thread(
        target=lambda: done.append(
            delete_letters(aws, LetterFilter(reasons=["NotJson"])).result.done
        )
    )
    thread.start()
    thread.join(30)
    assert done == [2]
