"""The help has examples, fits a terminal of 80 columns, and the shell can complete words."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
import typer
from typer.core import TyperOption
from typer.main import get_command

from cli.app import run
from cli.commands import app
from cli.commands.base import EXIT_CODES
from cli.commands.events import categories
from cli.commands.send import command_names
from worker.errors import ExitCode

NAMES = list(get_command(app).commands)  # type: ignore[attr-defined]  # a group
WIDTH = 80
PROGRAM = [sys.executable, "-m", "cli"]
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]")


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a terminal of the smallest usual width."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))


def helped(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """Return the lines of a help text."""
    assert run([*words, "--help"]) == ExitCode.OK
    return capsys.readouterr().out.splitlines()


def test_each_command_has_a_line_in_the_help_and_a_panel(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The help is an overview by task."""
    lines = helped(capsys)
    for name in NAMES:
        (place,) = [at for at, line in enumerate(lines) if re.match(rf"│ {name} +\S", line)]
        assert re.match(r"│ \S|╰", lines[place + 1]), f"{name}: its line is too long"
    titles = [line for line in lines if line.startswith("╭─ ")]
    assert [t.split(" ─")[0][3:] for t in titles][:3] == ["Options", "Run", "Send and inspect"]
    assert not any(title.startswith("╭─ Commands") for title in titles)


@pytest.mark.parametrize("name", NAMES)
def test_each_help_fits_and_shows_how(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It has an example and the exit codes, and no line of its text is wrapped."""
    lines = helped(capsys, name)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= WIDTH
    assert "Examples" in text
    assert f"user-worker {name}" in text.partition("Examples")[2]
    assert "xit code" in text
    command = get_command(app).commands[name]  # type: ignore[attr-defined]  # a group
    for line in (command.help or "").replace("\b", "").splitlines():
        plain = re.sub(r"\[/?bold\]", "", line)
        assert len(plain) <= WIDTH - 2, f"wraps: {plain}"


def _tree(command: Any, *words: str) -> Iterator[tuple[Any, tuple[str, ...]]]:
    yield command, words
    for name, each in getattr(command, "commands", {}).items():
        yield from _tree(each, *words, name)


TREE = list(_tree(get_command(app)))
"""Each command and group, with the words that are typed for it."""


@pytest.mark.parametrize("words", [words for _, words in TREE], ids=" ".join)
def test_no_help_of_the_tree_shows_types_of_python(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A flag has no value, and a value is named by what to type; nothing is cut at 80 columns."""
    lines = helped(capsys, *words)
    shown = "\n".join(lines)
    assert max(map(len, lines)) <= WIDTH
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    assert not re.findall(r"<[\w|. \[\]]+>|list\[|\| None|\b(?:bool|float|int|str)\b", shown)


@pytest.mark.parametrize(("command", "words"), TREE, ids=[" ".join(words) for _, words in TREE])
def test_every_value_of_an_option_has_a_name(command: Any, words: tuple[str, ...]) -> None:
    """Without one, the help would not say that a value follows."""
    context = typer.Context(command, info_name=" ".join(words))
    for each in command.get_params(context):
        if isinstance(each, TyperOption) and not each.is_flag:
            assert each.display_type_rich(context), each.opts


def test_the_exit_codes_of_the_help_are_those_there_are() -> None:
    """They are the codes that a script must distinguish; the page has the rest."""
    listed = [int(code) for code in re.findall(r"(?<=[\s;])(\d) ", EXIT_CODES)]
    assert listed == [code for code in ExitCode if code < ExitCode.UNFORESEEN]


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """It needs neither a command nor a setting."""
    assert run(["--version"]) == ExitCode.OK
    assert capsys.readouterr().out.startswith(f"user-worker {version('user-worker')} (Python 3.")


# --- completion ---


def completed(words: str) -> list[str]:
    """Return what bash offers when Tab is pressed after these words."""
    environment = {
        **os.environ,
        "_USER_WORKER_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "USER_WORKER_ENV": "mistyped",  # must not matter
    }
    done = subprocess.run(PROGRAM, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split()


def test_the_shell_completes_commands_options_and_the_names_of_user_commands() -> None:
    """This works with wrong settings too, and without AWS."""
    assert completed("user-worker ") == NAMES
    assert completed("user-worker send Regi") == ["RegisterUser"]
    assert completed("user-worker run --po") == ["--pool"]


def test_what_is_offered_does_not_depend_on_the_case() -> None:
    """A user who does not know the spelling needs completion most."""
    assert command_names("regi") == ["RegisterUser"]
    assert len(command_names("")) > 20
    assert categories("pr") == ["privacy", "profile"]


def test_bash_takes_the_script_that_is_shown() -> None:
    """`source <(user-worker --show-completion bash)` defines the completion."""
    script = subprocess.run(
        PROGRAM,
        env={**os.environ, "_USER_WORKER_COMPLETE": "source_bash"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\ncomplete -p user-worker"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "user-worker" in done.stdout


# --- colours ---


def on_a_terminal(**variables: str) -> str:
    """Return what is written to a terminal."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", **variables}
    with subprocess.Popen([*PROGRAM, "--help"], stdout=follower, env=environment) as process:
        os.close(follower)
        text = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # the other end is closed, on Linux
                break
            if not part:
                break
            text += part
        assert process.wait(30) == 0
    os.close(leader)
    return text.decode()


def test_colours_are_for_terminals_and_for_those_who_want_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There are none in a pipe or with NO_COLOR (no-color.org)."""
    for name in ("NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
        monkeypatch.delenv(name, raising=False)
    assert COLOUR.search(on_a_terminal())
    assert not COLOUR.search(on_a_terminal(NO_COLOR="1"))
    assert "\x1b" not in "".join(helped(capsys))
