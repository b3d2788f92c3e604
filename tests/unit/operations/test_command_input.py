from __future__ import annotations

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.messages import MessageParser
from application.messages.outgoing import Outgoing
from domain import commands as c
from domain.fields import example_of
from operations.command_input import (
    Options,
    check,
    command_class,
    from_arguments,
    from_text,
)
from tests.builders import PASSWORD, uid
from worker.errors import ExitCode, UsageError

PARSER = MessageParser(("customer", "admin"))
USER = uid("ada")
SECRET = "hunter2"


def typed(name: str, *pairs: str, data: str | None = None, **options: object) -> Outgoing:
    """Check the command of a command line."""
    event = from_arguments(name, pairs, data, Options(**options))  # type: ignore[arg-type]
    return check(event, name, PARSER)


def read(text: str, **options: object) -> list[Outgoing]:
    """Check the commands of a file."""
    found = from_text(text, "file", Options(**options))  # type: ignore[arg-type]
    return [check(event, place, PARSER) for place, event in found]


# --- names ---


@pytest.mark.parametrize("name", ["AssignRole", "biome.user.AssignRole.v1"])
def test_a_command_is_known_by_its_class_name_and_by_its_type(name: str) -> None:
    """Both names mean the same command."""
    assert command_class(name) is c.AssignRole


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [
        ("RegisterUsr", "RegisterUser"),
        ("registeruser", "RegisterUser"),
        ("ban-user", "BanUser"),
        ("biome.user.BanUsr.v1", "BanUser"),
        ("RotateToken", "RotateRefreshToken"),
    ],
)
def test_a_mistyped_name_suggests_the_one_that_was_meant(mistyped: str, meant: str) -> None:
    """The error suggests the nearest names."""
    with pytest.raises(UsageError, match=meant) as error:
        command_class(mistyped)
    assert error.value.code == ExitCode.USAGE


# --- arguments ---


def test_words_become_the_fields_of_the_command() -> None:
    """Only the first `=` separates; the id is generated."""
    outgoing = typed(
        "RegisterUser",
        "email=Ada@Example.com",
        "first_name=Ada",
        "last_name=King=Noel",
        f"password_hash={PASSWORD.value}",
    )
    command = outgoing.envelope.command
    assert isinstance(command, c.RegisterUser)
    assert (command.email.value, command.last_name) == ("Ada@example.com", "King=Noel")
    assert outgoing.key.command_id == str(UUID(outgoing.envelope.command_id))


@pytest.mark.parametrize(
    ("word", "roles"),
    [
        ("roles=customer", ("customer",)),
        ("roles=customer,admin", ("customer", "admin")),
        ('roles=["customer","admin"]', ("customer", "admin")),
        ("roles=", ()),
    ],
)
def test_a_list_is_words_with_commas_or_json(word: str, roles: tuple[str, ...]) -> None:
    """A list needs no quoting in a shell, but may be quoted."""
    outgoing = typed("CreateUser", "email=a@example.com", "first_name=A", "last_name=B", word)
    command = outgoing.envelope.command
    assert isinstance(command, c.CreateUser)
    assert command.roles == roles


def test_a_number_is_a_number_and_a_string_of_digits_stays_a_string() -> None:
    """The field's type decides, not the look of the value."""
    change = typed(
        "ChangePassword", f"password_hash={PASSWORD.value}", "credential_version=3", user_id=USER
    ).envelope.command
    rename = typed("UpdateProfile", "first_name=007", user_id=USER).envelope.command
    assert isinstance(change, c.ChangePassword)
    assert change.credential_version == 3
    assert rename == c.UpdateProfile(first_name="007")


def test_a_word_wins_over_the_same_field_of_the_data() -> None:
    """The more specific value wins."""
    outgoing = typed("AssignRole", "role=admin", data='{"role": "customer"}', user_id=USER)
    assert outgoing.envelope.command == c.AssignRole("admin")


def test_null_empties_a_field_that_may_be_empty() -> None:
    """`null` is how a ban without an end is typed."""
    outgoing = typed("BanUser", "reason=fraud", "until=null", user_id=USER)
    assert outgoing.envelope.command == c.BanUser("fraud", None)


def test_options_go_into_the_envelope() -> None:
    """Each option sets its attribute."""
    outgoing = typed(
        "UnbanUser",
        user_id=USER,
        command_id=uid("command"),
        source="/support",
        extensions={"correlationid": "c-1", "expectedversion": 4, "actor": "bob"},
    )
    envelope = outgoing.envelope
    assert (envelope.user_id, envelope.command_id) == (USER, uid("command"))
    assert (envelope.source, envelope.correlation_id) == ("/support", "c-1")
    assert (envelope.expected_version, envelope.actor) == (4, "bob")


@pytest.mark.parametrize(
    ("name", "pairs", "options", "says"),
    [
        ("AssignRole", ("role",), {}, "does not have the form key=value"),
        ("AssignRole", ("rol=admin",), {}, "did you mean role"),
        ("UnbanUser", ("x=1",), {}, "the fields are: none"),
        ("AssignRole", ("role=admin",), {}, "subject: is missing .option --user."),
        ("AssignRole", ("role=king",), {"user_id": USER}, "data.role"),
        ("AssignRole", (), {"user_id": USER}, "data.role: is missing"),
        ("UnbanUser", (), {"user_id": "abc"}, "subject: must be a UUID .*option --user."),
        ("UnbanUser", (), {"user_id": USER, "command_id": "7"}, "option --id"),
        ("AssignRole", (), {"data": "{"}, "--data is not JSON"),
        ("AssignRole", (), {"data": "[1]"}, "--data must be a JSON object"),
        ("ChangePassword", ("credential_version=x",), {"user_id": USER}, "credential_version"),
    ],
)
def test_a_mistake_is_named_by_field_and_option(
    name: str, pairs: tuple[str, ...], options: dict[str, str], says: str
) -> None:
    """The error says which argument to correct."""
    with pytest.raises(UsageError, match=says):
        typed(name, *pairs, **options)


def test_a_password_typed_where_its_hash_belongs_is_refused_and_not_repeated() -> None:
    """No secret is sent to a queue, or printed on the terminal again."""
    with pytest.raises(UsageError, match=r"data\.password_hash") as error:
        typed(
            "RegisterUser",
            "email=a@example.com",
            "first_name=A",
            "last_name=B",
            f"password_hash={SECRET}",
        )
    assert SECRET not in str(error.value)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_word_is_either_sent_unchanged_or_refused_in_one_line(text: str) -> None:
    """For any input, the check either succeeds or raises a usage error."""
    try:
        outgoing = typed("BanUser", f"reason={text}", user_id=USER)
    except UsageError:
        return
    assert json.loads(outgoing.body)["data"]["reason"] == text


# --- files ---


def line(**fields: object) -> str:
    """Render a line of a file."""
    return json.dumps({"type": "UnbanUser", "user_id": USER, **fields})


def test_a_file_is_one_object_an_array_or_lines() -> None:
    """The three forms mean the same, with either line end."""
    one, two = line(id=uid("1")), line(id=uid("2"))
    ids = [uid("1"), uid("2")]
    assert [o.envelope.command_id for o in read(one)] == ids[:1]
    assert [o.envelope.command_id for o in read(f"[{one},{two}]")] == ids
    assert [o.envelope.command_id for o in read(f"{one}\n\n{two}\n")] == ids
    assert [o.envelope.command_id for o in read(f"{one}\r\n{two}\r\n")] == ids


def test_a_complete_cloudevent_is_sent_unchanged() -> None:
    """No attribute is added or changed."""
    whole = json.loads(typed("UnbanUser", user_id=USER, command_id=uid("1")).body)
    whole |= {"source": "/elsewhere", "time": "2026-11-22T10:00:00Z"}
    (outgoing,) = read(json.dumps(whole), source="/ignored")
    assert json.loads(outgoing.body) == whole


def test_what_a_line_leaves_out_comes_from_the_options() -> None:
    """One option applies to all lines."""
    (outgoing,) = read('{"type": "UnbanUser"}', user_id=USER, extensions={"correlationid": "c"})
    assert (outgoing.envelope.user_id, outgoing.envelope.correlation_id) == (USER, "c")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (line() + "\nnonsense", "file, line 2 is not JSON"),
        ("[1]", "file, item 1 is not a JSON object"),
        (line(colour="red"), "has an unknown field"),
        ('{"data": {}}', "needs a type"),
        (line(data=[1]), "data as an object"),
        (line() + "\n" + line(type="UnbanUsr"), "line 2: unknown command"),
        (line() + '\n{"type": "UnbanUser"}', "line 2: subject: is missing"),
        (json.dumps({"specversion": "1.0", "type": "biome.user.Nope.v1"}), "biome.user.Nope.v1"),
        (json.dumps({"specversion": "1.0"}), "type: is missing"),
        ('{"specversion": "1.0", "type": ["x"]}', "type: must be"),
    ],
)
def test_a_mistake_in_a_file_is_named_by_its_place(text: str, says: str) -> None:
    """The error names the line or item to correct."""
    with pytest.raises(UsageError, match=says):
        read(text)


# --- groups ---


def test_commands_of_one_user_share_a_group_and_no_group_holds_an_address() -> None:
    """Commands are ordered per user, also if addresses differ in letter case."""
    reset = {"token_id": uid("t"), "token_hash": "0" * 64, "expires_at": "2099-01-01T00:00:00Z"}
    asks = [
        typed("RequestPasswordReset", data=json.dumps({**reset, "email": address}))
        for address in ("ada@example.com", "ADA@example.com", "grace@example.com")
    ]
    assert asks[0].group == asks[1].group != asks[2].group
    assert "@" not in asks[0].group
    assert typed("UnbanUser", user_id=USER).group == USER


@pytest.mark.parametrize(
    ("word", "expected"),
    [("email_verified=true", True), ("email_verified=false", False), ("email_verified=null", None)],
)
def test_a_boolean_is_typed_as_in_json(word: str, expected: bool | None) -> None:
    """A value that is not a boolean is refused by the check."""
    words = ("email=a@example.com", "first_name=Ada", "roles=customer")
    command = typed("CreateUser", *words, word).envelope.command
    assert isinstance(command, c.CreateUser)
    assert command.email_verified is expected
    with pytest.raises(UsageError, match="email_verified: must be true or false"):
        typed("CreateUser", *words, "email_verified=yes")


def test_an_optional_integer_is_sent_as_an_integer() -> None:
    """The type of the field decides, whether it is optional or not."""
    data = json.dumps(example_of(c.StartSession) | {"totp_step": None})
    outgoing = typed("StartSession", "totp_step=59804640", data=data, user_id=USER)
    command = outgoing.envelope.command
    assert isinstance(command, c.StartSession)
    assert command.totp_step == 59804640
