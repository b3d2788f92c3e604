"""Secrets in dead letters of any shape: no output of `user-worker dlq` shows one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from cli import progress
from tests.secrets import NAMES, SECRET, SHAPES, reveals
from tests.unit.cli.dlq_world import Done, World, dead_lettered, in_entries, mocked
from worker.errors import ExitCode

AT_A_TIME = 36
"""Letters on the queue, at least one of each shape; moto is slow with many."""


@pytest.fixture(scope="module")
def _aws() -> Iterator[None]:
    """An AWS in this process, for all tests."""
    with mocked():
        yield


@pytest.fixture
def world(_aws: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    """Standard queues; progress is printed with each step."""
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    return World(capsys, monkeypatch)


def bodies() -> list[str]:
    """Return a body for each name; each shape is used for several names."""
    shapes = list(SHAPES.values())
    return [shapes[number % len(shapes)](name) for number, name in enumerate(NAMES)]


def write_unchanged(world: World, texts: list[str]) -> None:
    """Put letters on the queue as SQS itself moves them, with an attribute of the sender."""
    send(world, world.dead_letters, [(text, {"api-key": SECRET}) for text in texts])


def write_redacted(world: World, texts: list[str]) -> None:
    """Put letters on the queue as the worker sends them, and the originals of redacted ones."""
    written = dead_lettered(texts)
    send(world, world.quarantine, written.originals)
    send(world, world.dead_letters, written.letters)


def send(world: World, queue: str, messages: list[tuple[str, dict[str, str]]]) -> None:
    """Send messages with attributes."""
    for entries in in_entries(messages):
        answer = world.sqs.send_message_batch(QueueUrl=world.urls[queue], Entries=entries)
        assert not answer.get("Failed")


@pytest.mark.parametrize("write_letters", [write_unchanged, write_redacted])
def test_no_output_shows_the_secret_of_a_letter(
    world: World, write_letters: Callable[[World, list[str]], None]
) -> None:
    """Under each of more than 200 names: lists, letters, previews, progress and results."""
    printed: set[str] = set()

    def dlq(*words: str) -> Done:
        done = world.dlq(*words)
        assert done.code == ExitCode.OK, done.err
        printed.update((done.out + done.err).splitlines())  # the same lines are searched once
        return done

    everything = bodies()
    assert len(everything) > 200
    for start in range(0, len(everything), AT_A_TIME):
        texts = everything[start:][:AT_A_TIME]
        write_letters(world, texts)
        dlq("list", "--each")
        rows = dlq("list", "--each", "--json").rows
        assert len(rows) == len(texts)
        if start == 0:  # each shape
            for row in rows:
                dlq("show", row["message_id"])
            dlq("list")
            dlq("redrive", "--dry-run")
            dlq("redrive", "--yes", "--limit", "12")
        dlq("purge", "--yes")
    assert any("[string of " in line for line in printed)
    assert any("12 letters" in line for line in printed), "no progress was printed"
    assert [line for line in printed if reveals(line)] == []
