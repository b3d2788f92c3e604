from __future__ import annotations

import io

import pytest
from rich.console import Console

from cli import output, progress
from cli.commands.import_ import SHOWN, ProblemPrinter
from cli.progress import LINE_EVERY, TerminalProgress
from operations.bulk_import.records import Problem


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal."""
    written = io.StringIO()
    monkeypatch.setattr(
        output,
        "stderr",
        lambda: Console(file=written, force_terminal=True, width=120, highlight=False),
    )
    return written


def test_a_terminal_has_a_bar(screen: io.StringIO) -> None:
    """The bar has the current and the total number, and is removed at the end."""
    with TerminalProgress().track("sent", 300, "rows") as advance:
        advance(100)
        advance(50)
    assert "150/300" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[2K")


def test_elsewhere_there_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log of a long import stays short."""
    now = 0.0
    monkeypatch.setattr(progress, "monotonic", lambda: now)
    with TerminalProgress().track("sent", 300, "rows") as advance:
        for _ in range(100):
            now += LINE_EVERY / 40
            advance(3)
    assert capsys.readouterr().err.splitlines() == [
        "sent: 120 of 300 rows",
        "sent: 240 of 300 rows",
    ]


def test_no_text_of_a_problem_steers_the_terminal(screen: io.StringIO) -> None:
    """A file's name may hold anything, and markup is text."""
    problems = ProblemPrinter("\x1b[31m[bold]x")
    for line in range(SHOWN + 1):
        problems(Problem(line, "[red]", "is \x07 wrong"))
    problems.end(None)
    shown = screen.getvalue()
    assert "\x1b[31m" not in shown.replace("\x1b[0m", "")
    assert "\x07" not in shown
    assert "[bold]x" in shown
    assert "[red]: is" in shown
    assert "and 1 more" in shown
