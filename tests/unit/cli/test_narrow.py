"""No output loses or breaks a word on a narrow terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from rich.text import Text

from adapters.sns.subscription import OUTCOMES, temporary_subscription
from application.ports import CommandKey
from application.repository import UserChange
from cli import composition
from cli.app import run
from cli.demo.samples import Sample
from cli.demo.stream import SampleStream, Sent
from cli.layout import Labelled, Rows
from cli.output import pairs, stdout
from cli.rendering import print_event
from domain.errors import RejectionCode
from operations.doctor import machine
from operations.received_event import ReceivedEvent
from tests.builders import NOW, uid
from tests.persistence import Store, committed, must_commit, outcome
from tests.unit.cli.dlq_world import command, mocked
from worker.errors import ExitCode

PERMISSIONS = Path(__file__).parents[3] / "deploy" / "permissions.toml"
WIDTHS = (40, 60, 80)
LINES = (
    "status",
    "doctor",
    "provision",
    f"user {uid('ada')} --history",
    f"outcome {uid('by support')} --user {uid('ada')}",
    "dlq list",
    "dlq list --each",
    f"dlq show {uid('command of a letter')}",
    "dlq redrive --dry-run",
    "dlq purge --dry-run",
    "outbox list",
    "leftovers --older-than 0s",
    "migrate --dry-run",
    f"permissions check {PERMISSIONS}",
    "replay --samples --dry-run --queue user-commands",
    "import users.csv --dry-run",
    "import users.csv --skip-bad --report report.csv --wait 0",
)
"""Every command that prints a table, pairs, or a line for each of many things."""
PLAIN = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\S*[^\W\d]{2}\S*")
"""Words and ids; ages and other numbers may differ between two runs."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An AWS in this process that has something of each kind."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "users.csv").write_text(
        "email,first_name,last_name,roles\na@b.example,A,B,admin\nc,C,D,admin\n"
    )
    with pytest.MonkeyPatch.context() as patch, mocked():
        patch.chdir(folder)
        patch.setattr(machine, "ports", lambda _: iter(()))
        patch.setattr(machine, "files", lambda: iter(()))
        patch.setenv("USER_WORKER_ADDITIONAL_QUEUES", "user-commands-back-office")
        assert run(["provision"]) == ExitCode.OK
        aws = composition.aws()
        _fill(Store(aws.repository, aws.outbox))
        body = command().replace('"id": "', '"id": "' + uid("command of a letter") + '", "x": "')
        reason = {"error_code": "InvalidField", "error_detail": "data.first_name: is too long"}
        aws.sqs.send_message(
            QueueUrl=aws.dead_letter_queue_url,
            MessageBody=body,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in {**reason, "original_queue": "user-commands"}.items()
            },
        )
        with temporary_subscription(aws.sqs, aws.sns, aws.topic_arn, OUTCOMES):
            yield


def _fill(store: Store) -> None:
    committed(store, "ada")
    by_support = replace(
        outcome("by support", "ada", code=RejectionCode.TWO_FACTOR_ALREADY_ENABLED),
        command_type="biome.user.RequestEmailVerification.v1",
        source="/back-office/customer-care",
        actor="support/7",
        recorded_at=NOW + timedelta(seconds=9),
    )
    must_commit(store, UserChange(uid("ada"), (by_support,)))


@pytest.fixture
def printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[int, Callable[[], object]], str]:
    """A function that returns what an action prints on a terminal of some columns."""

    def on(columns: int, action: Callable[[], object]) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        capsys.readouterr()
        action()
        captured = capsys.readouterr()
        return captured.out + captured.err

    return on


def words(text: str) -> list[str]:
    """Return the words, ids and other tokens of an output, without the marks of a list."""
    spaced = re.sub(r"(\d{4}-\d\d-\d\d)T", r"\1 ", text)  # a time may be in two lines
    return [word.strip(":,;()") for word in PLAIN.findall(spaced)]


def assert_nothing_is_cut(wide: str, narrow: str, width: int) -> None:
    """Fail if a word of the wide output is missing, or a line is too long or ends in a word."""
    assert set(words(wide)) <= set(words(narrow)), narrow
    shown = narrow.partition("\nbody\n")[0]  # a body is printed as it is, to be copied
    for line in shown.splitlines():
        assert len(line) <= width or len(line.split()) == 1, line


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "line", LINES, ids=[re.sub(r"[0-9a-f-]{36}|/\S*/", "", line) for line in LINES]
)
def test_each_command_shows_every_word_and_id_uncut(
    line: str, width: int, printed: Callable[[int, Callable[[], object]], str]
) -> None:
    """Ids are copied from the output into the next command."""
    wide, narrow = (printed(columns, lambda: run(line.split())) for columns in (400, width))
    assert len(words(wide)) >= 3, wide
    assert_nothing_is_cut(wide, narrow, width)


@pytest.mark.usefixtures("world")
def test_the_history_has_time_source_actor_and_id_at_80_columns(
    printed: Callable[[int, Callable[[], object]], str],
) -> None:
    """What support is asked first: when, and by whom."""
    shown = printed(80, lambda: run(["user", uid("ada"), "--history"]))
    history = shown.partition("\n\n")[2]
    for text in ("2026-11-22", "10:00:09.000Z", "/back-office/customer-care", "support/7"):
        assert text in history
    assert uid("by support") in history


@pytest.mark.parametrize("width", WIDTHS)
def test_the_results_of_samples_are_uncut(
    width: int, printed: Callable[[int, Callable[[], object]], str]
) -> None:
    """This is what `make run` shows first."""
    key = CommandKey(uid("ada"), uid("command"))
    sample = Sample("RequestEmailVerification", "Ada verifies her address", key, "{}", "accepted")
    detail = "data.password_hash: must be an argon2id hash in PHC form ($argon2id$v=19$...)"
    stream = SampleStream(None, lambda _: ())  # type: ignore[arg-type]  # nothing is sent
    stream.sent = [
        Sent(sample, "m1", 1.0, "accepted", "RefreshTokenReuseDetected\nSessionEnded", 1.2),
        Sent(sample, "m2", 1.0, "dead letter InvalidField", detail, 9.4),
    ]
    wide, narrow = (printed(columns, stream._print_results) for columns in (400, width))
    assert_nothing_is_cut(wide.replace(" sample ", " "), narrow, width)  # below the command


@pytest.mark.parametrize("width", WIDTHS)
def test_the_data_of_an_event_are_uncut(
    width: int, printed: Callable[[int, Callable[[], object]], str]
) -> None:
    """Only ids are shortened, to their beginnings."""
    body = (
        f'{{"specversion": "1.0", "id": "{uuid4()}", "type": "biome.user.UserRegistered.v1", '
        f'"subject": "{uid("ada")}", "time": "2026-11-22T10:00:00.123Z", "data": '
        '{"email": "ada.lovelace@example.com", "first_name": "Ada", "last_name": "Lovelace"}}'
    )
    event = ReceivedEvent.parse(body, 1.0)
    wide, narrow = (printed(columns, lambda: print_event(event)) for columns in (169, width))
    assert "last_name=Lovelace" in narrow
    assert_nothing_is_cut(wide, narrow, width)


# --- layouts ---


def layout(printed: Any, width: int, what: object) -> list[str]:
    """Return the lines of something printed."""
    lines: list[str] = printed(width, lambda: stdout().print(what)).splitlines()
    return lines


@pytest.fixture
def letters() -> Rows:
    """A table of 37 columns, if no cell is wrapped."""
    rows = Rows(("reason", "command", "letters"), right=frozenset({"letters"}))
    rows.add("Unavailable", "RegisterUser", "812")
    rows.add(Text("at last", style="red"), "BanUser", "2", note="seen before")
    return rows


def test_a_table_that_fits_is_a_table(printed: Any, letters: Rows) -> None:
    """Columns are aligned, also where a cell is styled."""
    assert layout(printed, 34, letters) == [
        "reason       command       letters",
        "Unavailable  RegisterUser      812",
        "at last      BanUser             2",
        "  seen before",
    ]


def test_a_table_that_does_not_fit_is_stacked(printed: Any, letters: Rows) -> None:
    """Each row is a block of names and values."""
    assert layout(printed, 33, letters) == [
        "reason: Unavailable",
        "command: RegisterUser",
        "letters: 812",
        "",
        "reason: at last",
        "command: BanUser",
        "letters: 2",
        "seen before",
    ]


def test_an_id_that_does_not_fit_beside_its_name_is_below(printed: Any) -> None:
    """At 40 columns an id of 36 fits alone."""
    assert layout(printed, 40, pairs({"command id": uid("command")})) == [
        "command id:",
        f"  {uid('command')}",
    ]


def test_a_word_longer_than_the_terminal_stays_whole(printed: Any) -> None:
    """The terminal may break it, and copying it gives it back."""
    name = f"arn:aws:sqs:us-east-1:000000000000:{uid('queue')}"
    assert name in layout(printed, 40, pairs({"queue": f"is {name} now"}))[1]
    assert f"  {name}" in layout(printed, 40, Labelled(Text("fail  queue "), Text(f"at {name}")))


def test_in_a_pipe_no_line_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter such as grep needs one line for each thing."""
    monkeypatch.delenv("COLUMNS", raising=False)
    long = "word " * 100
    stdout().print(Labelled(Text("label "), Text(long)))
    stdout().print(pairs({"name": long}))
    assert len(capsys.readouterr().out.splitlines()) == 2
