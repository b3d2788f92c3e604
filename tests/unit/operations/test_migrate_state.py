"""The file with the progress of a migration: it is complete or refused, and private."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from adapters.dynamodb.reads import Key
from operations.migration.counts import Counts, Finding
from operations.migration.scan import Progress
from operations.migration.state import SAVE_EVERY, Plan, StateFile
from tests.builders import uid
from worker.errors import CliError, UsageError

PLAN = Plan("id-1", {"user": 2}, addresses=True)


def test_a_state_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    """It has segments, counts and findings."""
    progress = Progress.start(2)
    progress.segments[0].after = Key(f"USER#{uid('ada')}", "USER")
    progress.segments[1].done = True
    progress.counts = Counts(changed=3, bad=1, findings=[Finding("k", "user", "schema", "r")])
    progress.counts.found["user", 1] = 7
    state = StateFile(tmp_path / "state", PLAN)
    assert state.load() is None
    state.save(progress)
    assert state.load() == progress
    state.remove()
    assert state.load() is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "1", "{}", '{"migration":2}', "[" * 100_000, "\udcff"],
)
def test_a_damaged_state_is_refused(text: str, tmp_path: Path) -> None:
    """It does not count as a new migration."""
    path = tmp_path / "state"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(CliError):
        StateFile(path, PLAN).load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("segments", []),
        ("segments", [{"done": 1, "after": None}]),
        ("segments", [{"done": False, "after": ["USER#"]}]),
        ("segments", [{"done": False, "after": [1, 2]}]),
        ("counts", {}),
        ("target", {"user": 3}),
        ("table", "id-2"),
        ("addresses", False),
    ],
)
def test_a_state_with_a_wrong_value_is_refused(name: str, value: object, tmp_path: Path) -> None:
    """Each field is checked."""
    state = StateFile(tmp_path / "state", PLAN)
    state.save(Progress.start(1))
    stored = json.loads(state.path.read_text())
    state.path.write_text(json.dumps({**stored, name: value}))
    with pytest.raises(UsageError):
        state.load()


def test_a_state_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves the previous file, and no other one."""
    state = StateFile(tmp_path / "state", PLAN)
    state.save(Progress.start(1))
    before = state.path.read_text()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CliError, match="No space left"):
        state.save(Progress.start(5))
    assert state.path.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_state_is_saved_now_and_then(tmp_path: Path) -> None:
    """It is not saved after every page."""
    now = 0.0
    state = StateFile(tmp_path / "state", PLAN, lambda: now)
    state.note(Progress.start(1))
    assert not state.path.exists()
    now = SAVE_EVERY
    state.note(Progress.start(1))
    assert state.path.exists()
