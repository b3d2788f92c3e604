"""The files of contracts/: current, valid, and with examples that the worker accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from adapters.provision import RETENTION
from application.messages import MessageParser
from cli.app import run
from domain.commands import COMMANDS
from domain.events import EVENTS
from operations.contracts.asyncapi import (
    DEAD_LETTER_RETENTION,
    command_path,
    event_path,
    message_key,
)
from operations.contracts.generating import contract_files, stale_files, write_files
from tests.builders import message
from worker.settings import Settings

FOLDER = Path(__file__).parents[3] / "contracts"
SCHEMAS = {p.relative_to(FOLDER).as_posix(): p for p in sorted(FOLDER.glob("[ce]*/*.json"))}
PARSER = MessageParser(Settings.model_fields["roles"].default)


def read(path: str) -> Any:
    """Return a checked-in file."""
    return json.loads((FOLDER / path).read_text(encoding="utf-8"))


def test_the_files_are_what_the_definitions_give() -> None:
    """After changing a message, run `user-worker contracts`; the review then shows the change."""
    assert stale_files(FOLDER) == {}
    assert contract_files() == contract_files()


def test_every_message_has_a_file() -> None:
    """There is no other file."""
    assert SCHEMAS.keys() == {*map(command_path, COMMANDS), *map(event_path, EVENTS)}


@pytest.mark.parametrize("path", SCHEMAS)
def test_a_schema_is_valid_and_describes_every_field(path: str) -> None:
    """Valid by the metaschema of 2020-12.

    Each field has a description and an example that it accepts itself.
    """
    schema = read(path)
    Draft202012Validator.check_schema(schema, format_checker=FormatChecker())

    fields = schema["properties"] | schema["properties"]["data"]["properties"]
    for name, field in fields.items():
        assert len(field["description"]) > 10, name
        checker = Draft202012Validator(field, format_checker=FormatChecker())
        for example in field.get("examples", []):
            checker.validate(example)
        assert "examples" in field or name in {"specversion", "type", "data"}, name


@pytest.mark.parametrize("path", SCHEMAS)
def test_every_string_field_is_limited(path: str) -> None:
    """By a length, a pattern, a format or a constant, so that a consumer knows the maximum size."""
    schema = read(path)
    for name, field in schema["properties"]["data"]["properties"].items():
        for part in [field, field.get("items", {}), *field.get("anyOf", [])]:
            if part.get("type") == "string":
                assert part.keys() & {"maxLength", "pattern", "format", "const"}, name


@pytest.mark.parametrize("path", SCHEMAS)
def test_the_examples_are_valid(path: str) -> None:
    """Each is valid by its own schema, including formats such as times and addresses."""
    schema = read(path)
    checker = Draft202012Validator(schema, format_checker=FormatChecker())
    assert schema["examples"]
    for example in schema["examples"]:
        checker.validate(example)


@pytest.mark.parametrize("kind", COMMANDS)
def test_the_worker_takes_the_examples_of_commands(kind: str) -> None:
    """A command made from an example is not dead-lettered."""
    for example in read(command_path(kind))["examples"]:
        envelope = PARSER.parse(message(json.dumps(example), age=0))
        assert envelope.type == kind
        assert envelope.command_id == example["id"]


def test_the_document_names_every_message_once() -> None:
    """Each is in its channel, and every reference leads to a file or a part of the document."""
    document = read("asyncapi.json")
    channels = document["channels"]
    assert channels["userCommands"]["messages"].keys() == set(map(message_key, COMMANDS))
    assert channels["userEvents"]["messages"].keys() == set(map(message_key, EVENTS))
    for reference in references(document):
        if reference.startswith("#/"):
            part = document
            for key in reference.removeprefix("#/").split("/"):
                part = part[key]
        else:
            assert (FOLDER / reference).is_file(), reference


def references(value: Any) -> list[str]:
    """Return all `$ref` within a document."""
    if isinstance(value, list):
        return [found for item in value for found in references(item)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if "$ref" in value else []
    return own + [found for item in value.values() for found in references(item)]


def test_the_document_has_the_defaults_of_the_worker() -> None:
    """The queue, its redrive policy, the dead letters' retention and the topic."""
    channels = read("asyncapi.json")["channels"]
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    binding = channels["userCommands"]["bindings"]["sqs"]
    assert channels["userCommands"]["address"] == defaults["command_queue"]
    assert channels["userEvents"]["address"] == defaults["events_topic"]
    assert binding["queue"]["redrivePolicy"]["maxReceiveCount"] == defaults["max_receives"]
    assert binding["queue"]["visibilityTimeout"] == defaults["visibility_timeout"]
    assert binding["deadLetterQueue"]["messageRetentionPeriod"] == RETENTION
    assert RETENTION == DEAD_LETTER_RETENTION


# --- the command ---------------------------------------------------------------------------


def test_check_names_what_is_stale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, and exit code 1. Writing fixes them, and changes no other file."""
    write_files(tmp_path)
    (tmp_path / "commands" / "BanUser.v1.json").write_text("{}")
    (tmp_path / "events" / "UserBanned.v1.json").unlink()
    (tmp_path / "events" / "UserLost.v1.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")

    assert run(["contracts", "--output", str(tmp_path), "--check"]) == 1

    lines = capsys.readouterr().out.splitlines()
    assert [line.removeprefix(f"{tmp_path}/").split(";")[0] for line in lines] == [
        "commands/BanUser.v1.json: changed",
        "events/UserBanned.v1.json: missing",
        "events/UserLost.v1.json: surplus",
    ]
    assert run(["contracts", "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith(": 3 files written\n")
    assert run(["contracts", "--output", str(tmp_path), "--check"]) == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_release_can_be_compared_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the newest of the folder, by number; a break is one line, and exit code 1."""
    assert run(["contracts", "--output", str(tmp_path), "--release", "0.9.0"]) == 0
    assert run(["contracts", "--output", str(tmp_path), "--release", "0.10.0"]) == 0
    newest = tmp_path / "released" / "v0.10.0.json"
    text = newest.read_text().replace('"maxLength": 500', '"maxLength": 501')
    newest.write_text(text)
    capsys.readouterr()

    assert run(["contracts", "--against", str(tmp_path)]) == 1

    assert capsys.readouterr().out.splitlines() == [
        f"biome.user.{name}.v1 data.reason: maxLength is 500 now, not 501 (breaks producers)"
        for name in ("BanUser", "DeactivateUser")
    ]
    assert run(["contracts", "--against", str(tmp_path / "released" / "v0.9.0.json")]) == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--release", "1.0"], "must be a version"),
        (["--release", "1.0.0", "--check"], "cannot be combined with --check"),
        (["--against", "{}/empty"], "no release in"),
        (["--against", "{}/none"], "does not exist"),
        (["--against", "{}/broken.json"], "cannot read"),
        (["--against", "{}/other.json"], "is not a release"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text("[]")
    before = sorted(tmp_path.rglob("*"))
    given = [argument.replace("{}", str(tmp_path)) for argument in arguments]

    assert run(["contracts", "--output", str(tmp_path), *given]) == 2

    assert complaint in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
