"""Import and export with the real programs: stopped, killed, resumed, checked by their effect."""

from __future__ import annotations

import csv
import json
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from application.ports import Status
from operations.bulk_import.dispatch import SENDER_THREADS
from tests.e2e.command_line import CommandLine
from tests.e2e.system import THREADS, System, decided
from tests.e2e.worker_process import WorkerProcess, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.embedded, pytest.mark.xdist_group("bulk")]

ROWS = 300
ADDRESS = "export@example.com"
NAMES = ("first_name=Ex", "last_name=Port", "roles=customer")
LONGEST_WAIT = 90
"""Seconds. If the answer to a receive is lost, its messages come back after the queue's visibility
timeout of 60 s."""
RATE = ("--rate", "100")
"""Slow enough to be stopped before the end."""


@dataclass(frozen=True, slots=True)
class World:
    """A system with a worker, and the command line on it."""

    system: System
    worker: WorkerProcess
    cli: CommandLine


@pytest.fixture(scope="module")
def world(aws_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all tests, because starting a worker takes seconds."""
    system = System.create(aws_endpoint, tmp_path_factory.mktemp("bulk"))
    with system.worker(THREADS) as worker:
        yield World(system, worker.ready(), CommandLine.on(system.names, aws_endpoint))
    system.delete()


def addresses() -> list[str]:
    """Return the addresses of all rows."""
    return [f"person{number}@example.com" for number in range(ROWS)]


def written(folder: Path) -> Path:
    """Write the file to import."""
    rows = [f"{address},Ada,Lovelace,customer\n" for address in addresses()]
    file = folder / "people.csv"
    file.write_text("email,first_name,last_name,roles\n" + "".join(rows))
    return file


def batches(journal: Path) -> int:
    """Count the batches recorded in a journal."""
    return max(0, journal.read_text().count("\n") - 1) if journal.exists() else 0


def stop_on_the_way(world: World, file: Path, number: signal.Signals) -> tuple[int, str]:
    """Stop an import after five more batches; return its exit code and standard error."""
    journal = file.with_name(file.name + ".progress.jsonl")
    before = batches(journal)
    with world.cli.running("import", str(file), *RATE) as process:
        eventually(lambda: batches(journal) >= before + 5, 30, "five batches")
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    return process.returncode, err


@pytest.mark.timeout(300)
def test_an_import_that_is_stopped_and_killed_makes_every_row_one_user(
    world: World, tmp_path: Path
) -> None:
    """Checked by users, outcomes, messages and events. Only rows in flight were sent twice."""
    file = written(tmp_path)
    code, said = stop_on_the_way(world, file, signal.SIGINT)
    assert code == 130
    assert f"of {ROWS} rows are sent; run the same command again" in said
    assert stop_on_the_way(world, file, signal.SIGKILL)[0] == -signal.SIGKILL
    done = world.cli.run("import", str(file), "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["rows"] == told["sent"] + told["sent_before"] == ROWS
    assert told["sent_before"] >= 100

    def owners() -> dict[str, str]:
        return world.system.load(addresses=set(addresses())).addresses

    try:
        eventually(lambda: len(owners()) == ROWS, LONGEST_WAIT, "a user for every row")
    except AssertionError as error:
        depth = world.system.queues.depth()
        error.add_note(f"{ROWS - len(owners())} rows have none; visible, in flight: {depth}")
        error.add_note("\n".join(world.worker.log.splitlines()[-20:]))
        raise
    users = set(owners().values())
    assert len(users) == ROWS
    outcomes = [each for user in users for each in world.system.repository.history(user)]
    assert len(outcomes) == ROWS
    assert {(each.status, each.version) for each in outcomes} == {(Status.ACCEPTED, 1)}
    world.system.quiet(40)
    mine = {each.command_id for each in outcomes}
    messages = Counter(
        line["outcome"] for line in decided(world.worker) if line["command_id"] in mine
    )
    assert messages["accepted"] == ROWS
    assert messages.keys() <= {"accepted", "duplicate"}
    assert messages["duplicate"] <= SENDER_THREADS * 10
    events = world.system.published(outcomes)
    assert len(events) == ROWS
    assert {event["correlationid"] for event in events} == {told["import_id"]}


def test_a_user_is_exported_by_address_and_by_id(world: World, tmp_path: Path) -> None:
    """Both exports are equal. The file is readable by its owner only and never overwritten."""
    sent = world.cli.run("send", "CreateUser", f"email={ADDRESS}", *NAMES, "--wait", "30", "--json")
    assert sent.code == 0, sent.err
    outcome = json.loads(sent.out)
    by_email = world.cli.run("export", ADDRESS)
    assert by_email.code == 0, by_email.err
    first = json.loads(by_email.out)
    assert first["user_id"] == outcome["user_id"]
    assert first["user"]["email"] == ADDRESS
    assert first["address"]["user_id"] == outcome["user_id"]
    assert [item["sk"] for item in first["outcomes"]] == [f"COMMAND#{outcome['command_id']}"]
    file = tmp_path / "export.json"
    words = ("export", outcome["user_id"], "--output", str(file))
    assert world.cli.run(*words).code == 0
    assert json.loads(file.read_text())["user"] == first["user"]
    assert file.stat().st_mode & 0o777 == 0o600
    again = world.cli.run(*words)
    assert again.code == 2
    assert "already exists" in again.err
    nobody = world.cli.run("export", "nobody@example.com")
    assert nobody.code == 1
    assert "no data of this user found" in nobody.err


def test_a_report_lists_the_rejected_rows(world: World, tmp_path: Path) -> None:
    """The report uses the outcomes that a worker has recorded."""
    taken = "taken@example.com"
    first = world.cli.run(
        "send", "CreateUser", f"email={taken}", "first_name=A", "last_name=B", "roles=customer",
        "--wait", "30",
    )  # fmt: skip
    assert first.code == 0, first.err
    people = [f"reported{number}@example.com" for number in range(25)]
    file, report = tmp_path / "people.csv", tmp_path / "report.csv"
    rows = "".join(f'{email}, "Ada" , Lovelace, customer\n' for email in [*people, taken])
    file.write_text(f"\ufeffemail,first_name,last_name,roles,actor\n{rows}")

    done = world.cli.run("import", str(file), "--report", str(report))

    assert done.code == 1, done.err
    assert "report: 25 accepted, 1 rejected" in done.err
    with report.open(newline="") as stream:
        found = {row["email"]: row for row in csv.DictReader(stream)}
    assert {found[email]["outcome"] for email in people} == {"accepted"}
    assert (found[taken]["line"], found[taken]["code"]) == ("27", "EmailTaken")
