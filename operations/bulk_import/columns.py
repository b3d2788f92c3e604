"""Map the columns of a file to fields of a command, and parse cells to values."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_origin, get_type_hints

from domain.commands import Command
from worker.errors import UsageError

ENVELOPE = {
    "user_id": "subject",
    "command_id": "id",
    "expected_version": "expectedversion",
    "correlation_id": "correlationid",
    "actor": "actor",
}
"""Columns beside the command's own fields, and the CloudEvents attribute that each becomes."""
PASSWORD = "password"  # noqa: S105 - the name of a column that is not allowed
_SEPARATORS = re.compile(r"[;|,]")
_WHOLE = re.compile(r"[0-9]{1,18}")
_NAME = re.compile(r"[A-Za-z][A-Za-z_ .-]{0,39}")
"""Names of this form may be repeated in an error; other text may be personal data."""


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """Content of one row: the command's fields, and attributes of the CloudEvent."""

    data: dict[str, Any]
    attributes: dict[str, Any]


class Columns:
    """Maps the columns of a file to the fields of one command."""

    def __init__(
        self,
        command: type[Command],
        mapping: Mapping[str, str | None] | None = None,
        defaults: Mapping[str, str] | None = None,
    ) -> None:
        """Create the mapping for a command.

        Args:
            command: the class of the command.
            mapping: fields by column name, for columns whose names differ from the field's; `None`
                for a column to ignore.
            defaults: texts of fields for rows that do not set them.

        Raises:
            UsageError: a mapping or a default names a field that the command does not have.
        """
        self.command = command
        hints = get_type_hints(command)
        self._hints = {
            field.name: hints[field.name]
            for field in dataclasses.fields(command)  # type: ignore[arg-type]  # all are dataclasses
        }
        self._whole = {name for name, hint in self._hints.items() if hint is int}
        self._whole.add("expected_version")
        self._lists = {name for name, hint in self._hints.items() if get_origin(hint) is tuple}
        self._mapping = {_folded(name): field for name, field in (mapping or {}).items()}
        for field in [*self._mapping.values(), *(defaults or {})]:
            if field is not None and field not in self._hints.keys() | ENVELOPE.keys():
                raise UsageError(
                    f"--map or --set names a field that {self._named} does not have", self._fields
                )
        self._defaults = {name: self._value(name, text) for name, text in (defaults or {}).items()}

    @property
    def _named(self) -> str:
        return self.command.__name__

    @property
    def _fields(self) -> str:
        return f"the fields are: {', '.join([*self._hints, *ENVELOPE])}"

    def field(self, column: str) -> str | None:
        """Return the field for a column, or `None` if the column is to be ignored.

        Raises:
            KeyError: the column is unknown.
        """
        folded = _folded(column)
        if folded in self._mapping:
            return self._mapping[folded]
        if folded in self._hints or folded in ENVELOPE:
            return folded
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
        self._require_known(found, unknown, [_folded(name) for name in names], file)
        self._require_once(found, file)
        self._require_all(found, file)
        unused = sorted(self._mapping.keys() - {_folded(name) for name in names})
        if unused:
            raise UsageError(
                f"{file} has no column {unused[0]!r}", "correct --map or --ignore-column"
            )
        return found

    def _require_known(
        self, found: Sequence[str | None], unknown: Sequence[str], names: Sequence[str], file: str
    ) -> None:
        if not unknown:
            return
        if not any(found):
            problem = (
                f"the first line of {file} is not a header: no column is a field of {self._named}"
            )
            raise UsageError(problem, self._fields)
        if PASSWORD in names:
            raise UsageError(
                f"{file} has a column {PASSWORD}: plaintext passwords must not be sent",
                "hash them with argon2id, as PHC strings in a column password_hash",
            )
        columns = ", ".join(unknown[:10])
        raise UsageError(
            f"{file} has columns that are not fields of {self._named}: {columns}",
            f"use --map COLUMN=FIELD or --ignore-column COLUMN; {self._fields}",
        )

    def _require_once(self, found: Sequence[str | None], file: str) -> None:
        fields = [field for field in found if field is not None]
        twice = [field for field in dict.fromkeys(fields) if fields.count(field) > 1]
        if twice:
            raise UsageError(
                f"{file} has two columns for {twice[0]}", "ignore one with --ignore-column"
            )

    def _require_all(self, found: Sequence[str | None], file: str) -> None:
        needed = {
            field.name
            for field in dataclasses.fields(self.command)  # type: ignore[arg-type]  # as above
            if field.default is dataclasses.MISSING
        }
        if not self.command.creates_user and "email" not in self._hints:
            needed.add("user_id")
        missing = sorted(needed - set(found) - self._defaults.keys())
        if missing:
            raise UsageError(
                f"{file} has no column for {', '.join(missing)}",
                "add it, use --map COLUMN=FIELD, or set it for all rows with --set FIELD=VALUE",
            )

    # --- a row ---

    def of_cells(self, fields: Sequence[str | None], cells: Sequence[str]) -> Asked:
        """Parse a row of CSV; empty cells are omitted."""
        said = {
            field: self._value(field, text)
            for field, cell in zip(fields, cells, strict=True)
            if field is not None and (text := cell.strip())
        }
        return self._asked(said)

    def of_object(self, item: Mapping[str, Any]) -> Asked:
        """Parse a JSON object of fields; null values are omitted.

        Raises:
            KeyError: a name is not a field of the command.
        """
        said = {}
        for name, value in item.items():
            field = self.field(name)
            if field is not None and value is not None:
                said[field] = value
        return self._asked(said)

    def _asked(self, said: Mapping[str, Any]) -> Asked:
        whole = {**self._defaults, **said}
        data = {name: value for name, value in whole.items() if name in self._hints}
        around = {ENVELOPE[name]: value for name, value in whole.items() if name not in data}
        return Asked(data, around)

    def _value(self, field: str, text: str) -> Any:
        """Convert a cell to its field's type; if invalid, it stays text for the check to report."""
        if field in self._whole:
            return int(text) if _WHOLE.fullmatch(text) else text
        if field in self._lists:
            return [word for part in _SEPARATORS.split(text) if (word := part.strip())]
        return text


def _folded(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _shown(name: str, number: int) -> str:
    return name if _NAME.fullmatch(name) else f"column {number}"
