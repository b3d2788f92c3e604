"""Parse lines of shell into commands, without the syntax of the shell."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Final

_WORDS = """
    ! do done elif else env exec fi if then time until while { }
"""
_KEYWORDS: Final = frozenset(_WORDS.split())
_SEPARATOR = re.compile(r"^[;&|()]+$")
_REDIRECTION = re.compile(r"^\d*[<>]+$")
_ASSIGNMENT = re.compile(r"^\w+=")
_HEREDOC = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")


class CommandError(Exception):
    """A command is invalid; the text says why."""


def syntax(text: str) -> None:
    """Check the syntax by bash, without running it.

    Raises:
        CommandError: The syntax is invalid, or a placeholder looks like a redirection.
    """
    placeholder = re.search(r"<[a-z]+(?: [a-z]+)*>", text)
    if placeholder:
        raise CommandError(f"{placeholder[0]} is a redirection to a shell: write a variable")
    done = subprocess.run(
        ["bash", "-n"], input=text, capture_output=True, check=False, text=True, timeout=10
    )
    if done.returncode:
        raise CommandError(done.stderr.strip())


def commands(text: str) -> Iterator[list[str]]:
    """Yield the commands in the text, also those within `$(...)`, without shell syntax."""
    for line in logical_lines(text):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        for word in words:
            for inner in re.findall(r"\$\(([^()]*)\)", word):
                yield from commands(inner)
        yield from _simple(words)


def logical_lines(text: str) -> Iterator[str]:
    """Yield the lines; join those that a backslash or a quotation continues."""
    pending, ends = "", None
    for line in text.replace("\\\n", " ").splitlines():
        if ends is not None:  # within a here-document
            ends = None if line.strip() == ends else ends
            continue
        pending += line
        try:
            shlex.split(pending, comments=True)
        except ValueError:
            pending += "\n"
            continue
        heredoc = _HEREDOC.search(pending)
        ends = heredoc[1] if heredoc else None
        yield _HEREDOC.sub("", pending)
        pending = ""


def _simple(words: list[str]) -> Iterator[list[str]]:
    """Split at separators; drop redirections, assignments and keywords."""
    command: list[str] = []
    skip = False
    for word in [*words, ";"]:
        if skip:
            skip = False
        elif _SEPARATOR.match(word):
            if command and command[0] not in {"for", "case"}:
                yield command
            command = []
        elif _REDIRECTION.match(word):
            skip = True
        elif command or not (_ASSIGNMENT.match(word) or word in _KEYWORDS or word == "$"):
            command.append(word)
