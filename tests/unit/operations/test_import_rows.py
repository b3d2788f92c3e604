from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from application.messages import MessageParser
from domain.commands import (
    BanUser,
    ChangePassword,
    Command,
    CreateUser,
    RegisterUser,
    UnbanUser,
    UpdateProfile,
)
from operations.bulk_import.checking import Checked, check_rows
from operations.bulk_import.columns import Columns
from operations.bulk_import.records import FileFormat, Problem, format_of, sniffed_delimiter
from operations.bulk_import.rows import Identity, Row, RowReader
from operations.bulk_import.source import SourceFile
from tests.builders import PASSWORD, uid
from worker.errors import UsageError

PARSER = MessageParser(("customer", "admin"))
SCOPE = Identity("0" * 64, named=False)
HEADER = "email,first_name,last_name,roles\n"


_opened: list[SourceFile] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


class File:
    """A file of rows, with the options for reading it."""

    def __init__(
        self,
        folder: Path,
        text: str,
        command: type[Command] = CreateUser,
        *,
        name: str = "users.csv",
        mapping: dict[str, str | None] | None = None,
        defaults: dict[str, str] | None = None,
        identity: Identity = SCOPE,
        full_name: str | None = None,
        delimiter: str | None = None,
    ) -> None:
        path = folder / name
        path.write_text(text, newline="")
        source = SourceFile(str(path))
        _opened.append(source)
        columns = Columns(command, mapping, defaults, full_name)
        kind = format_of(source)
        if delimiter is None:
            delimiter = sniffed_delimiter(source) if kind is FileFormat.CSV else ","
        self.reader = RowReader(source, kind, delimiter, columns, identity=identity, parser=PARSER)

    def rows(self) -> list[Row]:
        """Read it."""
        return list(self.reader)

    def commands(self) -> list[Command]:
        """Read it; return the commands of all good rows."""
        return [row.outgoing.envelope.command for row in self.rows() if row.outgoing]

    def check(self) -> tuple[Checked, list[Problem]]:
        """Check it; return the problems too."""
        problems: list[Problem] = []
        return check_rows(self.reader, problems.append), problems


def created(folder: Path, text: str, **options: Any) -> CreateUser:
    """Read a file with one CreateUser."""
    (command,) = File(folder, text, **options).commands()
    assert isinstance(command, CreateUser)
    return command


# --- the header ---


def test_columns_are_found_by_the_header_however_it_is_written(tmp_path: Path) -> None:
    """In any case and order, with blanks or hyphens; lists are split at ; or |."""
    text = " E-mail ,LAST NAME,First-Name,Roles\nada@example.com, Lovelace ,Ada,customer; admin|\n"
    ada = created(tmp_path, text.replace("E-mail", "Email"))
    assert (ada.email.value, ada.first_name, ada.last_name) == (
        "ada@example.com",
        "Ada",
        "Lovelace",
    )
    assert ada.roles == ("customer", "admin")


def test_other_columns_are_mapped_or_ignored(tmp_path: Path) -> None:
    """Columns are mapped by their names in the file."""
    text = "Mail;Vorname;last_name;Notiz\nada@example.com;Ada;Lovelace;x\n"
    mapping = {"mail": "email", "Vorname": "first_name", "Notiz": None}
    ada = created(tmp_path, text, mapping=mapping, defaults={"roles": "customer;admin"})
    assert (ada.email.value, ada.roles) == ("ada@example.com", ("customer", "admin"))


def test_what_is_set_is_for_rows_that_do_not_say(tmp_path: Path) -> None:
    """A cell with text wins over a default."""
    text = HEADER + "a@example.com,A,B,\nb@example.com,A,B,admin\n"
    first, second = File(tmp_path, text, defaults={"roles": "customer"}).commands()
    assert isinstance(first, CreateUser)
    assert isinstance(second, CreateUser)
    assert (first.roles, second.roles) == (("customer",), ("admin",))


@pytest.mark.parametrize(
    ("header", "options", "rule"),
    [
        ("ada@example.com,Ada,Lovelace,customer", {}, "is not a header: no column is a field"),
        (
            "email,first_name,last_name,roles,Shoe size",
            {},
            "are not fields of CreateUser: Shoe size",
        ),
        ("email,first_name,last_name,roles,x@y.z", {}, "are not fields of CreateUser: column 5"),
        ("email,first_name,last_name,roles,password", {}, "plaintext passwords must not"),
        ("email,Email,first_name,last_name,roles", {}, "two columns for email"),
        ("email,last_name", {}, "no column for first_name, roles"),
        (HEADER.strip(), {"mapping": {"Address": "email"}}, "has no column 'Address'"),
        ("email,E-Mail,first_name,roles", {}, "two columns for email; rename one"),
        ("email,Mail,first_name,roles", {}, "two columns for email; ignore one"),
        ("email;first_name;roles", {"delimiter": ","}, "one column only; try --delimiter with ;"),
        ("email\tfirst_name", {"delimiter": ","}, "one column only; try --delimiter with tab"),
        ("email,roles", {}, "no column for first_name; its columns are: email, roles; use"),
        ("email,roles,Full name", {}, "use --split-name 'Full name' to split"),
        (
            "email,roles,Name,Last name",
            {"full_name": "name"},
            "a column for last_name, which --split-name sets too",
        ),
        ("email,first_name,roles", {"full_name": "Name"}, "has no column 'Name'"),
        (
            "email,roles,Name",
            {"full_name": "Name", "mapping": {"NAME": None}},
            "--split-name names a column that --map or --ignore-column names too",
        ),
        (
            "user_id,reason",
            {"full_name": "Name", "command": BanUser},
            "BanUser has no fields for names",
        ),
        (
            "email,first_name,roles",
            {"defaults": {"email_verified": "maybe"}},
            "--set email_verified: must be true or false",
        ),
        ("email,first_name,roles,password", {}, "use --map password=password_hash"),
        ("email,first_name,roles,Schuhgröße", {}, "are not fields of CreateUser: column 4"),
        ("e\0m\0a\0i\0l\0,\0roles", {}, "has NUL characters in its first line; try --encoding"),
        (
            HEADER.strip(),
            {"mapping": {"email": "e_mail"}},
            "names a field that CreateUser does not have",
        ),
        (
            HEADER.strip(),
            {"defaults": {"shoe": "1"}},
            "names a field that CreateUser does not have",
        ),
        ("reason", {"command": BanUser}, "no column for user_id"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(
    tmp_path: Path, header: str, options: dict[str, Any], rule: str
) -> None:
    """It is refused before any row; possible personal data is not repeated."""
    with pytest.raises(UsageError, match=rule) as caught:
        File(tmp_path, header + "\nx\n", **options).rows()
    assert "@" not in str(caught.value)


# --- rows of CSV ---


def test_integers_and_what_is_around_a_command_have_columns_too(tmp_path: Path) -> None:
    """An empty cell is left out."""
    text = (
        "user_id,command_id,expected_version,correlation_id,actor,password_hash,credential_version\n"
        f'{uid("ada")},{uid("c")},7,corr,/me,"{PASSWORD.value}",3\n'
        f'{uid("eve")},,,,,"{PASSWORD.value}",4\n'
    )
    first, second = File(tmp_path, text, ChangePassword).rows()
    assert first.outgoing is not None
    assert second.outgoing is not None
    assert first.outgoing.envelope.command == ChangePassword(PASSWORD, 3)
    ada, eve = first.outgoing.envelope, second.outgoing.envelope
    assert (ada.user_id, ada.command_id, ada.expected_version) == (uid("ada"), uid("c"), 7)
    assert (ada.correlation_id, ada.actor) == ("corr", "/me")
    assert (eve.expected_version, eve.actor) == (None, None)
    assert eve.correlation_id == f"import-{'0' * 16}"


def test_every_invalid_row_is_reported_with_line_field_and_rule(tmp_path: Path) -> None:
    """All problems of a row are reported, without values."""
    text = HEADER + (
        "no-address,,Lovelace,customer\n"
        "good@example.com,Ada,Lovelace,customer\n"
        "x@example.com,Ada,Lovelace,customer,\n"
        "y@example.com,Ada,Lovelace,emperor\n"
    )
    checked, problems = File(tmp_path, text).check()
    assert (checked.rows, checked.bad) == (4, 3)
    assert [checked.may_be_sent(number) for number in (1, 2, 3, 4, 5)] == [
        False,
        True,
        False,
        False,
        False,
    ]
    places = [(problem.line, problem.field) for problem in problems]
    assert places == [(2, "email"), (2, "first_name"), (4, ""), (5, "roles[0]")]
    assert problems[1].rule == "is missing"
    assert "has 5 cells, but the header has 4" in problems[2].rule
    said = " ".join(problem.rule for problem in problems)
    assert not any(value in said for value in ("no-address", "emperor", "Lovelace"))


@pytest.mark.parametrize("value", ["hunter2 is my password", "0" * 64, "$argon2i$v=19$m=1,t=1,p=1"])
def test_a_plaintext_password_is_refused_and_not_shown(tmp_path: Path, value: str) -> None:
    """The worker would refuse it too; a PHC string of argon2id is accepted."""
    text = "email,first_name,last_name,Password\n"
    options: dict[str, Any] = {"command": RegisterUser, "mapping": {"password": "password_hash"}}
    row = f'ada@example.com,Ada,Lovelace,"{value}"\n'
    _, problems = File(tmp_path, text + row, **options).check()
    assert [problem.field for problem in problems] == ["password_hash"]
    assert value not in problems[0].rule
    good = f'ada@example.com,Ada,Lovelace,"{PASSWORD.value}"\n'
    assert File(tmp_path, text + good, **options).check()[1] == []


def test_an_address_that_an_earlier_row_has_is_a_bad_row(tmp_path: Path) -> None:
    """Letter case is ignored; the first row stays good."""
    text = HEADER + "".join(
        f"{address},Ada,Lovelace,customer\n"
        for address in ("ada@example.com", "eve@example.com", "ADA@Example.COM")
    )
    checked, problems = File(tmp_path, text).check()
    assert problems == [Problem(4, "email", "is already used in line 2")]
    assert [checked.may_be_sent(number) for number in (1, 2, 3)] == [True, True, False]


def test_one_user_may_have_many_rows_of_what_creates_none(tmp_path: Path) -> None:
    """Only a registration is unique per user."""
    text = f"user_id,first_name\n{uid('ada')},A\n{uid('ada')},B\n{uid('ada')},A\n"
    file = File(tmp_path, text, UpdateProfile)
    assert file.check()[1] == []
    assert len({row.outgoing.envelope.command_id for row in file.rows() if row.outgoing}) == 3


def test_a_row_may_leave_out_its_empty_cells_at_the_end(tmp_path: Path) -> None:
    """Spreadsheets do this. If a required cell is missing, the problem names its field."""
    text = "email,first_name,last_name,roles,actor\n"
    rows = "a@example.com,A,B,customer\nb@example.com,A,B\nc@example.com,A,B,,,\n"
    checked, problems = File(tmp_path, text + rows).check()
    assert [checked.may_be_sent(number) for number in (1, 2, 3)] == [True, False, False]
    assert problems == [
        Problem(3, "roles", "is missing"),
        Problem(4, "", "has 6 cells, but the header has 5"),
    ]


def test_a_blank_before_a_quote_is_not_part_of_a_name(tmp_path: Path) -> None:
    """People who write CSV by hand often put a blank after the comma."""
    text = 'email, "first_name", "last_name"\nada@example.com, "Ada", "Lovelace" \n'
    ada = created(tmp_path, text, defaults={"roles": "customer"})
    assert (ada.first_name, ada.last_name) == ("Ada", "Lovelace")


# --- what other systems export ---

BCRYPT = "$2y$10$" + "a" * 53
DJANGO = "pbkdf2_sha256$260000$somesalt$" + "A" * 43 + "="
OTHER_PBKDF2 = "$pbkdf2-sha512$25000$" + "s" * 22 + "$" + "h" * 86
SCRYPT = "$scrypt$ln=16,r=8,p=1$" + "s" * 22 + "$" + "h" * 43


def test_a_row_has_a_hash_roles_a_verification_and_a_date(tmp_path: Path) -> None:
    """The names of columns and the forms of values are those of exports."""
    text = (
        "E-Mail;Name;Roles;Password Hash;emailVerified;createdTimestamp\n"
        f"ada@example.com;Ada Lovelace;customer|admin;{BCRYPT};TRUE;1551432600000\n"
        f"madonna@example.com;Madonna;customer;{DJANGO};0;2019-03-01\n"
        f"c@example.com;C D;customer;{SCRYPT};;\n"
        f"e@example.com;E F;customer;{OTHER_PBKDF2};;\n"
    )
    ada, madonna, third, fourth = File(tmp_path, text, full_name="name").commands()
    assert isinstance(ada, CreateUser)
    assert (ada.first_name, ada.last_name) == ("Ada", "Lovelace")
    assert ada.roles == ("customer", "admin")
    assert ada.password_hash is not None
    assert (ada.password_hash.value, ada.password_hash.legacy) == (BCRYPT, True)
    assert ada.email_verified is True
    assert ada.created_at == datetime(2019, 3, 1, 9, 30, tzinfo=UTC)
    assert isinstance(madonna, CreateUser)
    assert (madonna.first_name, madonna.last_name) == ("Madonna", None)
    assert (madonna.email_verified, madonna.created_at) == (False, datetime(2019, 3, 1, tzinfo=UTC))
    for other in (third, fourth):
        assert isinstance(other, CreateUser)
        assert (other.email_verified, other.created_at) == (None, None)


@pytest.mark.parametrize(
    ("names", "values"),
    [  # the columns that each system exports, and names of fields that are not guessed
        ("given_name,family_name,email,email_verified,zoneinfo", "A,B,{},true,Europe/Rome"),
        ("firstName,lastName,email,emailVerified,createdTimestamp", "A,B,{},true,1551432600000"),
        ("first_name,last_name,email,date_joined", "A,B,{},2019-03-01 09:30:00.123456+00"),
        ("Given Name,Surname,Mail,User-Create-Date", "A,B,{},2019-03-01T09:30:00Z"),
    ],
)
def test_columns_of_common_systems_are_known(tmp_path: Path, names: str, values: str) -> None:
    """OpenID Connect and Cognito, Keycloak, Django, and a directory."""
    text = f"{names}\n{values.format('a@example.com')}\n"
    command = created(tmp_path, text, defaults={"roles": "customer"})
    assert (command.email.value, command.first_name, command.last_name) == (
        "a@example.com", "A", "B",
    )  # fmt: skip


def test_json_lines_have_the_values_of_exports_too(tmp_path: Path) -> None:
    """Booleans, numbers and texts, as Auth0, Firebase and Keycloak write them."""
    rest = {"first_name": "A", "roles": ["customer"]}
    lines = [
        {"email": "a@example.com", "emailVerified": True, "createdAt": "1551432600000"},
        {"email": "b@example.com", "email_verified": "true", "created_at": 1551432600},
        {"email": "c@example.com", "email_verified": 1, "createdTimestamp": 1551432600000},
        {"email": "d@example.com", "email_verified": True, "created_at": 1551432600.0},
    ]
    text = "\n".join(json.dumps(line | rest) for line in lines)
    for command in File(tmp_path, text, name="x.jsonl").commands():
        assert isinstance(command, CreateUser)
        assert command.email_verified is True
        assert command.created_at == datetime(2019, 3, 1, 9, 30, tzinfo=UTC)
    names = File(
        tmp_path,
        '{"email": "a@example.com", "name": "Ada King Lovelace", "roles": []}',
        name="x.jsonl",
        full_name="name",
    )
    (command,) = names.commands()
    assert isinstance(command, CreateUser)
    assert (command.first_name, command.last_name) == ("Ada King", "Lovelace")


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("email_verified", "maybe", "must be true or false (also accepted: yes, no, 1, 0)"),
        ("created_at", "01/03/2019", "must be an RFC 3339 time with offset, a date such as"),
        ("created_at", "1970-01-01", "must not be before 1990"),
        ("created_at", "2100-01-01", "must not be after the command was sent"),
        ("password_hash", "$2b$09$" + "a" * 53, "bcrypt needs a cost from 10 to 16"),
        ("password_hash", "pbkdf2_sha256$999$salt$" + "A" * 43 + "=", "PBKDF2 needs from 10000"),
        ("password_hash", "5f4dcc3b5aa765d61d8327deb882cf99", "must be an argon2id, bcrypt,"),
        ("password_hash", "{SSHA}" + "A" * 40, "must be an argon2id, bcrypt, scrypt or PBKDF2"),
        ("password_hash", "sha1$salt$" + "a" * 40, "must be an argon2id, bcrypt, scrypt or"),
        ("last_name", "Love\0lace", "must be visible text without control"),
    ],
)
def test_an_invalid_value_is_a_bad_row_with_the_rule(
    tmp_path: Path, column: str, value: str, rule: str
) -> None:
    """Nothing is imported of that row; the value is not shown."""
    text = (
        f'email,first_name,roles,{column}\na@example.com,Ada,customer,"{value}"\n'
        "b@example.com,Ada,customer,\n"
    )
    checked, (problem,) = File(tmp_path, text).check()
    assert [checked.may_be_sent(number) for number in (1, 2)] == [False, True]
    assert (problem.line, problem.field) == (2, column)
    assert problem.rule.startswith(rule)
    assert value not in problem.rule


def test_a_whole_name_that_cannot_be_split_is_a_bad_row(tmp_path: Path) -> None:
    """With a comma the family name may come first; without a cell there is no name."""
    text = 'email,name,roles\na@example.com,"Lovelace, Ada",admin\nb@example.com,,admin\n'
    checked, problems = File(tmp_path, text, full_name="Name").check()
    assert checked.bad == 2
    assert problems == [
        Problem(2, "first_name", "must be a name without a comma, the given name first"),
        Problem(3, "first_name", "is missing"),
    ]


def test_two_keys_for_a_field_are_a_bad_row(tmp_path: Path) -> None:
    """It is not known which one is right."""
    text = '{"email": "a@example.com", "mail": "b@example.com", "first_name": "A", "roles": []}'
    _, problems = File(tmp_path, text, name="x.jsonl").check()
    assert problems == [Problem(1, "email", "has two values in this row")]
    text = '{"email": "a@example.com", "name": "A B", "first_name": "A", "roles": []}'
    _, problems = File(tmp_path, text, name="x.jsonl", full_name="name").check()
    assert problems == [Problem(1, "first_name", "has two values in this row")]


# --- JSON lines ---


def test_json_lines_may_be_objects_of_fields_or_whole_commands(tmp_path: Path) -> None:
    """They may be mixed, with one correlation id; a whole CloudEvent keeps its own attributes."""
    lines = [
        {"email": "a@example.com", "First_Name": "A", "last_name": "B", "roles": ["admin"]},
        {"type": "UnbanUser", "user_id": uid("ada")},
        {
            "specversion": "1.0",
            "id": uid("event"),
            "source": "/other",
            "type": "biome.user.BanUser.v1",
            "subject": uid("ada"),
            "data": {"reason": "fraud"},
        },
    ]
    text = "\n".join(map(json.dumps, lines))
    rows = File(tmp_path, text, name="x.jsonl").rows()
    envelopes = [row.outgoing.envelope for row in rows if row.outgoing]
    assert [type(each.command) for each in envelopes] == [CreateUser, UnbanUser, BanUser]
    assert (envelopes[2].command_id, envelopes[2].source) == (uid("event"), "/other")
    assert envelopes[0].correlation_id == envelopes[1].correlation_id == f"import-{'0' * 16}"


@pytest.mark.parametrize(
    ("item", "field", "rule"),
    [
        (
            {"email": 7, "first_name": "A", "last_name": "B", "roles": []},
            "email",
            "must be a string",
        ),
        ({"email": None}, "email", "is missing"),
        ({"shoe_size": 7}, "shoe_size", "is not a field of CreateUser"),
        ({"ada@example.com": 7}, "an unknown field", "is not a field of CreateUser"),
        ({"type": "Nonsense"}, "type", "must be a command"),
        ({"type": 7}, "type", "must be a command"),
        ({"type": "BanUser", "data": []}, "", "needs a type, and data as an object"),
        ({"type": "BanUser", "data": {"reason": "x"}}, "user_id", "is missing"),
        ({"type": "BanUser", "user_id": "x", "data": {"reason": "x"}}, "user_id", "must be a UUID"),
        ({"type": "UnbanUser", "user_id": uid("a"), "id": 3}, "command_id", "must be a string"),
        ({"type": "UnbanUser", "shoe": 3}, "", "has an unknown field"),
        ({"specversion": "9"}, "specversion", "must be 1.0"),
        ({"specversion": "1.0", "type": "biome.user.Fly.v1"}, "type", "not known"),
        ({"type": "BanUser", "data": {"reason": "x" * 300_000}}, "", "256 KiB"),
    ],
)
def test_an_invalid_json_line_is_an_invalid_row(
    tmp_path: Path, item: dict[str, Any], field: str, rule: str
) -> None:
    """Whatever the problem is, the next line is read."""
    good = json.dumps({"type": "UnbanUser", "user_id": uid("ada")})
    checked, problems = File(tmp_path, f"{json.dumps(item)}\n{good}", name="x.jsonl").check()
    assert (checked.rows, checked.bad, checked.may_be_sent(2)) == (2, 1, True)
    assert problems[0].line == 1
    assert problems[0].field == field
    assert rule in problems[0].rule


# --- ids ---

PEOPLE = HEADER + "a@example.com,A,B,customer\nb@example.com,A,B,customer\n"


def ids(file: File) -> list[str]:
    """Return the ids of the commands."""
    return [row.outgoing.envelope.command_id for row in file.rows() if row.outgoing]


def test_a_row_has_the_same_id_whenever_it_is_read(tmp_path: Path) -> None:
    """A row that is sent twice is handled once; also where a command has no id of its own."""
    commands = "\n".join([json.dumps({"type": "UnbanUser", "user_id": uid("a")})] * 2)
    for text, name in ((PEOPLE, "x.csv"), (commands, "x.jsonl")):
        file = File(tmp_path, text, name=name)
        first, again = ids(file), ids(file)
        assert first == again == ids(File(tmp_path, text, name=name))
        assert len(set(first)) == 2
        assert all(UUID(each).version == 5 for each in first)


def test_another_file_has_other_ids_unless_the_import_is_named(tmp_path: Path) -> None:
    """With a name, the id depends on the row's content; without one, also on its position."""
    lines = PEOPLE.splitlines(keepends=True)
    swapped = lines[0] + lines[2] + lines[1]
    named = Identity("spring", named=True)
    assert (
        ids(File(tmp_path, PEOPLE, identity=named))
        == ids(File(tmp_path, swapped, identity=named))[::-1]
    )
    assert set(ids(File(tmp_path, PEOPLE))).isdisjoint(ids(File(tmp_path, swapped)))
    changed = PEOPLE.replace("a@", "c@")
    first = ids(File(tmp_path, PEOPLE, identity=named))
    second = ids(File(tmp_path, changed, identity=named))
    assert first[0] != second[0]
    assert first[1] == second[1]
