"""`user-worker migrate` on a table in this process: output, state file, refusals and resuming."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from adapters.dynamodb.reads import Key
from cli import composition
from cli import progress as progress_module
from cli.app import run
from cli.commands import migrate as command
from operations.migration import run as migration_run
from operations.migration.counts import KEPT_FINDINGS, Counts, is_impersonal, shown_key
from operations.migration.kinds import target
from operations.migration.metered import MeteredTable
from operations.migration.pages import PageMigration
from operations.migration.scan import Migration, Progress, resume_point
from operations.migration.state import StateFile
from tests.builders import uid
from tests.reliability.in_process_dynamodb import _error
from tests.unit.operations.migrate_world import (
    NEXT,
    MigratedDynamoDB,
    address_item,
    check,
    damaged_items,
    old_table,
)
from worker.errors import ExitCode
from worker.settings import Settings, load_settings


class Table(MigratedDynamoDB):
    """A table that can be described, and denies scans after a given number."""

    table_id = "id-1"
    scans_left = 1_000_000

    def describe_table(self, *, TableName: str) -> Any:  # noqa: N803
        """Describe the table."""
        return {"Table": {"TableId": self.table_id, "ItemCount": len(self.items)}}

    def scan(self, **request: Any) -> Any:
        """Read a page, or raise an access error."""
        self.scans_left -= 1
        if self.scans_left < 0:
            raise _error("Scan", "AccessDeniedException")
        return super().scan(**request)


@dataclass
class Aws:
    """Replaces AWS for the command line."""

    dynamodb: Table
    settings: Settings = field(default_factory=load_settings)

    def require_shared_store(self) -> None:
        """Accept, because the table exists."""


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Table:
    """The old table, the next formats, pages of four items, and a folder to work in."""
    made = Table()
    made.items = old_table().items
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(composition, "aws", lambda: Aws(made))
    monkeypatch.setattr(migration_run, "target", lambda: target(NEXT))
    monkeypatch.setattr(migration_run, "PageMigration", _next_pages)
    monkeypatch.setattr(migration_run, "Migration", _small_pages)
    return made


def _next_pages(metered: MeteredTable, **options: Any) -> PageMigration:
    return PageMigration(metered, NEXT, **options)


def _small_pages(metered: MeteredTable, pages: PageMigration, *rest: Any) -> Migration:
    progress, stop, _ = rest
    return Migration(metered, pages, progress, stop, 4)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 1) -> dict[str, Any]:
    """Run it with `--json`; return what it printed."""
    assert run(["migrate", "--json", *arguments]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


# --- the command ---------------------------------------------------------------------------


def test_a_dry_run_counts_by_kind_and_format(
    table: Table, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It writes nothing, neither to the table nor to a file."""
    before = deepcopy(table.items)
    found = printed(capsys, "--dry-run")
    assert found["dry_run"] is True
    assert found["found"]["user"] == {"1": 4}
    assert (found["changed"], found["bad"], found["taken"]) == (5, 4, 1)
    assert table.items == before
    assert list(tmp_path.iterdir()) == []


def test_unmigrated_items_are_reported_without_personal_data_and_by_the_exit_code(
    table: Table, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A person must solve it; the state file is deleted, as there is nothing to resume."""
    assert run(["migrate"]) == ExitCode.NEGATIVE
    captured = capsys.readouterr()
    assert "addresses reserved            2" in captured.out
    assert captured.err.count("not migrated: ") == 5
    assert "@" not in captured.out + captured.err
    assert list(tmp_path.iterdir()) == []


def test_progress_moves_with_each_page(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page has four items; the number of items only grows."""
    shown: list[int] = []

    @contextmanager
    def display(total: int, unit: str) -> Iterator[Any]:
        assert (total, unit) == (len(table.items), "items")
        yield lambda done, _text: shown.append(done)

    monkeypatch.setattr(command, "display", display)
    items = len(table.items)
    run(["migrate", "--dry-run"])
    assert shown[0] == 0
    assert shown == sorted(shown)
    assert len(set(shown)) > items / 4 - 1


def test_nothing_left_ends_with_zero(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 lets a deployment continue by itself."""
    table.items = {}
    assert printed(capsys, code=0)["items"] == 0


def test_addresses_may_be_left_out(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    """Only formats are migrated."""
    found = printed(capsys, "--no-addresses")
    assert (found["changed"], found["reserved"], found["released"], found["taken"]) == (5, 0, 0, 0)


def test_it_continues_where_it_was_interrupted(
    table: Table, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The state file has no address, and is readable by its owner only."""
    table.scans_left = 3
    assert run(["migrate", "--segments", "2"]) == ExitCode.ENVIRONMENT
    assert "run the same command again to continue" in capsys.readouterr().err
    (state,) = tmp_path.iterdir()
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert "@" not in state.read_text()
    saved = json.loads(state.read_text())
    assert any(segment["after"] or segment["done"] for segment in saved["segments"])
    table.scans_left = 1_000_000
    assert run(["migrate"]) == ExitCode.NEGATIVE
    assert "continuing from" in capsys.readouterr().err
    check(table, damaged_items(), frozenset({uid("alan")}))
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_it_after_the_pages_in_hand(
    table: Table, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The progress is saved; another Ctrl-C does not interrupt that."""
    scan, save = table.scan, StateFile.save

    def interrupted(**request: Any) -> Any:
        if request.get("ExclusiveStartKey"):
            os.kill(os.getpid(), signal.SIGINT)
        return scan(**request)

    def impatient(state: StateFile, progress: Progress) -> None:
        if progress.counts.items:
            os.kill(os.getpid(), signal.SIGINT)
        save(state, progress)

    monkeypatch.setattr(table, "scan", interrupted)
    monkeypatch.setattr(StateFile, "save", impatient)
    assert run(["migrate", "--segments", "2"]) == ExitCode.INTERRUPTED
    assert "stopped: " in capsys.readouterr().err
    monkeypatch.setattr(table, "scan", scan)
    monkeypatch.setattr(StateFile, "save", save)
    assert run(["migrate"]) == ExitCode.NEGATIVE
    assert "continuing from" in capsys.readouterr().err
    check(table, damaged_items(), frozenset({uid("alan")}))


@pytest.mark.parametrize("change", ["table", "option"])
def test_a_state_of_another_migration_is_refused(
    table: Table, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table recreated with the same name has not been migrated."""
    table.scans_left = 3
    assert run(["migrate"]) == ExitCode.ENVIRONMENT
    table.scans_left = 1_000_000
    if change == "table":
        table.table_id = "id-2"
    before = deepcopy(table.items)
    options = ["--no-addresses"] if change == "option" else []
    assert run(["migrate", *options]) == ExitCode.USAGE
    assert "the state migrate-users.state.json belongs to" in capsys.readouterr().err
    assert table.items == before


@pytest.mark.parametrize("words", [["--segments", "0"], ["--share", "2"], ["--units", "0"]])
def test_impossible_options_are_refused(words: list[str]) -> None:
    """They are refused before any call."""
    assert run(["migrate", *words]) == ExitCode.USAGE


def test_a_table_with_few_units_is_asked_for_few_at_once(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page uses at most one second's units; otherwise one call could use those of 30 s."""
    limits: set[int] = set()
    scan = table.scan

    def noted(**request: Any) -> Any:
        limits.add(request["Limit"])
        return scan(**request)

    monkeypatch.setattr(table, "scan", noted)
    monkeypatch.setattr(migration_run, "Migration", Migration)
    table.items = {}
    for units in ("1", "50", "5000"):
        assert run(["migrate", "--units", units, "--segments", "1"]) == ExitCode.OK
    assert limits == {10, 50, 200}


# --- progress ------------------------------------------------------------------------------


def test_without_a_terminal_progress_is_printed_at_intervals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line has segments, items and their rate, changes, and the items left so far."""
    now = 0.0
    for module in (command, progress_module):
        monkeypatch.setattr(module, "monotonic", lambda: now)
    progress = Progress.start(4)
    with progress_module.display(900, "items") as show:
        tell = command._report_to(show, progress)
        progress.counts.found["user", 1] = 300
        progress.segments[0].done = True
        progress.counts.changed, progress.counts.bad = 40, 2
        tell(progress)
        assert capsys.readouterr().err == ""
        now = 10.0
        tell(progress)
    expected = "segments 1/4, 40 changed, 2 not migrated, 30/s: 302 of 900 items\n"
    assert capsys.readouterr().err == expected


# --- what may be shown ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (Key(f"USER#{uid('a')}", "USER"), True),
        (Key(f"USER#{uid('a')}", f"SESSION#{uid('b')}"), True),
        (Key(f"COMMAND#{uid('a')}", f"COMMAND#{uid('a')}"), True),
        (Key("OUTBOX#3", f"2026-11-23T10:00:00.000Z#{uid('a')}"), True),
        (Key("EMAIL#somebody", "EMAIL"), False),
        (Key("USER#somebody", "USER"), False),
        (Key(f"USER#{uid('a')}", "SESSION#somebody"), False),
        (Key("somebody", "NOTE"), False),
    ],
)
def test_a_key_is_shown_if_it_holds_ids_alone(key: Key, shown: bool) -> None:
    """Otherwise its hash is shown, which distinguishes it from others."""
    assert is_impersonal(key) is shown
    assert "somebody" not in shown_key(key)
    assert (shown_key(key) == "/".join(key)) is shown
    assert shown_key(key) != shown_key(Key(key.partition + "x", key.sort))


def test_a_page_is_gone_on_with_after_what_may_be_written_down() -> None:
    """Address items at its end are read again."""
    user: Any = {"pk": {"S": f"USER#{uid('a')}"}, "sk": {"S": "USER"}}
    address = address_item("a", "a")
    assert resume_point([user, address], address) == Key(f"USER#{uid('a')}", "USER")
    assert resume_point([address], None) is None


def test_a_page_of_which_nothing_was_sent_is_gone_on_with_after_its_end() -> None:
    """Otherwise a long run of outcomes would be scanned again after each stop."""
    outcome: Any = {"pk": {"S": f"USER#{uid('a')}"}, "sk": {"S": f"COMMAND#{uid('b')}"}}
    assert resume_point([], outcome) == Key(f"USER#{uid('a')}", f"COMMAND#{uid('b')}")


def test_not_more_findings_are_kept_than_memory_has_room_for() -> None:
    """All are counted."""
    counts, more = Counts(bad=2), Counts()
    for each in (counts, more):
        for _ in range(KEPT_FINDINGS + 5):
            each.add_finding(Key("k", "k"), "user", "schema", "r")
    assert len(counts.findings) == KEPT_FINDINGS
    counts.add(more)
    assert len(counts.findings) == KEPT_FINDINGS
