from __future__ import annotations

import csv
import json
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from application.key_ring import KeyRing
from application.messages import MessageParser
from application.messages.outgoing import check_outgoing
from application.ports import CommandKey, StoreUnavailableError
from application.repository import LoadRequest, Outcome, Status
from cli import composition
from cli.commands import import_
from domain.errors import RejectionCode
from operations.bulk_import.report import COLUMNS, OutcomeWaiter
from operations.bulk_import.row_file import row_file
from tests.unit.cli.test_import import HEADER, Cli, Sqs, cli, complaint, people  # noqa: F401
from tests.unit.operations.recorded_progress import RecordedProgress
from worker.settings import Settings, load_settings

UNLOCK = "biome.user.UnlockUser.v1"
DEVELOPMENT, OTHERS = Settings().hash_key_ring, KeyRing((b"k" * 32,))
PARSER = MessageParser(("customer", "lab_assistant", "admin"))
Decide = Callable[[dict[str, Any]], tuple[Status, RejectionCode | None] | None]


def accept(_: dict[str, Any]) -> tuple[Status, RejectionCode | None]:
    """Accept any command."""
    return Status.ACCEPTED, None


@dataclass
class Store:
    """A table with the outcomes of all sent commands, as a worker would decide them."""

    sqs: Sqs
    decide: Decide = accept
    fingerprint: str | None = None
    kind: str | None = None
    fails: int = 0
    looks: int = 0
    letters: dict[str, tuple[str, str]] | None = field(default_factory=dict)
    """Reason and detail of the dead letters, by address; `None`: they may not be read."""

    def list_letters(self, *_: Any, **__: Any) -> Any:
        """List the dead letters."""
        if self.letters is None:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "ReceiveMessage")
        found = [
            SimpleNamespace(
                command_id=event["id"],
                reason=self.letters[event["data"]["email"]][0],
                stored=SimpleNamespace(detail=self.letters[event["data"]["email"]][1]),
            )
            for event in self.sqs.bodies
            if event["data"]["email"] in self.letters
        ]
        return SimpleNamespace(letters=found, complete=True)

    def load(self, request: LoadRequest) -> Any:
        """Read outcomes."""
        self.looks += 1
        if self.fails:
            self.fails -= 1
            raise StoreUnavailableError("throttled")
        found = {}
        for event in self.sqs.bodies:
            outgoing = check_outgoing(json.dumps(event), PARSER)
            decided = self.decide(event)
            if outgoing.key in request.outcomes and decided is not None:
                found[outgoing.key] = self._outcome(outgoing.envelope, *decided)
        return SimpleNamespace(outcomes=found)

    def _outcome(self, envelope: Any, status: Status, code: RejectionCode | None) -> Outcome:
        now = datetime.now(UTC)
        return Outcome(
            command_id=envelope.command_id,
            command_type=self.kind or envelope.type,
            user_id=envelope.user_id,
            by_email=False,
            fingerprint=self.fingerprint
            or load_settings().hash_key_ring.fingerprint(envelope.content_hash),
            status=status,
            code=code,
            events=(),
            version=1,
            recorded_at=now,
            expires_at=now,
            source="/x",
        )


@dataclass
class Aws:
    """Replaces AWS for the command line."""

    sqs: Sqs
    repository: Store
    settings: Settings = field(default_factory=load_settings)

    def queue_url(self, name: str) -> str:
        """Return the URL of any queue."""
        return f"http://sqs/{name}"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """The table from which outcomes are read."""
    queue = Sqs()
    store = Store(queue)
    monkeypatch.setattr(composition, "aws", lambda: Aws(queue, store))
    monkeypatch.setattr("operations.dead_letters.listing.list_letters", store.list_letters)
    return store


def report(cli: Cli, name: str = "report.csv") -> list[dict[str, str]]:  # noqa: F811
    """Read a report."""
    with (cli.folder / name).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_each_bar_of_an_import_moves_and_ends_at_its_total(
    cli: Cli,  # noqa: F811
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bar stood at 0 % and then jumped, above all for a short file."""
    progress = RecordedProgress()
    monkeypatch.setattr(import_, "TerminalProgress", lambda: progress)
    looks = iter(range(1, 100))
    decided = {"limit": 0}

    def decide(event: dict[str, Any]) -> tuple[Status, None] | None:
        number = int(re.sub(r"\D", "", event["data"]["email"]))
        return (Status.ACCEPTED, None) if number <= decided["limit"] else None

    def sleep(_: float) -> None:
        decided["limit"] = 20 * next(looks)

    store.decide = decide
    monkeypatch.setattr(OutcomeWaiter.__init__, "__defaults__", (lambda: datetime.now(UTC), sleep))
    file = cli.write(people(90))
    assert cli.run(file, "--report", str(cli.folder / "report.csv"))[0] == 0
    assert progress.totals == progress.done
    assert progress.steps["sent"] == list(range(10, 91, 10))
    assert progress.steps["outcomes"] == [20, 40, 60, 80, 90]


@pytest.mark.parametrize(("rows", "steps"), [(3, 1), (5_000, 3)])
def test_the_bar_of_a_check_ends_at_the_size_of_the_file(
    cli: Cli,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    steps: int,
) -> None:
    """A short file has fewer rows than are checked between two reports."""
    progress = RecordedProgress()
    monkeypatch.setattr(import_, "TerminalProgress", lambda: progress)
    assert cli.run(cli.write(people(rows)), "--dry-run")[0] == 0
    assert len(progress.steps["checked"]) >= steps
    assert progress.done["checked"] == progress.totals["checked"] > 0


def test_every_row_has_a_line_with_its_outcome(cli: Cli, store: Store) -> None:  # noqa: F811
    """Of 250 rows some are bad, some repeated, some rejected, and some without an outcome."""

    def decide(event: dict[str, Any]) -> tuple[Status, RejectionCode | None] | None:
        number = int(event["data"]["email"].removeprefix("person").partition("@")[0])
        if number % 50 == 0:
            return None
        taken = number % 10 == 0
        return (Status.REJECTED, RejectionCode.EMAIL_TAKEN) if taken else (Status.ACCEPTED, None)

    store.decide = decide
    file = cli.write(people(250, bad=(3,)) + "PERSON7@biome.test,Ada,Lovelace,customer\n")
    target = str(cli.folder / "report.csv")
    store.letters = {"person50@biome.test": ("UnknownField", "data.created_at: is not a field")}

    code, out, err = cli.run(file, "--skip-bad", "--report", target, "--wait", "0")

    assert code == 4, err
    assert out.startswith("249 rows sent")
    told = "report: 224 accepted, 20 rejected, 4 no answer, 1 not sent, 1 failed, 1 duplicate"
    assert told in err
    found = {int(row["line"]): row for row in report(cli)}
    assert list(found) == list(range(2, 253))
    assert [int(row["row"]) for row in found.values()] == list(range(1, 252))
    assert {row["outcome"] for row in found.values()} == {
        "accepted", "rejected", "failed", "no answer", "not sent", "duplicate",
    }  # fmt: skip
    refused = found[11]
    assert refused["code"] == "EmailTaken"
    (sent,) = [each for each in store.sqs.bodies if each["id"] == refused["command_id"]]
    assert sent["data"]["email"] == "person10@biome.test"
    assert refused["user_id"]
    bad, again = found[4], found[252]
    assert (bad["user_id"], bad["outcome"], bad["code"]) == ("", "not sent", "BadRow")
    assert bad["detail"].startswith("email: must be")
    assert (again["outcome"], again["user_id"], again["command_id"]) == ("duplicate", "", "")
    failed, silent = found[51], found[101]
    assert (failed["outcome"], failed["code"]) == ("failed", "UnknownField")
    assert failed["detail"] == "data.created_at: is not a field"
    assert (silent["outcome"], silent["code"]) == ("no answer", "")
    assert silent["detail"].startswith("not decided in time")
    text = (cli.folder / "report.csv").read_text()
    assert not any(value in text for value in ("biome.test", "Ada", "Lovelace"))


@pytest.mark.parametrize(
    ("decided", "code"),
    [((Status.ACCEPTED, None), 0), ((Status.REJECTED, RejectionCode.EMAIL_TAKEN), 1), (None, 4)],
)
def test_the_exit_code_is_that_of_the_worst_outcome(
    cli: Cli,  # noqa: F811
    store: Store,
    decided: Any,
    code: int,
) -> None:
    """The exit code is that of `send --wait`."""
    store.decide = lambda _: decided
    file = cli.write(people(3))
    assert cli.run(file, "--report", str(cli.folder / "r.csv"), "--wait", "0")[0] == code


@pytest.mark.parametrize(
    ("kind", "env", "keys", "fingerprint", "code"),
    [
        (UNLOCK, "dev", "", DEVELOPMENT.fingerprint("another command"), "CommandIdReused"),
        (UNLOCK, "prod", "k" * 32, OTHERS.fingerprint("another command"), "CommandIdReused"),
        (UNLOCK, "prod", "", OTHERS.fingerprint("another command"), ""),
        (UNLOCK, "dev", "", OTHERS.fingerprint("another command"), ""),
        ("biome.user.BanUser.v1", "prod", "", OTHERS.fingerprint("same"), "CommandIdReused"),
    ],
    ids=["key", "key in prod", "no key", "another key", "another type"],
)
def test_without_the_workers_keys_a_reused_id_shows_only_by_the_type(
    cli: Cli,  # noqa: F811
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    *,
    kind: str,
    env: str,
    keys: str,
    fingerprint: str,
    code: str,
) -> None:
    """The importer need not have the keys. No row is reported as reused without a reason."""
    monkeypatch.setenv("USER_WORKER_ENV", env)
    monkeypatch.setenv("USER_WORKER_HASH_KEYS", keys)
    store.fingerprint, store.kind = fingerprint, kind
    file = cli.write("user_id\n5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77\n")
    cli.run(file, "-c", "UnlockUser", "--report", str(cli.folder / "report.csv"))
    assert [line["code"] for line in report(cli)] == [code]


def test_a_report_of_json_lines_and_of_commands_about_users(cli: Cli, store: Store) -> None:  # noqa: F811
    """The file's suffix decides; a row that creates no user is identified by its user id."""
    store.fingerprint = "another command's"
    user = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77"
    file = cli.write(f"user_id\n{user}\n")
    target = cli.folder / "report.jsonl"
    assert cli.run(file, "-c", "UnlockUser", "--report", str(target))[0] == 1
    (line,) = map(json.loads, target.read_text().splitlines())
    assert (line["row"], line["line"], line["user_id"]) == (1, 2, user)
    assert (line["outcome"], line["code"]) == ("rejected", "CommandIdReused")


def test_the_report_is_its_owners_alone_and_is_written_anew(cli: Cli, store: Store) -> None:  # noqa: F811
    """This also holds if the file existed; and nothing is sent twice for it."""
    file, target = cli.write(people(3)), cli.folder / "report.csv"
    columns = ",".join(COLUMNS)
    target.write_text(columns + "\n" + "old\n" * 1000)
    target.chmod(0o644)
    assert cli.run(file, "--report", str(target))[0] == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    first = target.read_text()
    store.decide = lambda _: (Status.REJECTED, RejectionCode.USER_ALREADY_EXISTS)
    assert cli.run(file, "--report", str(target))[0] == 1
    assert len(store.sqs.bodies) == 3
    assert "old" not in first
    assert first.count("accepted") == target.read_text().count("UserAlreadyExists") == 3


def test_an_unwritable_report_is_an_error_before_anything_is_sent(
    cli: Cli,  # noqa: F811
    store: Store,
) -> None:
    """The path is invalid, or names a file of the import itself."""
    file = cli.write(people(3))
    journal = Path(f"{file}.progress.jsonl")
    journal.touch()
    notes, table, link = (cli.folder / name for name in ("notes.txt", "t.csv", "link.csv"))
    notes.write_bytes(b"\xff not a report\n")
    table.write_text("line,email\n")
    link.symlink_to(file)
    for target, told in (
        (str(cli.folder / "no" / "r.csv"), "cannot write"),
        (str(cli.folder), "Is a directory"),
        (str(notes), "exists and was not written by this option; choose another file, or delete"),
        (str(table), "exists and was not written by this option; choose another file, or delete"),
        (str(link), "--report must not be another file of this import"),
        (file, "--report must not be another file of this import"),
        (str(journal), "--report must not be another file of this import"),
    ):
        code, _, err = cli.run(file, "--report", target)
        assert code in {2, 3}
        assert told in complaint(err)
    assert cli.run(file, "--report", "r.csv", "--dry-run")[0] == 2
    assert store.sqs.bodies == []
    assert len(Path(file).read_text().splitlines()) == 4
    assert notes.read_bytes() == b"\xff not a report\n"
    assert not list(cli.folder.glob("*.partial"))


@pytest.mark.parametrize("number", [1, 2])
def test_a_full_disk_keeps_all_rows_and_the_earlier_report(
    cli: Cli,  # noqa: F811
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    """The rows were sent; when there is space, the same command writes the report."""
    file, target = cli.write(people(3)), cli.folder / "report.csv"
    words = (file, "--report", str(target))
    for _ in range(number - 1):
        cli.run(*words)
    before = target.read_text() if target.exists() else None

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("operations.bulk_import.row_file.os.fsync", full)
        code, _, err = cli.run(*words)
    assert code == 3
    assert "No space left on device" in complaint(err)
    assert (target.read_text() if target.exists() else None) == before
    assert not list(cli.folder.glob("*.partial"))
    assert cli.run(*words)[0] == 0
    assert len(store.sqs.bodies) == 3
    assert len(report(cli)) == 3


def test_a_full_device_is_one_line(cli: Cli, store: Store) -> None:  # noqa: F811
    """A device is written directly and keeps its mode."""
    mode = Path("/dev/full").stat().st_mode
    code, _, err = cli.run(cli.write(people(300)), "--report", "/dev/full")
    assert code == 3
    assert "cannot write /dev/full: No space left on device" in complaint(err)
    assert Path("/dev/full").stat().st_mode == mode
    assert len(store.sqs.bodies) == 300
    assert (
        cli.run(cli.write(people(3)), "--report", "/dev/null", "--journal", f"{cli.folder}/j")[0]
        == 0
    )


def test_a_report_that_another_import_is_writing_is_refused(
    cli: Cli,  # noqa: F811
    store: Store,
) -> None:
    """Otherwise one of the two would lose its rows; what a killed run has left is no obstacle."""
    file, target = cli.write(people(3)), cli.folder / "report.csv"
    words = (file, "--report", str(target))
    with row_file(str(target), COLUMNS, "--report", []):
        code, _, err = cli.run(*words)
    assert code == 2
    assert "another import is writing the file of --report; wait until" in complaint(err)
    assert store.sqs.bodies == []
    target.with_name("report.csv.partial").write_text("left by a killed run")
    assert cli.run(*words)[0] == 0
    assert len(report(cli)) == 3


def test_the_report_is_opened_before_the_check_of_the_rows(cli: Cli, store: Store) -> None:  # noqa: F811
    """The check of a large file takes minutes."""
    file = cli.write(people(3, bad=(1,)))
    code, _, err = cli.run(file, "--report", str(cli.folder / "no" / "r.csv"))
    assert code == 3
    assert "line 2" not in err


def test_an_interrupted_report_is_written_by_the_next_run(
    cli: Cli,  # noqa: F811
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C during the wait leaves no half report; the next run has every row."""
    file, target = cli.write(people(250)), cli.folder / "report.csv"
    words = (file, "--report", str(target))

    def interrupted(*_: object) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "load", interrupted)
        code, _, err = cli.run(*words)
    assert code == 130
    assert "the report was not written; run the same command again" in err
    assert not target.exists()
    assert not list(cli.folder.glob("*.partial"))
    assert cli.run(*words)[0] == 0
    assert [row["outcome"] for row in report(cli)] == ["accepted"] * 250
    assert len(store.sqs.bodies) == 250


def test_dead_letters_that_may_not_be_read_are_no_answer(cli: Cli, store: Store) -> None:  # noqa: F811
    """The report is complete without the right to read them; a line says so."""
    store.decide = lambda _: None
    store.letters = None
    file = cli.write(people(3))
    code, _, err = cli.run(file, "--report", str(cli.folder / "report.csv"), "--wait", "0")
    assert code == 4
    assert "dead letters were not read: " in err
    assert [row["outcome"] for row in report(cli)] == ["no answer"] * 3


def test_a_failed_row_decides_the_exit_code(cli: Cli, store: Store) -> None:  # noqa: F811
    """As a rejected one does: waiting longer does not help."""
    store.decide = lambda _: None
    store.letters = {"person1@biome.test": ("UnknownType", "type: is not known")}
    file = cli.write(people(1))
    assert cli.run(file, "--report", str(cli.folder / "report.csv"), "--wait", "0")[0] == 1


@dataclass
class Clock:
    """A clock that moves only by sleeping."""

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Advance the clock."""
        self.now += timedelta(seconds=seconds)


def awaited(clock: Clock, recorded: dict[int, float], *, fails: int = 0) -> tuple[set[str], Any]:
    """Wait for ten commands, whose outcomes are recorded after the given seconds."""
    start, sqs = clock.now, Sqs()
    keys = [CommandKey(None, str(number)) for number in range(10)]
    sample = Store(sqs)._outcome(
        SimpleNamespace(command_id="", type="t", user_id=None, content_hash="f"), *accept({})
    )

    class Repository:
        looks = 0

        def load(self, request: LoadRequest) -> Any:
            self.looks += 1
            if self.looks <= fails:
                raise StoreUnavailableError("throttled")
            times = {n: start + timedelta(seconds=after) for n, after in recorded.items()}
            return SimpleNamespace(
                outcomes={
                    key: replace(sample, recorded_at=times[int(key.command_id)])
                    for key in request.outcomes
                    if int(key.command_id) in times and times[int(key.command_id)] <= clock.now
                }
            )

    repository: Any = Repository()
    awaiting = OutcomeWaiter(repository, 30, clock, clock.sleep)
    return {key.command_id for key in awaiting.outcomes(keys)}, repository


def test_it_waits_as_long_as_there_is_progress() -> None:
    """It waits half a minute after each new outcome; the last one comes too late."""
    clock = Clock()
    found, _ = awaited(clock, {number: number * 25.0 for number in range(9)} | {9: 1000.0})
    assert found == set("012345678")
    assert clock.now - datetime(2026, 1, 1, tzinfo=UTC) <= timedelta(seconds=8 * 25 + 31)


def test_a_table_that_does_not_answer_for_a_while_costs_no_report() -> None:
    """It tries again; a permanent failure is an error."""
    found, repository = awaited(Clock(), dict.fromkeys(range(10), 0.0), fails=5)
    assert len(found) == 10
    assert repository.looks == 6
    with pytest.raises(StoreUnavailableError):
        awaited(Clock(), {}, fails=1000)
