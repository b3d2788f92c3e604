from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from operations.bulk_import.journal import SYNC_EVERY, Journal, Plan
from worker.errors import CliError, ExitCode, UsageError

PLAN = Plan("f" * 64, "0" * 64, "http://sqs/commands")


class Syncs:
    """Counts fsync calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, file: int) -> None:
        """Count the call and run it."""
        self.count += 1
        self._fsync(file)


def opened(folder: Path, plan: Plan = PLAN) -> Journal:
    """Open a journal."""
    journal = Journal(folder / "journal", plan)
    journal.open()
    return journal


def numbers(journal: Journal, last: int = 100) -> list[int]:
    """Return the rows that were sent."""
    return [number for number in range(1, last + 1) if journal.has(number)]


def test_what_was_recorded_is_known_the_next_time(tmp_path: Path) -> None:
    """A reader sees them too, in whatever order batches ended."""
    first = opened(tmp_path)
    first.record([21, 22, 30])
    first.record([])
    first.record([1, 2, 3])
    first.close()
    again = Journal(tmp_path / "journal", PLAN)
    again.load()
    assert numbers(first) == numbers(again) == [1, 2, 3, 21, 22, 30]
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o600


def test_without_a_journal_nothing_was_sent_and_looking_makes_none(tmp_path: Path) -> None:
    """A file with bad rows leaves no journal behind."""
    journal = Journal(tmp_path / "journal", PLAN)
    journal.load()
    journal.close()
    assert numbers(journal) == []
    assert not journal.path.exists()


def test_a_record_is_there_at_once_without_being_closed(tmp_path: Path) -> None:
    """A killed process cannot close its files."""
    journal = opened(tmp_path)
    journal.record([1])
    other = Journal(tmp_path / "journal", PLAN)
    other.load()
    assert numbers(other) == [1]
    journal.close()


def test_a_line_that_was_not_finished_is_cut_off(tmp_path: Path) -> None:
    """An incomplete line may end anywhere.

    Its rows are sent again, and the next line is written whole.
    """
    journal = opened(tmp_path)
    journal.record([1, 2])
    journal.record([3])
    journal.close()
    content = journal.path.read_bytes()
    ends = [place for place, byte in enumerate(content) if byte == ord("\n")]
    near = {end + step for end in ends for step in (-1, 0, 1)}
    for size in sorted({*range(0, len(content), 29), *near} - {len(content)}):
        journal.path.write_bytes(content[:size])
        again = opened(tmp_path)
        kept = numbers(again)
        assert kept in ([], [1, 2])
        again.record([7])
        again.close()
        last = opened(tmp_path)
        last.close()
        assert numbers(last) == [*kept, 7]


@pytest.mark.parametrize(
    ("other", "rule"),
    [
        ({"file_sha256": "e" * 64}, "belongs to another file, or the file has changed"),
        ({"options_sha256": "1" * 64}, "belongs to an import with other options"),
        ({"queue": "http://sqs/other"}, "belongs to an import into another queue"),
    ],
)
def test_the_journal_of_another_import_is_refused(
    tmp_path: Path, other: dict[str, str], rule: str
) -> None:
    """Nothing is sent or written before, and the error says what to do."""
    opened(tmp_path).close()
    content = (tmp_path / "journal").read_bytes()
    journal = Journal(tmp_path / "journal", replace(PLAN, **other))
    for step in (journal.load, journal.open):
        with pytest.raises(UsageError, match=rule) as caught:
            step()
        assert "--journal NEWFILE" in str(caught.value)
    journal.close()
    assert (tmp_path / "journal").read_bytes() == content


@pytest.mark.parametrize(
    "line",
    [
        "x",
        "{}",
        "[]",
        '{"sent": 3}',
        '{"sent": [[2, 1]]}',
        '{"sent": [[0, 1]]}',
        '{"sent": [[1, 99999999999999]]}',
        '{"sent": [[true, 1]]}',
        '{"sent": [[1.0, 2]]}',
        '{"sent": [["1", "2"]]}',
        "\xff",
    ],
)
def test_a_damaged_journal_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    """Guessing which rows were sent would send some twice, or not at all."""
    journal = opened(tmp_path)
    journal.record([1])
    journal.close()
    with journal.path.open("ab") as more:
        more.write(line.encode("latin-1") + b"\n")
    with pytest.raises(UsageError, match=r"line 3 of the journal .* is damaged"):
        Journal(journal.path, PLAN).load()


@pytest.mark.parametrize("content", ["email,first_name\n", '{"a": 1}\n', '{"import": 2}\n'])
def test_a_file_that_is_not_a_journal_is_not_written_to(tmp_path: Path, content: str) -> None:
    """It may be the imported file."""
    (tmp_path / "journal").write_text(content)
    journal = Journal(tmp_path / "journal", PLAN)
    with pytest.raises(UsageError, match="line 1 of the journal"):
        journal.open()
    journal.close()
    assert (tmp_path / "journal").read_text() == content


def test_a_journal_in_use_is_refused(tmp_path: Path) -> None:
    """Two imports of one file would send each row twice."""
    first = opened(tmp_path)
    second = Journal(tmp_path / "journal", PLAN)
    with pytest.raises(UsageError, match="another import is using the journal"):
        second.open()
    second.close()
    first.close()
    opened(tmp_path).close()


def test_a_folder_or_device_is_refused_as_a_journal(tmp_path: Path) -> None:
    """A path where nothing can be written is refused too."""
    with pytest.raises(UsageError, match="is not a file"):
        Journal(tmp_path, PLAN).load()
    with pytest.raises(UsageError, match="is not a file"):
        Journal(Path("/dev/full"), PLAN).load()
    missing = Journal(tmp_path / "nowhere" / "journal", PLAN)
    missing.load()
    with pytest.raises(CliError, match=r"cannot write the journal .* No such file"):
        missing.open()


def test_a_full_disk_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to do. Rows that are not recorded count as not sent."""
    journal = opened(tmp_path)
    journal.record([1])

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(CliError, match=r"No space left on device; .*free disk space") as caught:
            journal.record([2])
    assert caught.value.code == ExitCode.ENVIRONMENT
    journal.close()
    again = opened(tmp_path)
    again.close()
    assert numbers(again) == [1]


def test_half_a_line_on_a_full_disk_is_an_error_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may write only a part of it."""
    journal = opened(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda _, data: len(data) - 1)
        with pytest.raises(CliError, match="no space left"):
            journal.record([1])
    journal.close()


def test_it_is_brought_to_disk_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is synced at the beginning and the end too, but not for each batch.

    That would be slower than sending.
    """
    now = [0.0]
    syncs = Syncs(monkeypatch)
    journal = Journal(tmp_path / "journal", PLAN, lambda: now[0])
    journal.open()
    assert syncs.count == 1
    for number in range(1, 101):
        now[0] += SYNC_EVERY / 20
        journal.record([number])
    assert 5 <= syncs.count <= 6
    before = syncs.count
    journal.close()
    assert syncs.count == before + 1


def test_it_is_small(tmp_path: Path) -> None:
    """A batch in order is stored as one range."""
    journal = opened(tmp_path)
    journal.record(list(range(1, 11)))
    journal.close()
    assert json.loads(journal.path.read_text().splitlines()[1]) == {"sent": [[1, 10]]}
