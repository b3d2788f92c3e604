from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cli import composition
from cli.app import run
from operations.bulk_import.dispatch import Dispatcher
from operations.bulk_import.journal import Journal
from tests.emitted import check_captured
from worker.settings import Settings, load_settings

HEADER = "email,first_name,last_name,roles\n"


@dataclass
class Sqs:
    """An SQS that accepts every message."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)
    urls: set[str] = field(default_factory=set)
    calls: int = 0

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        """Accept entries."""
        self.calls += 1
        self.bodies += [json.loads(entry["MessageBody"]) for entry in Entries]
        self.urls.add(QueueUrl)
        self.groups += [entry.get("MessageGroupId") for entry in Entries]
        return {"Successful": [{"Id": entry["Id"], "MessageId": "m"} for entry in Entries]}


@dataclass
class Aws:
    """Replaces AWS for the command line."""

    sqs: Sqs
    settings: Settings = field(default_factory=load_settings)

    def queue_url(self, name: str) -> str:
        """Return the URL of any queue."""
        return f"http://sqs/{name}"


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Sqs:
    """The queue that imports send to."""
    queue = Sqs()
    monkeypatch.setattr(composition, "aws", lambda: Aws(queue))
    return queue


class Cli:
    """Runs `user-worker import` in a folder."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self.folder = folder

    def write(self, text: str, name: str = "users.csv") -> str:
        """Write a file; return its path."""
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def run(self, *words: str) -> tuple[int, str, str]:
        """Return exit code, standard output and standard error."""
        code = run(("import", *words))
        out, err = self._capsys.readouterr()
        check_captured(out, err)
        return code, out, err


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command line."""
    return Cli(capsys, tmp_path)


def people(count: int, bad: Sequence[int] = ()) -> str:
    """Render a file of `count` people, some of whom have no valid address."""
    addresses = ["no address" if n in bad else f"person{n}@biome.test" for n in range(1, count + 1)]
    return HEADER + "".join(f"{address},Ada,Lovelace,customer\n" for address in addresses)


def complaint(err: str) -> str:
    """Return the one line that says what went wrong."""
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    return line


# --- the check ---


def test_a_dry_run_checks_and_leaves_nothing(cli: Cli) -> None:
    """It uses neither AWS nor a journal."""
    file = cli.write(people(25))
    code, out, _ = cli.run(file, "--dry-run")
    assert (code, out) == (0, "25 rows checked\n")
    assert [path.name for path in cli.folder.iterdir()] == ["users.csv"]


def test_with_bad_rows_nothing_is_sent(cli: Cli, sqs: Sqs) -> None:
    """The first twenty are shown, all are counted, and no journal is started."""
    file = cli.write(people(60, bad=range(11, 51)))
    code, _, err = cli.run(file)
    assert code == 2
    assert "40 of 60 rows are invalid; nothing was sent" in complaint(err)
    lines = [line for line in err.splitlines() if "email: " in line]
    assert len(lines) == 20
    assert lines[0].startswith(f"{file}, line 12: email: must")
    assert "and 20 more; --errors FILE" in err
    assert "no address" not in err
    assert sqs.calls == 0
    assert [path.name for path in cli.folder.iterdir()] == ["users.csv"]


def test_all_bad_rows_go_to_a_file(cli: Cli) -> None:
    """As CSV or JSON lines, depending on its name."""
    file = cli.write(people(30, bad=range(1, 31)))
    for name in ("bad.csv", "bad.jsonl"):
        code, _, err = cli.run(file, "--dry-run", "--errors", str(cli.folder / name))
        assert code == 2
        assert name in err
    with (cli.folder / "bad.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    lines = [json.loads(line) for line in (cli.folder / "bad.jsonl").read_text().splitlines()]
    assert [int(row["line"]) for row in table] == [row["line"] for row in lines]
    assert [row["line"] for row in lines] == list(range(2, 32))
    assert {row["field"] for row in table} == {row["field"] for row in lines} == {"email"}


def test_the_imported_file_is_not_written_over(cli: Cli) -> None:
    """This holds whatever the options are."""
    file = cli.write(people(3))
    code, _, err = cli.run(file, "--dry-run", "--errors", file)
    assert code == 2
    assert "--errors must not be another file of this import" in complaint(err)
    code, _, err = cli.run(file, "--dry-run", "--errors", str(cli.folder / "no" / "bad.csv"))
    assert code == 3
    assert "cannot write" in complaint(err)
    assert (cli.folder / "users.csv").read_text() == people(3)


@pytest.mark.parametrize(
    ("text", "options", "rule"),
    [
        ("", (), "is empty"),
        ("\n\n", (), "has no header"),
        (HEADER, (), "has no rows"),
        ("ada@biome.test,Ada,Lovelace\n", (), "is not a header"),
        (HEADER, ("--command", "CreateUsers"), "did you mean CreateUser"),
        (HEADER, ("--map", "email"), "--map COLUMN=FIELD"),
        (HEADER, ("--set", "=x"), "--set FIELD=VALUE"),
        (HEADER, ("--delimiter", "ab"), "--delimiter must be one character"),
        (HEADER, ("--import-id", "x" * 129), "--import-id must have 1 to 128"),
        (HEADER, ("--ignore-column", "shoe"), "has no column 'shoe'"),
        (HEADER, ("--split-name", "Name"), "has no column 'Name'"),
        (HEADER, ("--encoding", "latin-99"), "--encoding must be an encoding of text"),
        (HEADER, ("--encoding", "utf-16"), "line 1, column 1 is not UTF-16"),
        (HEADER, ("--delimiter", ";"), "has one column only; try --delimiter with ,"),
        ("email,email,first_name,roles\n", (), "has two columns for email"),
        (HEADER + 'a@b.test,"Ada,Lovelace,customer\n' * 9, (), "line 2 is not valid CSV"),
        (HEADER + "a@b.test," + "A" * 140_000 + ",B,customer\n", (), "line 2 is not valid CSV"),
        (HEADER + "a@b.test,A\0da,B,customer\n", (), "1 of 1 row is invalid"),
        ("email,first\0name,roles\n", (), "NUL characters in its first line"),
        (HEADER, ("--format", "xml"), "'csv', 'jsonl'"),
        (HEADER, ("--rate", "0"), "greater than or equal to 0.1"),
    ],
)
def test_what_is_mistyped_is_one_line(
    cli: Cli, text: str, options: tuple[str, ...], rule: str
) -> None:
    """The exit code is 2, and nothing was sent."""
    code, _, err = cli.run(cli.write(text), "--dry-run", *options)
    assert code == 2
    assert rule in complaint(err)


# --- sending ---


def test_every_row_is_sent_once_and_the_import_is_named(cli: Cli, sqs: Sqs) -> None:
    """The name is the correlation id of all its events."""
    code, out, err = cli.run(cli.write(people(35)))
    assert (code, out) == (0, "35 rows sent to user-commands\n")
    assert len({body["data"]["email"] for body in sqs.bodies}) == 35
    assert len({body["id"] for body in sqs.bodies}) == 35
    (name,) = {body["correlationid"] for body in sqs.bodies}
    assert f"correlationid of their events: {name}" in err
    assert {body["source"] for body in sqs.bodies} == {"/user-worker/import"}
    assert set(sqs.groups) == {None}


def test_good_rows_can_be_sent_without_the_bad_ones(cli: Cli, sqs: Sqs) -> None:
    """The bad rows can be sent later with the same import id, after they are corrected."""
    file = cli.write(people(25, bad=[3, 20]))
    code, out, _ = cli.run(file, "--skip-bad", "--import-id", "spring", "--json")
    assert code == 0
    assert json.loads(out) == {
        "import_id": "spring",
        "rows": 25,
        "bad": 2,
        "sent_before": 0,
        "sent": 23,
    }
    first = {body["id"] for body in sqs.bodies}
    mended = cli.write(people(25), "mended.csv")
    assert cli.run(mended, "--import-id", "spring")[0] == 0
    second = {body["id"] for body in sqs.bodies[23:]}
    assert len(second) == 25
    assert first < second


def test_a_finished_import_has_nothing_left_to_do(cli: Cli, sqs: Sqs) -> None:
    """It may be started any number of times."""
    file = cli.write(people(12))
    cli.run(file)
    code, out, _ = cli.run(file)
    assert code == 0
    assert "0 rows sent" in out
    assert "12 were sent before" in out
    assert len(sqs.bodies) == 12


def test_an_interrupted_import_shows_how_to_continue_and_continues(
    cli: Cli, sqs: Sqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows sent before the stop are not sent again."""
    file = cli.write(people(300))
    send = Dispatcher.send

    def interrupted(self: Dispatcher, parcels: Any, acknowledge: Any) -> None:
        def stopping() -> Any:
            for place, parcel in enumerate(parcels):
                if place == 150:
                    raise KeyboardInterrupt
                yield parcel

        send(self, stopping(), acknowledge)

    with monkeypatch.context() as patch:
        patch.setattr(Dispatcher, "send", interrupted)
        code, _, err = cli.run(file)
    assert code == 130
    before = len(sqs.bodies)
    assert f"stopped: {before} of 300 rows are sent; run the same command again" in err
    assert 0 < before < 300
    code, out, _ = cli.run(file)
    assert code == 0
    assert f"{before} were sent before" in out
    assert len({body["id"] for body in sqs.bodies}) == len(sqs.bodies) == 300


@pytest.mark.parametrize(
    ("change", "options", "rule"),
    [
        ("x@biome.test,A,B,customer\n", (), "the file has changed"),
        ("", ("--set", "roles=admin"), "with other options"),
        ("", ("--command", "RegisterUser"), "with other options"),
    ],
)
def test_another_import_under_the_same_journal_is_refused(
    cli: Cli, sqs: Sqs, change: str, options: tuple[str, ...], rule: str
) -> None:
    """It has other rows."""
    file = cli.write(people(12))
    cli.run(file)
    with Path(file).open("a") as more:
        more.write(change)
    code, _, err = cli.run(file, *options)
    assert code == 2
    assert rule in complaint(err)
    assert len(sqs.bodies) == 12


def test_a_group_can_be_given(cli: Cli, sqs: Sqs) -> None:
    """On a standard queue it makes the import share the queue fairly."""
    cli.run(cli.write(people(12)), "--group", "import")
    assert set(sqs.groups) == {"import"}


def test_an_import_goes_to_the_queue_that_is_named(
    cli: Cli, sqs: Sqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It then delays no sign-up; the same journal is not continued on another queue."""
    monkeypatch.setenv("USER_WORKER_ADDITIONAL_QUEUES", "imports")
    file = cli.write(people(12))
    code, _, err = cli.run(file, "--queue", "import")
    assert (code, "did you mean imports?" in complaint(err)) == (2, True)
    code, out, _ = cli.run(file, "--queue", "imports")
    assert (code, "12 rows sent to imports" in out) == (0, True)
    assert sqs.urls == {"http://sqs/imports"}
    code, _, err = cli.run(file)
    assert (code, "queue" in complaint(err)) == (2, True)


def test_a_full_disk_is_one_line_with_how_far_it_came(
    cli: Cli, sqs: Sqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error also says how to continue."""
    file = cli.write(people(30))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "_sync", lambda self: None)
    with monkeypatch.context() as patch:
        write = Journal._write
        calls: list[int] = []

        def sometimes(self: Journal, line: dict[str, Any]) -> None:
            calls.append(1)
            (write if len(calls) < 3 else full)(self, line)

        patch.setattr(Journal, "_write", sometimes)
        code, _, err = cli.run(file)
    assert code == 3
    assert "No space left on device" in complaint(err)
    assert "of 30 rows are sent; run the same command again" in complaint(err)


def test_a_file_that_changes_while_it_is_sent_ends_it(
    cli: Cli, sqs: Sqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not a usage error: some rows are sent, and the error has their number."""
    file = cli.write(people(600))
    send = Dispatcher.send

    def changing(self: Dispatcher, parcels: Any, acknowledge: Any) -> None:
        with Path(file).open("a") as more:
            more.write("x@biome.test,A,B,customer\n")
        send(self, parcels, acknowledge)

    monkeypatch.setattr(Dispatcher, "send", changing)
    code, _, err = cli.run(file)
    assert code == 3
    assert "changed while it was read" in complaint(err)
    assert f"{len(sqs.bodies)} of 600 rows are sent" in complaint(err)
    assert len(sqs.bodies) < 300
