"""Check a block of code against what its mark says."""

from __future__ import annotations

import ast
import csv
import dataclasses
import inspect
import io
import json
import mimetypes
import re
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

import biome_users
from application.disposition import ReceivedMessage
from application.messages import MessageParser
from application.permissions_file import parse_permissions
from cli.demo.samples import sample_stages
from cli.rendering import event_line
from domain.events import EVENTS
from operations.received_event import ReceivedEvent
from tests.docs.pages import ROOT, Addition, Block
from tests.docs.programs import OURS, check_all, operations
from tests.docs.python import World
from tests.docs.shell import syntax
from worker.settings import Settings

_FILE = re.compile(r"^[\w.-]+(?:/[\w.-]+)+/?$")
_CALL = re.compile(r"^(\w+)\(.*\)$")
GENERATED = {"build", "dist", "node_modules", "user_worker.egg-info"}
SHELLS = ("sh", "bash", "shell")
UNCLASSIFIED = (
    "is held to nothing: name its language, or say on the line before it what it is "
    "(`<!-- output of COMMAND -->`, ...: the ways are in tests/docs/pages.py)"
)


class UnclassifiedError(Exception):
    """A block has no check."""


def check(block: Block, folder: Path, world: World) -> None:
    """Check a block against what its mark says.

    Raises:
        UnclassifiedError: It has no mark.
    """
    kind, _, what = block.mark.partition(" ")
    if "/" in kind or (ROOT / kind).is_file():
        assert block.text == (ROOT / kind).read_text(), f"not {kind} as it stands"
    elif block.mark.startswith("part of "):
        part(block.text, (ROOT / what.removeprefix("of ")).read_text())
    elif block.mark.startswith("output of "):
        output(block, what.removeprefix("of ").strip("`"), folder)
    elif kind == "layout":
        layout(block.text)
    elif kind == "drawing":
        assert not re.search(r"^(make|user-worker|aws) ", block.text, re.MULTILINE)
    elif (addition := Addition.of(block)) is not None:
        added(addition, block, world)
    elif block.language == "python":
        world.check(block)
    elif block.language in SHELLS:
        syntax(block.text)
        assert check_all(block.text, folder), "no command in it"
    elif block.language in DATA:
        DATA[block.language](block.text)
    else:
        raise UnclassifiedError(f"{block.where} {UNCLASSIFIED}")


# --- files and what is printed -------------------------------------------------------------


def part(text: str, whole: str) -> None:
    """Check that a file contains these lines in sequence, at any indentation."""
    wanted = [line.strip() for line in text.strip().splitlines()]
    lines = [line.strip() for line in whole.splitlines()]
    starts = range(len(lines) - len(wanted) + 1)
    assert any(lines[at : at + len(wanted)] == wanted for at in starts), "not in that file"


def added(addition: Addition, block: Block, world: World) -> None:
    """Check that the place of added lines exists, and that Python fits there."""
    addition.apply((ROOT / addition.file).read_text(), block.text)
    if block.language == "python":
        world.check(block)


def output(block: Block, command: str, folder: Path) -> None:
    """Check that the command exists and, for `make run`, that its samples are as shown."""
    assert block.text.strip()
    assert check_all(command, folder, whole=False), "no command"
    if command == "make run":
        events_shown(block.text)
        samples_shown(block.text)


def events_shown(text: str) -> None:
    """Check that events are shown as they are printed, with fields in order."""
    for name, told in re.findall(r"<- (\w+) .*?  (\w+=.*)$", text, re.MULTILINE):
        values = dict(each.split("=", 1) for each in told.split())
        if "command" in values:
            values["command_type"] = f"biome.user.{values.pop('command')}.v1"
        body = {"type": f"biome.user.{name}.v1", "data": values}
        line = event_line(ReceivedEvent.parse(json.dumps(body), 0.0), wide=True).plain
        assert line.endswith(f"  {told}"), line


def samples_shown(text: str) -> None:
    """Check that the samples of `make run` and their outcomes are as shown."""
    known = {(each.name, each.about, each.expected) for stage in sample_stages() for each in stage}
    shown = text.partition("\ncommand  ")[2].splitlines()[1:]
    assert shown
    for line in shown:
        assert tuple(re.split(r"\s{2,}", line)[:3]) in known, line


def layout(text: str) -> None:
    """Check that all files and folders of the tree exist, and that it has every top folder."""
    folder = Path()
    for top in sorted(ROOT.iterdir()):
        if top.is_dir() and top.name[0] not in "._" and top.name not in GENERATED:
            assert f"{top.name}/ " in text, f"{top.name}/ is left out"
    for line in text.splitlines():
        if line[0] != " ":
            folder = Path(line.split()[0])
            assert (ROOT / folder).is_dir(), folder
        for file in re.findall(r"[a-z_]+\.py\b", line):
            assert (ROOT / folder / file).is_file(), f"{folder}/{file}"
        for inner in re.findall(r"^  ([a-z_]+/)|\s{2,}([a-z_]+/)\s", line):
            inner_name = "".join(inner)
            assert any((base / inner_name).is_dir() for base in (ROOT, ROOT / folder)), inner_name


# --- within sentences ----------------------------------------------------------------------


def check_mention(text: str, folder: Path) -> None:
    """Check the names of a sentence: our commands and files, JSON, calls of the client's classes.

    Raises:
        Exception: It is invalid.
    """
    if OURS.match(text):
        check_all(re.sub(r"<[\w -]+>", "X", text), folder, whole=False)
    elif _FILE.match(text):
        top = text.partition("/")[0]
        is_media_type = mimetypes.guess_extension(text) is not None
        if (ROOT / top).is_dir() and top != "build" and not is_media_type:
            assert (ROOT / text).exists(), f"there is no {text}"
    elif text.startswith('{"') and "..." not in text:
        data(json.loads(text))
    elif (called := _CALL.match(text)) and called[1] in biome_users.__all__:
        call = ast.parse(text, mode="eval").body
        assert isinstance(call, ast.Call)
        signature = inspect.signature(getattr(biome_users, called[1]))
        signature.bind_partial(*call.args, **{str(each.arg): each for each in call.keywords})


# --- data ----------------------------------------------------------------------------------


def data(value: Any) -> None:
    """Check a message or a policy by its kind; other data only has to be valid JSON."""
    if isinstance(value, list):
        for each in value:
            data(each)
    elif isinstance(value, dict) and "specversion" in value:
        message(value)
    elif isinstance(value, dict) and "Statement" in value:
        policy(value)
    elif isinstance(value, dict) and all(isinstance(each, list) for each in value.values()):
        filter_policy(value)


def toml(text: str) -> None:
    """Check a file of permissions by the worker's own reader; other files have to be valid."""
    value = tomllib.loads(text)
    if "producer" in value:
        parse_permissions(text, None, Settings().roles)


def message(value: dict[str, Any]) -> None:
    """Check a command by the worker's own parser, an event by its definition."""
    if value["type"] in EVENTS:
        fields = [each.name for each in dataclasses.fields(EVENTS[value["type"]])]  # type: ignore[arg-type]  # all are dataclasses
        assert list(value["data"]) == fields, "not its fields"
        return
    received = ReceivedMessage(
        message_id="m",
        body=json.dumps(value),
        receives=1,
        sent_at=time.time(),
        group_id=None,
        fifo=False,
    )
    parser = MessageParser(["customer", "lab_assistant", "admin"])
    assert parser.parse(received).command_id == value["id"]


def policy(value: dict[str, Any]) -> None:
    """Check the form of an IAM policy, and that it allows only what it names."""
    assert value["Version"] == "2012-10-17"
    statements = value["Statement"]
    for statement in statements if isinstance(statements, list) else [statements]:
        assert statement["Effect"] in {"Allow", "Deny"}
        assert {"Action", "NotAction"} & statement.keys()
        for action in named(statement.get("Action", [])):
            service, _, operation = action.partition(":")
            assert operation, action
            assert "*" not in operation, action
            if service != "kms":
                assert operation in operations(service), action
        assert "*" not in named(statement.get("Resource", [])), "every resource"


def filter_policy(value: dict[str, list[Any]]) -> None:
    """Check that a subscription's filter names existing attributes and values."""
    there = {"type": set(EVENTS), "category": {event.category for event in EVENTS.values()}}
    for attribute, wanted in value.items():
        if attribute == "command_source":  # as producers call themselves
            continue
        known = there[attribute]
        for each in wanted:
            match each:
                case {"prefix": prefix}:
                    assert any(one.startswith(prefix) for one in known), prefix
                case {"anything-but": others}:
                    assert set(named(others)) <= known, others
                case _:
                    assert each in known, each


def named(value: Any) -> list[str]:
    """Return a list of the names in a policy, which may be a single text."""
    return [value] if isinstance(value, str) else list(value)


def rows(text: str) -> None:
    """Check that each row has as many cells as the header."""
    header, *others = csv.reader(io.StringIO(text))
    assert others
    assert {len(row) for row in others} == {len(header)}, "not as many cells as the header"


DATA: dict[str, Callable[[str], None]] = {
    "json": lambda text: data(json.loads(text)),
    "jsonl": lambda text: data([json.loads(line) for line in text.splitlines()]),
    "yaml": lambda text: data(yaml.safe_load(text)),
    "toml": toml,
    "csv": rows,
}
