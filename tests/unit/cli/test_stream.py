"""When the samples of `dev` are over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.demo import stream
from cli.demo.board import Board
from cli.demo.stream import QUIET, SampleStream


class Waiting(Board):
    """A board that waits for nothing but silence, or not even for that."""

    @property
    def awaits_emptiness(self) -> bool:
        """Always."""
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The monotonic clock, to be set."""
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
    """Silence for some seconds will do, counted from when nothing but it is awaited."""
    assert not samples._nothing_more_comes(Waiting())
    clock["s"] += QUIET - 0.1
    assert not samples._nothing_more_comes(Waiting())
    assert not samples._nothing_more_comes(Board())  # something is open again
    clock["s"] += 0.2
    assert not samples._nothing_more_comes(Waiting())
    clock["s"] += QUIET
    assert samples._nothing_more_comes(Waiting())


def test_an_empty_queue_is_enough(
    samples: SampleStream, clock: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen twice, as SQS counts approximately."""
    monkeypatch.setattr(stream, "queue_depths", lambda *_: {"visible": 0})
    assert not samples._nothing_more_comes(Waiting())
    assert samples._nothing_more_comes(Waiting())
    assert clock["s"] == 100.0
