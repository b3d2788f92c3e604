"""Which column of a file is which field of the command, and how a cell's text becomes a value."""

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
"""What a row may say around its command, and the CloudEvent's attribute that it becomes."""
PASSWORD = "password"  # noqa: S105 - the name of a column that must not be
_SEPARATORS = re.compile(r"[;|,]")
_WHOLE = re.compile(r"[0-9]{1,18}")
_NAME = re.compile(r"[A-Za-z][A-Za-z_ .-]{0,39}")
"""Repeated in an error; what looks otherwise may be somebody's data in place of a header."""


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """What one row asks for: the command's fields, and the attributes around them."""

    data: dict[str, Any]
    attributes: dict[str, Any]


class Columns:
    """Knows the fields of one command, and what the columns of a file are called."""

    def __init__(
        self,
        command: type[Command],
        mapping: Mapping[str, str | None] | None = None,
        defaults: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare for a command.

        Args:
            command: its class.
            mapping: fields by the names of columns that are not called like them; `None` for a
                column that is to be ignored.
            defaults: texts of fields, for rows that leave them out.

        Raises:
            UsageError: one of them names a field that the command does not have.
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
                    f"{self._named} has no such field as --map or --set names", self._fields
                )
        self._defaults = {name: self._value(name, text) for name, text in (defaults or {}).items()}

    @property
    def _named(self) -> str:
        return self.command.__name__

    @property
    def _fields(self) -> str:
        return f"its fields are {', '.join([*self._hints, *ENVELOPE])}"

    def field(self, column: str) -> str | None:
        """Give the field that a column holds, or `None` if it is to be ignored.

        Raises:
            KeyError: it is none that is known.
        """
        folded = _folded(column)
        if folded in self._mapping:
            return self._mapping[folded]
        if folded in self._hints or folded in ENVELOPE:
            return folded
        raise KeyError(column)

    # --- a header ---

    def of_header(self, names: Sequence[str], file: str) -> list[str | None]:
        """Give the field of each column, `None` for one that is ignored.

        Raises:
            UsageError: it is no header, or a column is unknown, twice there, or missing.
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
                f"the first line of {file} is no header: no column is a field of {self._named}"
            )
            raise UsageError(problem, self._fields)
        if PASSWORD in names:
            raise UsageError(
                f"{file} has a column {PASSWORD}, and no plaintext password may be sent",
                "hash them (argon2id, PHC string) into a column password_hash",
            )
        columns = ", ".join(unknown[:10])
        raise UsageError(
            f"{file} has columns that {self._named} does not know: {columns}",
            f"name them with --map COLUMN=FIELD or --ignore-column COLUMN; {self._fields}",
        )

    def _require_once(self, found: Sequence[str | None], file: str) -> None:
        fields = [field for field in found if field is not None]
        twice = [field for field in dict.fromkeys(fields) if fields.count(field) > 1]
        if twice:
            raise UsageError(f"{file} has two columns for {twice[0]}", "ignore one of them")

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
                "add it, name it with --map COLUMN=FIELD, or give all rows --set FIELD=VALUE",
            )

    # --- a row ---

    def of_cells(self, fields: Sequence[str | None], cells: Sequence[str]) -> Asked:
        """Read a row of CSV; an empty cell is left out."""
        said = {
            field: self._value(field, text)
            for field, cell in zip(fields, cells, strict=True)
            if field is not None and (text := cell.strip())
        }
        return self._asked(said)

    def of_object(self, item: Mapping[str, Any]) -> Asked:
        """Read an object of fields; null is left out.

        Raises:
            KeyError: a name that is none of the command's.
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
        """Read a cell as its field's type asks; what is not of the type is for the check to say."""
        if field in self._whole:
            return int(text) if _WHOLE.fullmatch(text) else text
        if field in self._lists:
            return [word for part in _SEPARATORS.split(text) if (word := part.strip())]
        return text


def _folded(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _shown(name: str, number: int) -> str:
    return name if _NAME.fullmatch(name) else f"column {number}"
