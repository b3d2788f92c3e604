"""The generated types of the client are those of contracts/."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from application.messages import MalformedMessageError, MessageParser
from application.messages.outgoing import check_outgoing
from biome_users import CommandRequest, UserCommands, commands
from biome_users._models import Command
from biome_users.event_types import EVENT_TYPES
from biome_users.testing import FakeUserCommands
from domain.commands import RegisterUser, UpdateProfile
from tests.builders import PASSWORD
from tests.unit.clients.fake_sqs import QUEUE, FakeSqs

ROOT = Path(__file__).parents[3]
CONTRACTS = {
    path.name.split(".")[0]: json.loads(path.read_text())
    for path in sorted((ROOT / "contracts" / "commands").glob("*.json"))
}
USER = UUID("5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77")
ROLES = ("customer", "lab_assistant", "admin")


def requests(name: str) -> list[CommandRequest]:
    """Return the examples of a command's contract as the client renders them."""
    kind: type[Command] = getattr(commands, name)
    return [
        CommandRequest(
            command=kind(**example["data"]),
            user_id=example.get("subject"),
            command_id=example["id"],
        )
        for example in CONTRACTS[name]["examples"]
    ]


def test_the_generated_files_are_current() -> None:
    """`python -m scripts.client_types` would write the same files."""
    command = [sys.executable, "-m", "scripts.client_types", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_every_command_has_a_class() -> None:
    """No command of contracts/ is missing, and none is left over."""
    assert {kind.__name__ for kind in commands.CONTRACTS} == set(CONTRACTS)


def test_every_event_has_a_class() -> None:
    """No event of contracts/ is missing, and none is left over."""
    files = (ROOT / "contracts" / "events").glob("*.json")
    assert {f"biome.user.{path.stem}" for path in files} == set(EVENT_TYPES)


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_rendered_command_meets_its_contract_and_the_worker_reads_it(name: str) -> None:
    """The schema and the worker's parser both accept every example."""
    for request in requests(name):
        message = request.message("/test")
        jsonschema.validate(message, CONTRACTS[name])
        parsed = check_outgoing(json.dumps(message), MessageParser(ROLES))
        assert parsed.name == name
        assert parsed.envelope.command_id == str(request.command_id)


def test_values_are_cleaned_by_the_worker_and_not_by_the_client() -> None:
    """The input is sent unchanged, because only the worker normalises it."""
    command = commands.RegisterUser(
        email=" Ada@EXAMPLE.com", first_name=" Ada ", password_hash=PASSWORD.value
    )
    message = CommandRequest(command=command).message("/test")
    assert message["data"]["email"] == " Ada@EXAMPLE.com"
    read = check_outgoing(json.dumps(message), MessageParser(ROLES)).envelope.command
    assert isinstance(read, RegisterUser)
    assert (read.email.value, read.first_name) == ("Ada@example.com", "Ada")


@pytest.mark.parametrize("address", ["", "ada", "ada@", "@example.com", "a@b", "a b@example.com"])
def test_an_invalid_address_is_refused_where_the_command_is_created(address: str) -> None:
    """The worker would dead-letter the command; the error does not contain the address."""
    for kind, name in (
        (commands.RequestPasswordReset, "email"),
        (commands.RequestEmailChange, "new_email"),
    ):
        (example, *_) = CONTRACTS[kind.__name__]["examples"]
        with pytest.raises(ValidationError, match="must be an e-mail address") as caught:
            kind(**{**example["data"], name: address})
        assert not address or f"'{address}'" not in str(caught.value)


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_value_of_a_wrong_type_is_refused_by_its_field_s_name(name: str) -> None:
    """In every field of every command; the error does not contain the value."""
    kind: type[Command] = getattr(commands, name)
    example = CONTRACTS[name]["examples"][0]["data"]
    wrong = (
        object(),
        {"hunter2": 1},
        ["hunter2", object()],
        [object()],
        kind,
        b"\xff",
        float("nan"),
    )
    for field in kind.model_fields:
        for value in wrong:
            with pytest.raises(ValidationError) as caught:
                kind(**{**example, field: value})
            assert field in {str(row["loc"][0]) for row in caught.value.errors()}
            assert "hunter2" not in str(caught.value)


@given(st.text(max_size=120), st.text(max_size=120))
def test_a_name_that_the_client_accepts_is_read_or_refused_by_the_rule_of_names(
    first: str, last: str
) -> None:
    """The contract limits the length; the worker also requires visible characters."""
    command = {"first_name": first, "last_name": last}
    try:
        body = json.dumps(
            CommandRequest(command=commands.UpdateProfile(**command), user_id=USER).message("/test")
        )
    except ValidationError:
        assert not all(1 <= len(each) <= 100 for each in command.values())
        return
    try:
        read = check_outgoing(body, MessageParser(ROLES)).envelope.command
    except MalformedMessageError as error:
        assert "_name: must " in error.detail  # noqa: PT017 - one of two results
        return
    assert isinstance(read, UpdateProfile)


@pytest.mark.parametrize("name", CONTRACTS)
def test_on_a_fifo_queue_the_group_is_that_of_the_worker_s_own_senders(name: str) -> None:
    """Commands of one user that different programs send keep their order."""
    sqs = FakeSqs()
    requested = requests(name)
    for request in requested:
        UserCommands(f"{QUEUE}.fifo", source="/test", client=sqs).send_many([request])
    expected = [
        check_outgoing(entry["MessageBody"], MessageParser(ROLES)).group for entry in sqs.accepted
    ]
    assert [entry["MessageGroupId"] for entry in sqs.accepted] == expected
    assert len(expected) == len(requested)


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_client_requires_a_user_exactly_where_the_contract_does(name: str) -> None:
    """A command with an address in place of the user is tried with both and with neither."""
    schema, sender = CONTRACTS[name], FakeUserCommands()
    for example in schema["examples"]:
        for subject in (None, str(USER)):
            message = {**example, "subject": subject}
            if subject is None:
                del message["subject"]
            allowed = jsonschema.Draft202012Validator(schema).is_valid(message)
            command = getattr(commands, name)(**example["data"])
            assert sent(sender, command, user_id=subject) == allowed, message


def sent(sender: FakeUserCommands, command: Command, **envelope: Any) -> bool:
    """Return True if the client accepts the command."""
    try:
        sender.send(command, **envelope)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_command_refuses_an_unknown_field_and_hides_values(name: str) -> None:
    """Neither the repr nor an error contains a value: hashes and addresses are personal data."""
    kind = getattr(commands, name)
    for example in CONTRACTS[name]["examples"]:
        command = kind(**example["data"])
        shown = repr(command) + repr(CommandRequest(command=command))
        with pytest.raises(ValidationError) as caught:
            kind(**example["data"], surprise="a secret value")
        shown += str(caught.value)
        values = [v for v in example["data"].values() if isinstance(v, str) and len(v) > 1]
        assert not [value for value in [*values, "a secret value"] if value in shown]


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_required_field_cannot_be_left_out(name: str) -> None:
    """The error names the field."""
    data = CONTRACTS[name]["properties"]["data"]
    full = CONTRACTS[name]["examples"][0]["data"]
    for field in data.get("required", ()):
        rest = {key: value for key, value in full.items() if key != field}
        with pytest.raises(ValidationError, match=field):
            getattr(commands, name)(**rest)
