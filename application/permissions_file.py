"""Read the permissions of producers from a TOML file.

Example::

    operators = ["AROAOPERATOR"]

    [[producer]]
    name = "signup"
    queues = ["user-commands"]
    principals = ["AROASIGNUP"]
    sources = ["/signup"]
    commands = ["RegisterUser", "RequestEmailVerification"]
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, NoReturn

from application.permissions import ANY, Permissions, Producer
from domain.commands import COMMANDS
from domain.errors import InvalidValueError
from domain.values import parse_role

_COMMANDS: Final = frozenset(kind.split(".")[2] for kind in COMMANDS)
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,49}", re.ASCII)
_PRINCIPAL: Final = re.compile(r"[A-Za-z0-9]{3,128}", re.ASCII)
_SOURCE: Final = re.compile(r"[!-~]{1,255}", re.ASCII)
_TOP: Final = ("allow_all", "operators", "producer")
_LISTS: Final = ("queues", "principals", "sources", "commands", "roles")
_REQUIRED: Final = ("name", *_LISTS[:-1])


class PermissionsError(ValueError):
    """The file is invalid; the message names the line, the field and the rule."""


def parse_permissions(
    text: str, queues: Collection[str] | None, roles: Collection[str]
) -> Permissions:
    """Parse the content of a file.

    Args:
        text: the file in TOML.
        queues: the command queues that the worker serves; `None` to accept any name.
        roles: the roles that the worker's settings list.

    Raises:
        PermissionsError: the file is invalid.
    """
    return _Reader(text, queues, roles).permissions()


class _Reader:
    def __init__(self, text: str, queues: Collection[str] | None, roles: Collection[str]) -> None:
        self._lines = text.splitlines()
        self._rules: dict[str, Callable[[str], str | None]] = {
            "queues": lambda value: (
                None if queues is None else _one_of(value, queues, "a queue that the worker serves")
            ),
            "principals": lambda value: _matches(
                value, _PRINCIPAL, "the unique id of a role or user, such as AROAEXAMPLE"
            ),
            "operators": lambda value: _matches(
                value, _PRINCIPAL, "the unique id of a role or user, such as AROAEXAMPLE"
            ),
            "sources": lambda value: _matches(value, _SOURCE, "a URI reference, such as /signup"),
            "commands": lambda value: _one_of(value, _COMMANDS, "a command"),
            "roles": lambda value: _role(value, roles),
        }
        try:
            self._file = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise PermissionsError(f"is not valid TOML: {error}") from error

    def permissions(self) -> Permissions:
        self._no_other_fields(self._file, _TOP, 0)
        allow_all = self._file.get("allow_all", False)
        if not isinstance(allow_all, bool):
            self._fail(0, "allow_all", "must be true or false")
        tables = self._file.get("producer", [])
        if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
            self._fail(0, "producer", "must be written as [[producer]]")
        if allow_all and tables:
            self._fail(0, "allow_all", "cannot be combined with [[producer]]: remove one of them")
        if not (allow_all or tables):
            raise PermissionsError("needs a [[producer]], or allow_all = true")
        producers = tuple(self._producer(each, n) for n, each in enumerate(tables, 1))
        self._distinct(producers)
        return Permissions(producers, self._texts(self._file, "operators", 0), allow_all)

    def _producer(self, table: Mapping[str, Any], number: int) -> Producer:
        self._no_other_fields(table, ("name", *_LISTS), number)
        for field in _REQUIRED:
            if field not in table:
                self._fail(number, field, "is missing")
        name = table["name"]
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            self._fail(number, "name", "must be lower-case letters, digits and hyphens")
        lists = {field: self._texts(table, field, number) for field in _LISTS}
        for field in _REQUIRED[1:]:
            if not lists[field]:
                self._fail(number, field, "must not be empty")
        return Producer(name, **lists)

    def _texts(self, table: Mapping[str, Any], field: str, number: int) -> tuple[str, ...]:
        values = table.get(field, [])
        if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
            self._fail(number, field, "must be a list of strings")
        for value in values:
            if value == ANY and field != "operators":
                continue
            problem = self._rules[field](value)
            if problem is not None:
                self._fail(number, field, problem)
        return tuple(dict.fromkeys(values))

    def _distinct(self, producers: tuple[Producer, ...]) -> None:
        """Check that no message can be of two producers: the first would hide the second."""
        for number, producer in enumerate(producers, 1):
            for other in producers[: number - 1]:
                if producer.name == other.name:
                    self._fail(number, "name", f"{producer.name} is used twice")
                if _overlap(producer.queues, other.queues) and _overlap(
                    producer.principals, other.principals
                ):
                    self._fail(
                        number,
                        "principals",
                        f"overlap with those of {other.name} on the same queue",
                    )

    def _no_other_fields(
        self, table: Mapping[str, Any], known: Collection[str], number: int
    ) -> None:
        for field in table:
            if field not in known:
                similar = difflib.get_close_matches(field, known, 1)
                advice = f"; did you mean {similar[0]}?" if similar else ""
                self._fail(number, field, f"is not a field{advice}")

    def _fail(self, number: int, field: str, rule: str) -> NoReturn:
        raise PermissionsError(f"line {self._line(number, field)}: {field} {rule}")

    def _line(self, number: int, field: str) -> int:
        """Return the line of a field of the producer with this number, or of the file (0)."""
        starts = [
            line for line, text in enumerate(self._lines, 1) if text.strip() == "[[producer]]"
        ]
        first = starts[number - 1] if 0 < number <= len(starts) else 1
        last = next((line for line in starts if line > first), len(self._lines) + 1)
        key = re.compile(rf"\s*[\"']?{re.escape(field)}[\"']?\s*=")
        lines: Iterable[int] = range(first, max(last, first + 1))
        return next((n for n in lines if key.match(self._text(n))), first)

    def _text(self, line: int) -> str:
        return self._lines[line - 1] if line <= len(self._lines) else ""


def _overlap(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    return ANY in first or ANY in second or not set(first).isdisjoint(second)


def _matches(value: str, form: re.Pattern[str], what: str) -> str | None:
    return None if form.fullmatch(value) else f"{value!r} must be {what}"


def _one_of(value: str, known: Collection[str], what: str) -> str | None:
    if value in known:
        return None
    similar = difflib.get_close_matches(value, known, 1)
    return f"{value!r} is not {what}" + (f"; did you mean {similar[0]}?" if similar else "")


def _role(value: str, known: Collection[str]) -> str | None:
    try:
        return _one_of(parse_role(value), known, "a role that the settings list")
    except InvalidValueError:
        return f"{value!r} is not the name of a role"
