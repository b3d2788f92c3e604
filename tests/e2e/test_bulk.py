"""Import and export with the real programs: stopped, killed, resumed, checked by their effect."""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest

from application.repository import Status
from biome_users import LoginReader
from domain import commands as c
from domain.values import TokenHash
from operations.bulk_import.dispatch import SENDER_THREADS
from tests.builders import PASSWORD, start_session, token
from tests.e2e.command_line import ROOT, CommandLine
from tests.e2e.system import THREADS, System, decided, message
from tests.e2e.worker_process import WorkerProcess, eventually

pytestmark = [pytest.mark.embedded, pytest.mark.xdist_group("bulk")]

ROWS = 300
ADDRESS = "export@example.com"
TOKEN_KEY = "the key of the mailer; it is long enough"
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


def reported(file: Path) -> tuple[str, str]:
    """Return the option for the report of a file."""
    return "--report", str(file.with_suffix(".report.csv"))


def stop_on_the_way(world: World, file: Path, number: signal.Signals) -> tuple[int, str]:
    """Stop an import after five more batches; return its exit code and standard error."""
    journal = file.with_name(file.name + ".progress.jsonl")
    before = batches(journal)
    with world.cli.running("import", str(file), *RATE, *reported(file)) as process:
        eventually(lambda: batches(journal) >= before + 5, 30, "five batches")
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    return process.returncode, err


@pytest.mark.timeout(300)
def test_an_import_that_is_stopped_and_killed_makes_every_row_one_user(
    world: World, tmp_path: Path
) -> None:
    """Checked by users, outcomes, messages, events and the report of the last run.

    Only rows in flight were sent twice.
    """
    file = written(tmp_path)
    code, said = stop_on_the_way(world, file, signal.SIGINT)
    assert code == 130
    assert f"of {ROWS} rows are sent; run the same command again" in said
    assert not Path(reported(file)[1]).exists()
    assert stop_on_the_way(world, file, signal.SIGKILL)[0] == -signal.SIGKILL
    done = world.cli.run("import", str(file), "--json", *reported(file))
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
    with Path(reported(file)[1]).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["row"]) for row in rows] == list(range(1, ROWS + 1))
    assert {row["outcome"] for row in rows} == {"accepted"}
    assert {row["user_id"] for row in rows} == users
    assert [path.name for path in tmp_path.glob("*.partial")] == []
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
    """The report uses the outcomes that a worker has recorded, and has no address."""
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
        *found, last = csv.DictReader(stream)
    assert [row["outcome"] for row in found] == ["accepted"] * 25
    owners = world.system.load(addresses=set(people)).addresses
    assert [row["user_id"] for row in found] == [owners[email] for email in people]
    assert (last["row"], last["line"], last["code"]) == ("26", "27", "EmailTaken")


# --- users of another system ---

BCRYPT = "$2a$10$WvvTPHKwdBJ3uk0Z37EMR.hLA2W6N9AEBhEgrAOljy2Ae5MtaSIUi"
"""The hash of "abc", from the tests of jBCrypt."""
OPTIONS = (
    "--encoding", "cp1252", "--split-name", "Name", "--map", "Passwort=password_hash",
    "--map", "Rollen=roles", "--ignore-column", "Notiz",
)  # fmt: skip
CREATED = datetime(2017, 5, 4, 3, 2, 1, tzinfo=UTC)


def dynamodb(world: World) -> Any:
    """Return a client of the world's table."""
    return boto3.client("dynamodb", endpoint_url=world.system.endpoint)


def django_hash(password: str) -> str:
    """Return a hash as Django stores it."""
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), b"somesalt", 100_000)
    return f"pbkdf2_sha256$100000$somesalt${base64.b64encode(digest).decode()}"


def is_password(password: str, stored: str | None) -> bool:
    """Check a password against a hash of Django, as a login service does."""
    assert stored is not None
    _, iterations, salt, expected = stored.split("$")
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), int(iterations))
    return hmac.compare_digest(base64.b64encode(digest).decode(), expected)


def exported(folder: Path) -> Path:
    """Write a file as a spreadsheet of another system exports it, with one row that is invalid."""
    file = folder / "export.csv"
    lines = [
        "E-Mail;Name;Passwort;Rollen;E-Mail verified;Created at;Notiz",
        f"jose@imported.example;José María Núñez;{BCRYPT};customer;yes;{CREATED.isoformat()};€",
        f"zoe@imported.example;Zoë;{django_hash('abc')};customer|admin;no;1493866921000;",
        f"weak@imported.example;Weak Hash;$2b$04${'a' * 53};customer;;;",
        "none@imported.example;No Password;;customer;;;",
        f"jose@imported.example;José Again;{BCRYPT};customer;;;",
    ]
    file.write_bytes("".join(f"{line}\r\n" for line in lines).encode("cp1252"))
    return file


def test_an_export_of_another_system_is_imported_and_its_users_log_in(
    world: World, tmp_path: Path
) -> None:
    """The report is what is stored; a second run sends nothing and writes the same report."""
    file, report = exported(tmp_path), tmp_path / "report.csv"
    words = ("import", str(file), *OPTIONS, "--skip-bad", "--report", str(report))
    done = world.cli.run(*words)

    assert done.code == 0, done.err
    assert "line 4: password_hash: bcrypt needs a cost from 10 to 16" in done.err
    assert "report: 3 accepted, 1 not sent, 1 duplicate" in done.err
    with report.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["row"], row["outcome"]) for row in rows] == [
        ("1", "accepted"), ("2", "accepted"), ("3", "not sent"), ("4", "accepted"),
        ("5", "duplicate"),
    ]  # fmt: skip
    assert "example" not in report.read_text()
    for row in rows:
        if row["outcome"] == "accepted":
            (outcome,) = world.system.repository.history(row["user_id"])
            assert (outcome.command_id, outcome.status) == (row["command_id"], Status.ACCEPTED)
    jose, zoe, none = (world.system.user(rows[place]["user_id"]) for place in (0, 1, 3))
    assert (jose.first_name, jose.last_name) == ("José María", "Núñez")
    assert (jose.password_hash, jose.password_hash_legacy) == (BCRYPT, True)
    assert (jose.email_verified, jose.roles) == (True, ("customer",))
    assert jose.created_at == zoe.created_at == CREATED
    assert jose.updated_at > CREATED + timedelta(days=3000)
    assert (zoe.first_name, zoe.last_name, zoe.email_verified) == ("Zoë", "", False)
    assert zoe.roles == ("customer", "admin")
    assert (none.password_hash, none.password_hash_legacy) == (None, False)
    (event,) = world.system.published(world.system.repository.history(jose.user_id))
    assert event["data"]["email_verified"] is True

    view = LoginReader(world.system.names.table, client=dynamodb(world)).by_email(
        "zoe@imported.example"
    )
    assert view is not None
    assert view.password_hash_legacy
    assert is_password("abc", view.password_hash)
    login = message(
        start_session(
            str(uuid4()), token("r"), datetime.now(UTC) + timedelta(days=1), view.credential_version
        ),
        zoe.user_id,
    )
    (outcome,) = world.system.do(login)
    assert outcome.status == Status.ACCEPTED

    before = report.read_text()
    again = world.cli.run(*words)
    assert again.code == 0, again.err
    assert "0 rows sent" in again.out
    assert report.read_text() == before


def test_resets_are_started_in_bulk_from_a_report(world: World, tmp_path: Path) -> None:
    """As docs/how-to/bulk.md describes.

    The mailer derives the tokens, and one of them sets a password.
    """
    people, report = tmp_path / "people.csv", tmp_path / "report.csv"
    lines = [f"reset{number}@imported.example,Ada,customer\n" for number in range(25)]
    people.write_text("email,first_name,roles\n" + "".join([*lines, lines[0]]))
    words = ("import", str(people), "--skip-bad", "--report", str(report))
    assert world.cli.run(*words).code == 0
    script = [sys.executable, "examples/bulk_resets.py", str(report)]
    key = {**os.environ, "TOKEN_KEY": TOKEN_KEY}
    made = subprocess.run(script, cwd=ROOT, env=key, capture_output=True, text=True, check=True)
    assert made.stderr == "25 resets\n"
    resets, outcomes = tmp_path / "resets.csv", tmp_path / "resets-report.csv"
    resets.write_text(made.stdout)
    done = world.cli.run(
        "import", str(resets), "--command", "RequestPasswordReset", "--rate", "100",
        "--report", str(outcomes),
    )  # fmt: skip

    assert done.code == 0, done.err
    assert "report: 25 accepted" in done.err
    with report.open(newline="") as first, outcomes.open(newline="") as second:
        users = {row["user_id"] for row in csv.DictReader(first) if row["user_id"]}
        assert len(users) == 25
        assert users == {row["user_id"] for row in csv.DictReader(second)}
    user_id = min(users)
    history = world.system.repository.history(user_id)
    events = world.system.published(history)
    (asked,) = [each for each in events if each["type"].endswith("PasswordResetRequested.v1")]
    derived = f"reset\n{asked['data']['token_id']}".encode()
    mailed = hmac.new(TOKEN_KEY.encode(), derived, "sha256").hexdigest()
    reset = c.ResetPassword(TokenHash.parse(hashlib.sha256(mailed.encode()).hexdigest()), PASSWORD)
    (outcome,) = world.system.do(message(reset, user_id))
    assert outcome.status == Status.ACCEPTED
    assert mailed not in made.stdout


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (None, TOKEN_KEY),
        ("a,b\n1,2\n", TOKEN_KEY),
        ("\udcff".encode(errors="surrogateescape"), TOKEN_KEY),
        ("row\n", ""),
        ("outcome,user_id\n", "short"),
        ("", TOKEN_KEY),
        ("outcome\n", TOKEN_KEY),
    ],
)
def test_an_invalid_report_or_a_missing_key_ends_with_one_error_line(
    tmp_path: Path, content: str | bytes | None, key: str
) -> None:
    """Without the key the mailer could not derive the tokens."""
    report = tmp_path / "report.csv"
    if content is not None:
        report.write_bytes(content if isinstance(content, bytes) else content.encode())
    script = [sys.executable, "examples/bulk_resets.py", str(report)]
    environment = {**os.environ, "TOKEN_KEY": key}
    done = subprocess.run(
        script, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(("error: ", "usage: "))


def test_a_dead_letter_is_reported_with_its_reason(world: World, tmp_path: Path) -> None:
    """A worker without the role dead-letters the command, although the check accepted it."""
    file, report = tmp_path / "people.csv", tmp_path / "report.csv"
    file.write_text("email,first_name,roles\nlate@imported.example,Ada,auditor\n")
    done = world.cli.run(
        "import", str(file), "--report", str(report), "--wait", "6",
        USER_WORKER_ROLES="customer,auditor",
    )  # fmt: skip
    assert done.code == 1, done.err
    assert "report: 1 failed" in done.err
    with report.open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["outcome"], row["code"]) == ("failed", "InvalidField")
    assert row["detail"].startswith("data.roles[0]: must be one of")
