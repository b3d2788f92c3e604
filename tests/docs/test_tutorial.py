"""Following the tutorial literally works: its commands, its subscriber and its changed rule."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.changed_tree import changed_tree, run
from tests.docs.pages import ROOT, Block, blocks_of
from tests.e2e.account import talk_of
from tests.e2e.worker_process import eventually

PAGE = "docs/tutorial/first-event.md"
SHELL = [each for each in blocks_of(PAGE, (ROOT / PAGE).read_text()) if each.language == "sh"]
BIN = Path(sys.executable).parent
EXPORTED = re.compile(r"^ *export (AWS_ENDPOINT_URL=.*)$", re.MULTILINE)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.embedded,
    pytest.mark.slow,
    pytest.mark.timeout(120),
]


def block(number: int, start: str) -> Block:
    """Return the block of this number of those that start like this."""
    return [each for each in SHELL if each.text.startswith(start)][number]


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal in which the line of `make run` was pasted, and variables of the page are set."""

    environment: dict[str, str]
    variables: dict[str, str]

    def type(self, typed: Block, exit_code: int = 0) -> str:
        """Run a block as it is written; return what it prints."""
        assigned = re.findall(r"^(\w+)=", typed.text, re.MULTILINE)
        text = typed.text.replace(".venv/bin/", f"{BIN}/")
        text += "".join(f'\necho "{name}=${name}"' for name in assigned)
        done = subprocess.run(
            ["bash", "-c", text if exit_code else f"set -eu\n{text}"],
            cwd=ROOT,
            env={**self.environment, **self.variables, "COLUMNS": "200"},
            capture_output=True,
            check=False,
            text=True,
            timeout=40,
        )
        assert done.returncode == exit_code, done.stdout + done.stderr
        for name in assigned:
            (self.variables[name],) = re.findall(rf"^{name}=(.*)$", done.stdout, re.MULTILINE)
        return " ".join(done.stdout.split())


@contextlib.contextmanager
def started(command: list[str], folder: Path, output: Path, **environment: str) -> Iterator[None]:
    """Run a program in a folder until Ctrl-C; its output goes to a file."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    paths = f"{folder}:{folder / 'clients' / 'python'}"
    with output.open("wb") as out, talk_of(output).open("wb") as err:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=inherited | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"} | environment,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


@contextlib.contextmanager
def make_run(tree: Path, output: Path, variables: dict[str, str]) -> Iterator[Terminal]:
    """Run what `make run` runs, without the samples; yield a second terminal."""
    with started([sys.executable, "-m", "cli", "dev"], tree, output):

        def exported() -> str | None:
            found = EXPORTED.search(output.read_text() + talk_of(output).read_text())
            return None if found is None else found[1]

        line = eventually(exported, 40, "the line to export")
        assert line is not None
        aws = dict(each.split("=", 1) for each in line.split())
        inherited = {name: value for name, value in os.environ.items() if name[:4] != "AWS_"}
        yield Terminal(inherited | aws, variables)


def test_the_commands_and_the_subscriber_of_the_tutorial_work(tmp_path: Path) -> None:
    """Sections 2 and 3, and the old rule of section 4."""
    with make_run(ROOT, tmp_path / "dev", {}) as terminal:
        assert "CreateUser accepted UserCreated 1" in terminal.type(block(0, "user_id="))
        shown = terminal.type(block(0, ".venv/bin/user-worker user alan@"))
        assert "email alan@example.com" in shown
        second = terminal.type(block(0, ".venv/bin/user-worker send CreateUser email"), exit_code=1)
        assert "rejected EmailTaken" in second

        book = tmp_path / "book"
        program = [sys.executable, *block(0, ".venv/bin/python examples").text.split()[1:]]
        with started(program, ROOT, book, **aws_of(terminal)):
            eventually(lambda: queue_is_subscribed(terminal), 20, "two subscriptions")
            terminal.type(block(0, "grace_id="))
            grace = terminal.variables["grace_id"]
            wanted = f"{grace} grace@example.com\n{grace} has gone\n"
            eventually(lambda: book.read_text() == wanted, 20, "two lines of the address book")

        terms = terminal.type(block(0, ".venv/bin/user-worker send AcceptTerms"))
        assert terms.count("AcceptTerms accepted TermsAccepted") == 2


def aws_of(terminal: Terminal) -> dict[str, str]:
    """Return the variables of the exported line."""
    return {name: value for name, value in terminal.environment.items() if name[:4] == "AWS_"}


def queue_is_subscribed(terminal: Terminal) -> bool:
    """Return True if the subscriber's queue is subscribed to both topics."""
    listed = subprocess.run(
        [sys.executable, "-c", "import boto3; print(boto3.client('sns').list_subscriptions())"],
        env=terminal.environment,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return listed.count("user-events-to-address-book") == 2


def test_the_changed_rule_of_the_tutorial_works(tmp_path: Path) -> None:
    """Section 4: the new case passes with the new rule only, and the worker applies it."""
    tree = changed_tree(PAGE, tmp_path)
    case = ("pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/unit/domain")
    assert " passed" in run(tree, *case, "-k", "outdated")
    rule = (tree / "domain/user.py").read_text()
    (tree / "domain/user.py").write_text((ROOT / "domain/user.py").read_text())
    with pytest.raises(AssertionError, match="1 failed"):
        run(tree, *case, "-k", "outdated")
    (tree / "domain/user.py").write_text(rule)

    with make_run(tree, tmp_path / "dev", {"user_id": "6c0659a8-1188-49cc-a99d-c4ecead03e25"}) as (
        terminal
    ):
        typed = block(0, ".venv/bin/user-worker send CreateUser --user")
        assert typed.text.count("AcceptTerms") == 2
        outcomes = terminal.type(typed)
        assert outcomes.count("AcceptTerms accepted TermsAccepted") == 1
        assert "AcceptTerms accepted, no effect" in outcomes


def test_the_model_of_the_tutorial_agrees_with_its_rule(tmp_path: Path) -> None:
    """An older version has no effect in the model of the reliability tests either."""
    tree = changed_tree(PAGE, tmp_path)
    (tree / "compare.py").write_text(
        "from datetime import UTC, datetime\n"
        "from domain.commands import AcceptTerms\n"
        "from tests.reliability.person import Person, _accept\n"
        "person = Person.__new__(Person)\n"
        "person.terms = {'terms': '3'}\n"
        "now = datetime.now(UTC)\n"
        "assert _accept(person, AcceptTerms('terms', '2'), now) == []\n"
        "assert person.terms == {'terms': '3'}\n"
        "assert _accept(person, AcceptTerms('terms', '4'), now) == ['TermsAccepted']\n"
    )
    run(tree, "compare")
