"""Command lines and files with any content, run in this process, without a network."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest import mock

import typer.main

from adapters.memory import MemoryStore, MemoryUserRepository
from application import messages
from cli import composition
from cli.app import run
from tests import canaries
from tests.fuzz.bodies import NAMES, SECRETIVE, any_body, canary_event, damaged_body
from tests.fuzz.choices import Choices
from tests.unit.application.messages.examples import EXAMPLES, OTHER_ID, PARSER, USER_ID, message
from worker.errors import ExitCode
from worker.settings import load_settings

_OPTIONS = ("--user", "--id", "--source", "--correlation-id", "--expected-version", "--group",
            "--queue", "--data", "--json", "--wait", "--expires-at", "--nothing")  # fmt: skip
_LOOKING = (("user",), ("user", "--history"), ("outcome",), ("outcome", "--json"), ("snd",))
_FILE: Final = Path(tempfile.gettempdir()) / "user-worker-fuzz"
_EXPECTED = frozenset(ExitCode) - {ExitCode.UNFORESEEN, ExitCode.INTERRUPTED}


_get_command = functools.cache(typer.main.get_command)
"""Caches the slow part of a command line, which is the same for all, like the parser."""


@dataclass
class _Sqs:
    """A queue that accepts everything that SQS would."""

    bodies: list[str] = field(default_factory=list)

    def send_message_batch(self, QueueUrl: str, Entries: list[Any]) -> dict[str, Any]:  # noqa: N803
        """Accept the entries."""
        json.dumps(Entries).encode()  # as the SDK would
        self.bodies += [entry["MessageBody"].encode().decode() for entry in Entries]
        return {"Successful": [{"Id": row["Id"], "MessageId": row["Id"]} for row in Entries]}


class _Aws:
    """Replaces AWS for a command line."""

    def __init__(self) -> None:
        self.settings = load_settings()
        self.sqs = _Sqs()
        self.repository = MemoryUserRepository(MemoryStore())

    def queue_url(self, _name: str) -> str:
        return "http://sqs/commands"


def command_line(data: bytes) -> None:
    """Any command line ends with an exit code of the table; what it sends is a valid command."""
    choices = Choices(data)
    kind = choices.below(4)
    if kind == 0:
        words = [*choices.one_of(_LOOKING), _word(choices)]
    elif kind == 1:
        words = ["send", *_words(choices)]
    else:
        _FILE.write_bytes(_content(choices))
        words = ["send", "--file", str(_FILE)]
        words += _options(choices) if choices.below(4) == 0 else []
    _run(words)


def _run(words: list[str]) -> None:
    aws, out, err = _Aws(), io.StringIO(), io.StringIO()
    with (
        mock.patch.object(composition, "aws", return_value=aws),
        mock.patch.object(messages, "MessageParser", return_value=PARSER),
        mock.patch.object(typer.main, "get_command", _get_command),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(b""))),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = run(words)
    assert code in _EXPECTED, (code, err.getvalue(), words)
    assert not canaries.credential_in(out.getvalue() + err.getvalue()), "a secret is shown"
    assert code == ExitCode.OK or err.getvalue()
    for body in aws.sqs.bodies:
        PARSER.parse({**message(body), "sent_at": time.time()})


def _word(choices: Choices) -> str:
    # An argument of a program cannot contain NUL.
    return choices.text().replace("\0", "") or choices.one_of((USER_ID, OTHER_ID, "a@example.com"))


def _words(choices: Choices) -> list[str]:
    name = choices.one_of((*NAMES, "RegisterUsr"))
    words = [name] if choices.below(16) else []
    fields = EXAMPLES.get(name, {})
    for key, value in fields.items():
        if choices.below(8):
            words.append(f"{key}={value if isinstance(value, str) else json.dumps(value)}")
        else:
            words.append(f"{key}={_word(choices)}")
    for _ in range(choices.below(3)):
        secretive = choices.one_of(SECRETIVE)
        words.append(choices.one_of((f"{secretive}={canaries.SECRET}", canaries.SECRET, "x=y")))
    return [*words, *_options(choices)]


def _options(choices: Choices) -> list[str]:
    words = []
    for _ in range(choices.below(4)):
        option = choices.one_of(_OPTIONS)
        words.append(option)
        if option == "--wait":
            words.append(choices.one_of(("0", "-1", "nan", "soon")))
        elif option == "--data":
            words.append(json.dumps(choices.json()).replace("\0", ""))
        elif option != "--json":
            words.append(_word(choices))
    return words


def _content(choices: Choices) -> bytes:
    match choices.below(5):
        case 0:
            return any_body(choices).encode("utf-8", "surrogateescape")
        case 1:
            return json.dumps(choices.json()).encode()
        case 2:
            return damaged_body(choices).encode("utf-8", "replace")
        case 3:
            item = {"type": choices.one_of(NAMES), choices.text(8): choices.json()}
            item["data"] = canary_event(item["type"])["data"] | {choices.text(8): choices.json()}
            return json.dumps([item, choices.json()][: 1 + choices.below(2)]).encode()
    events = [canary_event(choices.one_of(NAMES)) for _ in range(1 + choices.below(3))]
    events[0][choices.one_of(("x", "id", "actor", "source"))] = choices.text()
    return "\n".join(json.dumps(event) for event in events).encode()
