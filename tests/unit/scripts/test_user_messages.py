"""`make messages` lists the texts that users can read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.user_messages import FOLDERS, ROOT, Message, messages

SOURCE = '''"""A module."""
PROBLEM = "the table does not exist"


@app.command(epilog="Exit codes: 0 success.")
def send(wait: Annotated[int, Option(help="Seconds.")]) -> None:
    """Send a command."""
    logger.warning("store_unavailable", reason="no answer")
    console.print(f"sent {count} commands to {queue}")
    yield fail("clock", "is behind AWS", "correct the clock")
    raise UsageError(f"{file} is empty", "choose another")


def not_shown(rule: Text = TIME.of("When the ban ends.", "2026-12-24")) -> None:
    """Return nothing."""
    read("name")
'''


def test_each_kind_of_message_is_found_with_its_line() -> None:
    """Docstrings that are not help, and single words, are left out."""
    found = messages(SOURCE)
    assert [message.line for message in found] == sorted(message.line for message in found)
    assert set(found) == {
        Message(2, "text", "the table does not exist"),
        Message(5, "help", "Exit codes: 0 success."),
        Message(6, "help", "Seconds."),
        Message(6, "help", "Send a command."),
        Message(8, "log", "store_unavailable"),
        Message(8, "log", "no answer"),
        Message(9, "output", "sent {count} commands to {queue}"),
        Message(10, "finding", "is behind AWS"),
        Message(10, "finding", "correct the clock"),
        Message(11, "error", "{file} is empty"),
        Message(11, "error", "choose another"),
        Message(14, "description", "When the ban ends."),
    }


@pytest.mark.parametrize(
    ("path", "kind", "text"),
    [
        ("cli/commands/outcome.py", "help", "Id of the command."),
        ("cli/commands/outcome.py", "error", "outcome not found"),
        ("operations/doctor/reach.py", "finding", "SQS accepts the credentials"),
        ("application/relay.py", "log", "relay_failed"),
        ("domain/commands.py", "description", "When the token or the session expires."),
        ("worker/cli_errors.py", "text", "the AWS credentials have expired"),
    ],
)
def test_a_known_message_is_found_in_the_product(path: str, kind: str, text: str) -> None:
    """The kinds cover what this project calls."""
    found = {(each.kind, each.text) for each in messages((ROOT / path).read_text())}
    assert (kind, text) in found


def test_a_value_that_is_formatted_is_named() -> None:
    """The reader sees which value stands there."""
    (found,) = messages('error = CliError(f"no {what:>5} in {place()}")')
    assert found.text == "no {what} in {place()}"


def test_the_list_is_sorted_by_file_and_names_the_place() -> None:
    """Only the given folders are read."""
    command = [sys.executable, "-m", "scripts.user_messages", "worker", "cli"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    files = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert files == sorted(files)
    assert {Path(file).parts[0] for file in files} == {"cli", "worker"}
    assert {"cli", "worker"} <= set(FOLDERS)
