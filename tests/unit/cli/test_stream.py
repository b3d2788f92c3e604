"""When the samples of `dev` have ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.demo import stream
from cli.demo.board import Board
from cli.demo.stream import QUIET, SampleStream


class Waiting(Board):
    """A board that waits for an empty queue only."""

    @property
    def awaits_emptiness(self) -> bool:
        """Return True."""
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A monotonic clock that the test sets."""
    now = {"s": 100.0}
    monkeypatch.setattr("cli.demo.stream.time.monotonic", lambda: now["s"])
    return now


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> SampleStream:
    """A stream whose queue others keep busy."""
    aws: Any = type("Aws", (), {"command_queue_url": "http://q"})()
    monkeypatch.setattr(stream, "queue_depths", lambda *_: {"visible": 7})
    return SampleStream(aws, lambda _: (), Path("log"))


def test_a_queue_that_others_keep_busy_does_not_hold_up_the_samples(
    samples: SampleStream, clock: dict[str, float]
) -> None:
    """Some quiet seconds are sufficient.

    They are counted from when only an empty queue is awaited.
    """
    assert not samples._nothing_more_comes(Waiting())
    clock["s"] += QUIET - 0.1
    assert not samples._nothing_more_comes(Waiting())
    assert not samples._nothing_more_comes(Board())  # a sample is open again
    clock["s"] += 0.2
    assert not samples._nothing_more_comes(Waiting())
    clock["s"] += QUIET
    assert samples._nothing_more_comes(Waiting())


def test_an_empty_queue_is_enough(
    samples: SampleStream, clock: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must be seen twice, because SQS counts approximately."""
    monkeypatch.setattr(stream, "queue_depths", lambda *_: {"visible": 0})
    assert not samples._nothing_more_comes(Waiting())
    assert samples._nothing_more_comes(Waiting())
    assert clock["s"] == 100.0
