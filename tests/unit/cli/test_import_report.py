from __future__ import annotations

import csv
import json
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from application.messages import MessageParser
from application.messages.outgoing import check_outgoing
from application.ports import CommandKey, LoadRequest, Outcome, Status, StoreUnavailableError
from cli import composition
from domain.errors import RejectionCode
from operations.bulk_import.report import OutcomeWaiter
from tests.unit.cli.test_import import HEADER, URL, Cli, Sqs, cli, complaint, people  # noqa: F401
from worker.settings import Settings, load_settings

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
    fails: int = 0
    looks: int = 0

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
            command_type=envelope.type,
            user_id=envelope.user_id,
            by_email=False,
            fingerprint=self.fingerprint or envelope.fingerprint,
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
    command_queue_url: str = URL


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """The table from which outcomes are read."""
    queue = Sqs()
    store = Store(queue)
    monkeypatch.setattr(composition, "aws", lambda: Aws(queue, store))
    return store


def report(cli: Cli, name: str = "report.csv") -> list[dict[str, str]]:  # noqa: F811
    """Read a report."""
    with (cli.folder / name).open(newline="") as stream:
        return list(csv.DictReader(stream))


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

    code, out, err = cli.run(file, "--skip-bad", "--report", target, "--wait", "0")

    assert code == 4, err
    assert out.startswith("249 rows sent")
    assert "report: 224 accepted, 20 rejected, 5 no answer, 1 not sent, 1 duplicate" in err
    found = {int(row["line"]): row for row in report(cli)}
    assert list(found) == list(range(2, 253))
    assert {row["outcome"] for row in found.values()} == {
        "accepted", "rejected", "no answer", "not sent", "duplicate",
    }  # fmt: skip
    refused = found[11]
    assert (refused["email"], refused["code"]) == ("person10@biome.test", "EmailTaken")
    assert refused["command_id"]
    assert refused["user_id"]
    bad, again = found[4], found[252]
    assert (bad["email"], bad["outcome"], bad["code"]) == ("", "not sent", "BadRow")
    assert bad["detail"].startswith("email: must be")
    assert (again["email"], again["outcome"]) == ("PERSON7@biome.test", "duplicate")
    assert found[51]["outcome"] == "no answer"


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


def test_a_report_of_json_lines_and_of_commands_about_users(cli: Cli, store: Store) -> None:  # noqa: F811
    """The file's suffix decides; a row that creates no user is identified by its user id."""
    store.fingerprint = "another command's"
    user = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77"
    file = cli.write(f"user_id\n{user}\n")
    target = cli.folder / "report.jsonl"
    assert cli.run(file, "-c", "UnlockUser", "--report", str(target))[0] == 1
    (line,) = map(json.loads, target.read_text().splitlines())
    assert (line["line"], line["email"], line["user_id"]) == (2, None, user)
    assert (line["outcome"], line["code"]) == ("rejected", "CommandIdReused")


def test_the_report_is_its_owners_alone_and_is_written_anew(cli: Cli, store: Store) -> None:  # noqa: F811
    """This also holds if the file existed; and nothing is sent twice for it."""
    file, target = cli.write(people(3)), cli.folder / "report.csv"
    target.write_text("old" * 1000)
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
    for target, told in (
        (str(cli.folder / "no" / "r.csv"), "cannot write"),
        (file, "--report must not be another file of this import"),
        (str(journal), "--report must not be another file of this import"),
    ):
        code, _, err = cli.run(file, "--report", target)
        assert code in {2, 3}
        assert told in complaint(err)
    assert cli.run(file, "--report", "r.csv", "--dry-run")[0] == 2
    assert store.sqs.bodies == []
    assert len(Path(file).read_text().splitlines()) == 4


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
        SimpleNamespace(command_id="", type="t", user_id=None, fingerprint="f"), *accept({})
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
