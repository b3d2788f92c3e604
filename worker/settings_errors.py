"""Words for what is wrong with a setting: which variable, and what it may be; never its value."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

LIKENESS = 0.75
"""From which likeness on (0 to 1) a name is taken for a mistyped one: TABEL and TABLE have 0.8."""
_KINDS = {
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "finite_number": "must be a number",
}


def in_one_line(error: ValidationError, prefix: str, fields: Mapping[str, FieldInfo]) -> str:
    """Name each wrong variable, and what it may be."""
    problems = []
    for problem in error.errors(include_input=False, include_url=False):
        name = str(problem["loc"][0]) if problem["loc"] else None
        rule = _rule(problem, fields.get(name or ""))
        problems.append(f"{prefix}{name.upper()} {rule}" if name else rule)
    return "; ".join(problems)


def _rule(problem: Any, field: FieldInfo | None) -> str:
    kind: str = problem["type"]
    if kind == "literal_error":
        return f"must be {problem['ctx']['expected'].replace(chr(39), '')}"
    if kind == "string_pattern_mismatch" and field is not None and field.description:
        return f"must be {field.description}"
    bounds = "" if field is None else _bounds(field)
    if kind in _KINDS:
        return _KINDS[kind] + bounds
    if bounds:
        return f"must be{bounds}"
    return str(problem["msg"]).removeprefix("Value error, ")


def _bounds(field: FieldInfo) -> str:
    """Give the limits of a number, such as ` from 10 to 30`."""
    limits = {
        name: getattr(each, name)
        for each in field.metadata
        for name in ("ge", "gt", "le")
        if hasattr(each, name)
    }
    if "le" not in limits:
        return ""
    lowest = f" from {limits['ge']}" if "ge" in limits else f" more than {limits.get('gt')}, up"
    return f"{lowest} to {limits['le']}"


def unknown_variables(
    environment: Iterable[str], prefix: str, known: Iterable[str]
) -> dict[str, str | None]:
    """Give the variables that begin as settings do and are none, each with what it may stand for.

    Takes the names of the environment's variables and those of the settings, both as they are
    written there.
    """
    names = {name.upper().removeprefix(prefix): name for name in known}
    found: dict[str, str | None] = {}
    for variable in sorted(environment):
        word = variable.upper()
        if word.startswith(prefix) and word.removeprefix(prefix) not in names:
            word = word.removeprefix(prefix)
            close = difflib.get_close_matches(word, names, n=1, cutoff=LIKENESS)
            found[variable] = prefix + close[0] if close else None
    return found
