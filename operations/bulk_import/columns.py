"""Map the columns of a file to fields of a command, and parse cells to values."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from domain.commands import Command
from domain.errors import InvalidValueError
from domain.fields import fields_of
from operations.bulk_import.records import DELIMITERS
from operations.bulk_import.values import parse_flag, parse_moment, split_name
from worker.errors import UsageError

ENVELOPE = {
    "user_id": "subject",
    "command_id": "id",
    "expected_version": "expectedversion",
    "correlation_id": "correlationid",
    "actor": "actor",
}
"""Columns beside the command's own fields, and the CloudEvents attribute that each becomes."""
ALIASES = {
    "mail": "email",
    "email_address": "email",
    "given_name": "first_name",
    "family_name": "last_name",
    "surname": "last_name",
    "zoneinfo": "time_zone",
    "created_timestamp": "created_at",
    "date_joined": "created_at",
    "user_create_date": "created_at",
}
"""Other names of fields, as OpenID Connect, Keycloak, Django and Cognito have them."""
PASSWORD = "password"  # noqa: S105 - the name of a column that is not allowed
FULL_NAME = "full name"
"""The column of `--split-name`; a blank distinguishes it from the fields."""
_WHOLE_NAMES = frozenset({"name", "fullname", "displayname"})
_SIGNS = re.compile(r"[\s_.-]+")
_SEPARATORS = re.compile(r"[;|,]")
_WHOLE = re.compile(r"[0-9]{1,18}")
_NAME = re.compile(r"[A-Za-z][A-Za-z_ .-]{0,39}")
"""Names of this form may be repeated in an error; other text may be personal data."""


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """Content of one row: the command's fields, and attributes of the CloudEvent."""

    data: dict[str, Any]
    attributes: dict[str, Any]
    problems: dict[str, str]
    """The rule that a value of the file breaks, by field."""


class Columns:
    """Maps the columns of a file to the fields of one command."""

    def __init__(
        self,
        command: type[Command],
        mapping: Mapping[str, str | None] | None = None,
        defaults: Mapping[str, str] | None = None,
        full_name: str | None = None,
    ) -> None:
        """Create the mapping for a command.

        Args:
            command: the class of the command.
            mapping: fields by column name, for columns whose names differ from the field's; `None`
                for a column to ignore.
            defaults: texts of fields for rows that do not set them.
            full_name: the column with the whole name, to be split into given and family name.

        Raises:
            UsageError: an option names a field that the command does not have, or a default is
                invalid, or two options name the same column.
        """
        self.command = command
        definitions = fields_of(command)
        self._required = {field.name for field in definitions if field.required}
        self._kinds: dict[str, type] = {field.name: field.kind for field in definitions}
        self._names = {_squashed(name): name for name in [*self._kinds, *ENVELOPE]}
        for alias, name in ALIASES.items():
            if name in self._kinds:
                self._names.setdefault(_squashed(alias), name)
        self._given = {_squashed(name): name for name in mapping or {}}
        self._mapping = {_squashed(name): field for name, field in (mapping or {}).items()}
        for field in [*self._mapping.values(), *(defaults or {})]:
            if field is not None and field not in self._kinds.keys() | ENVELOPE.keys():
                raise UsageError(
                    f"--map or --set names a field that {self._named} does not have", self._fields
                )
        if full_name is not None:
            self._add_full_name(full_name)
        self._defaults = self._of_texts(defaults or {})

    def _add_full_name(self, column: str) -> None:
        if not {"first_name", "last_name"} <= self._kinds.keys():
            raise UsageError(
                f"--split-name: {self._named} has no fields for names", "leave the option out"
            )
        if _squashed(column) in self._mapping:
            raise UsageError(
                "--split-name names a column that --map or --ignore-column names too",
                "use one of them",
            )
        self._mapping[_squashed(column)] = FULL_NAME
        self._given[_squashed(column)] = column

    def _of_texts(self, defaults: Mapping[str, str]) -> dict[str, Any]:
        problems: dict[str, str] = {}
        values = {
            name: self._value(name, self._typed(name, text), problems)
            for name, text in defaults.items()
        }
        for name, rule in problems.items():
            raise UsageError(f"--set {name}: {rule}", "correct the value")
        return values

    @property
    def _named(self) -> str:
        return self.command.__name__

    @property
    def _fields(self) -> str:
        return f"the fields are: {', '.join([*self._kinds, *ENVELOPE])}"

    def field(self, column: str) -> str | None:
        """Return the field for a column, or `None` if the column is to be ignored.

        The comparison ignores case, blanks, hyphens, underscores and dots.

        Raises:
            KeyError: the column is unknown.
        """
        name = _squashed(column)
        if name in self._mapping:
            return self._mapping[name]
        if name in self._names:
            return self._names[name]
        raise KeyError(column)

    # --- a header ---

    def of_header(self, names: Sequence[str], file: str) -> list[str | None]:
        """Return the field for each column, or `None` for a column to ignore.

        Raises:
            UsageError: the names are not a header, or a column is unknown, repeated or missing.
        """
        found: list[str | None] = []
        unknown: list[str] = []
        for number, name in enumerate(names, 1):
            try:
                found.append(self.field(name))
            except KeyError:
                unknown.append(_shown(name, number))
        self._require_known(found, unknown, names, file)
        self._require_once(found, names, file)
        self._require_all(found, names, file)
        present = {_squashed(name) for name in names}
        for name in sorted(self._mapping.keys() - present):
            raise UsageError(
                f"{file} has no column {self._given[name]!r}",
                "correct --map, --ignore-column or --split-name",
            )
        return found

    def _require_known(
        self, found: Sequence[str | None], unknown: Sequence[str], names: Sequence[str], file: str
    ) -> None:
        if not unknown:
            return
        if len(names) == 1 and (others := [mark for mark in DELIMITERS if mark in names[0]]):
            marks = " or ".join(_MARKS.get(mark, mark) for mark in others)
            raise UsageError(f"{file} has one column only", f"try --delimiter with {marks}")
        if any("\0" in name for name in names):
            raise UsageError(
                f"{file} has NUL characters in its first line", "try --encoding utf-16-le"
            )
        if not any(found):
            problem = (
                f"the first line of {file} is not a header: no column is a field of {self._named}"
            )
            raise UsageError(problem, self._fields)
        if PASSWORD in map(_squashed, names):
            raise UsageError(
                f"{file} has a column {PASSWORD}: plaintext passwords must not be sent",
                "hash them with argon2id, as PHC strings in a column password_hash; if the column "
                f"holds hashes, use --map {PASSWORD}=password_hash",
            )
        columns = ", ".join(unknown[:10])
        whole = [name for name in unknown if _squashed(name) in _WHOLE_NAMES]
        advice = f"use --map COLUMN=FIELD or --ignore-column COLUMN; {self._fields}"
        if whole and "first_name" in self._kinds:
            advice = f"use --split-name {whole[0]!r} to split a whole name; otherwise {advice}"
        raise UsageError(
            f"{file} has columns that are not fields of {self._named}: {columns}", advice
        )

    def _require_once(self, found: Sequence[str | None], names: Sequence[str], file: str) -> None:
        if FULL_NAME in found and (split := {"first_name", "last_name"} & set(found)):
            raise UsageError(
                f"{file} has a column for {min(split)}, which --split-name sets too",
                "ignore one with --ignore-column, or leave out --split-name",
            )
        columns: dict[str, int] = {}
        for place, (field, name) in enumerate(zip(found, names, strict=True)):
            if field is None:
                continue
            first = columns.setdefault(field, place)
            if first != place:
                equal = _squashed(names[first]) == _squashed(name)
                raise UsageError(
                    f"{file} has two columns for {field}",
                    "rename one" if equal else "ignore one with --ignore-column",
                )

    def _require_all(self, found: Sequence[str | None], names: Sequence[str], file: str) -> None:
        needed = set(self._required)
        if not self.command.creates_user and "email" not in self._kinds:
            needed.add("user_id")
        if FULL_NAME in found:
            needed.discard("first_name")
        missing = sorted(needed - set(found) - self._defaults.keys())
        if missing:
            columns = ", ".join(_shown(name, number) for number, name in enumerate(names[:20], 1))
            raise UsageError(
                f"{file} has no column for {', '.join(missing)}",
                f"its columns are: {columns}; use --map COLUMN=FIELD, or set the field for all "
                "rows with --set FIELD=VALUE",
            )

    # --- a row ---

    def of_cells(self, fields: Sequence[str | None], cells: Sequence[str]) -> Asked:
        """Parse a row of CSV; empty cells are omitted."""
        return self._asked(
            (field, self._typed(field, text))
            for field, cell in zip(fields, cells, strict=True)
            if field is not None and (text := cell.strip())
        )

    def of_object(self, item: Mapping[str, Any]) -> Asked:
        """Parse a JSON object of fields; null values are omitted.

        Raises:
            KeyError: a name is not a field of the command.
        """
        pairs = [(self.field(name), value) for name, value in item.items()]
        return self._asked(
            (field, value) for field, value in pairs if field is not None and value is not None
        )

    def _asked(self, pairs: Iterable[tuple[str, Any]]) -> Asked:
        given: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for field, value in pairs:
            values = {field: value}
            if field == FULL_NAME:
                values = _split(value, problems)
            for name, each in values.items():
                if name in given:
                    problems[name] = "has two values in this row"
                given[name] = self._value(name, each, problems)
        whole = {**self._defaults, **given}
        data = {name: value for name, value in whole.items() if name in self._kinds}
        around = {ENVELOPE[name]: value for name, value in whole.items() if name not in data}
        return Asked(data, around, problems)

    def _typed(self, field: str, text: str) -> Any:
        """Convert a cell to an integer or a list; if invalid, it stays text for the check."""
        kind = self._kind(field)
        if kind is int:
            return int(text) if _WHOLE.fullmatch(text) else text
        if kind is tuple:
            return [word for part in _SEPARATORS.split(text) if (word := part.strip())]
        return text

    def _value(self, field: str, value: Any, problems: dict[str, str]) -> Any:
        """Convert a boolean or a time as other systems write it; add a problem if it is invalid."""
        parse = _PARSERS.get(self._kind(field))
        if parse is None or not isinstance(value, str | int | float):
            return value
        try:
            return parse(str(value))
        except InvalidValueError as error:
            problems[field] = str(error)
            return value

    def _kind(self, field: str) -> type:
        return self._kinds.get(field, int if field == "expected_version" else str)


_PARSERS: Mapping[type, Callable[[str], Any]] = {bool: parse_flag, datetime: parse_moment}
_MARKS = {"\t": "tab"}


def _split(value: Any, problems: dict[str, str]) -> dict[str, Any]:
    """Return the names that a whole name consists of; an invalid one is a problem."""
    try:
        first, last = split_name(value)
    except InvalidValueError as error:
        problems["first_name"] = str(error)
        return {}
    return {"first_name": first} if last is None else {"first_name": first, "last_name": last}


def _squashed(name: str) -> str:
    """Return a column's name for comparison; a name that consists of signs alone stays as it is."""
    return _SIGNS.sub("", name.casefold()) or name


def _shown(name: str, number: int) -> str:
    return name.strip() if _NAME.fullmatch(name.strip()) else f"column {number}"
