"""Write the reference tables of the pages from the definitions in the code and in deploy/.

    python -m scripts.reference_tables            write the tables
    python -m scripts.reference_tables --check    exit with 1 if a table is outdated

A table stands between `<!-- table NAME -->` and `<!-- end of table -->`; all other text stays.
`make reference` runs this and `user-worker contracts`.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, TypeAlias, get_args, get_origin, get_type_hints

from typer.main import get_command

from cli.commands import app
from domain.commands import COMMANDS
from domain.events import EVENTS
from domain.fields import AnyRule, FieldDefinition, Flag, Items, Number, Text, fields_of
from domain.user import User
from domain.values import EmailAddress
from scripts import deploy_tables
from worker.settings import Settings, limits

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = tuple(
    f"docs/reference/{name}.md"
    for name in ("alarms", "command-line", "iam", "messages", "settings", "table")
)
_TABLE: Final = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
_ADDRESS: Final = re.compile(r"\s*E-mail address: .*$")
"""End of the description of every address."""
APART: Final = frozenset({"sessions", "two_factor"})
"""Fields of a user that are stored in items of their own."""
_ATTRIBUTE_TYPES: Final[dict[Any, str]] = {
    str: "S",
    int: "N",
    bool: "BOOL",
    datetime: "S",
    EmailAddress: "S",
    tuple[str, ...]: "L of S",
}


def stale_pages(root: Path = ROOT) -> dict[str, str]:
    """Return the text of the pages whose tables are not current, by path."""
    new = {page: render((root / page).read_text(encoding="utf-8")) for page in PAGES}
    return {
        page: text
        for page, text in new.items()
        if text != (root / page).read_text(encoding="utf-8")
    }


def render(text: str) -> str:
    """Return a page's text with current tables."""
    return _TABLE.sub(lambda found: found[1] + _TABLES[found[2]]() + found[3], text)


# --- messages --------------------------------------------------------------------------------


def _commands() -> str:
    """Return a line for each command: fields, maximum age and rejections."""
    lines = []
    for command in COMMANDS.values():
        fields = ", ".join(
            field.name + ("" if field.required else "?") for field in fields_of(command)
        )
        rejections = ", ".join(code.value for code in command.rejections)
        lines.append(
            f"- **{command.__name__}**"
            + (f" ({fields})" if fields else "")
            + (f", {_hours(command.max_age)}" if command.max_age else "")
            + (f": {rejections}" if rejections else "")
            + "\n"
        )
    return "".join(lines)


def _events() -> str:
    """Return a line for each category, with its events and their fields."""
    found: dict[str, list[str]] = {}
    for event in EVENTS.values():
        names = ", ".join(field.name for field in fields_of(event))
        found.setdefault(event.category, []).append(
            event.__name__ + (f" ({names})" if names else "")
        )
    return "".join(f"- **{category}**: {', '.join(each)}\n" for category, each in found.items())


def _hours(age: timedelta) -> str:
    return f"{age // timedelta(hours=1)} h"


def _fields() -> str:
    """Return a line for each meaning that a field has in the commands."""
    found: dict[tuple[str, str], tuple[FieldDefinition, list[str]]] = {}
    for command in COMMANDS.values():
        for field in fields_of(command):
            key = field.name, field.rule.description
            found.setdefault(key, (field, []))[1].append(command.__name__)
    names = [name for name, _ in found]
    lines = []
    for (name, description), (field, commands) in found.items():
        where = f" of {', '.join(commands)}" if names.count(name) > 1 else ""
        text = _ADDRESS.sub("", description)  # a note of the page has it once
        lines.append(
            f"- `{name}`{where} ({_value(field.rule)})" + (f": {text}" if text else "") + "\n"
        )
    return "".join(lines)


def _value(rule: AnyRule) -> str:
    match rule:
        case Number():
            return "integer"
        case Flag():
            return "boolean"
        case Items():
            return f"array of {rule.min_items or 0}-{rule.max_items}: {_value(rule.item)}"
        case Text():
            return ", ".join(_limits(rule))


def _limits(rule: Text) -> Iterator[str]:
    if rule.format is not None:
        yield {"email": "e-mail address", "uuid": "UUID", "date-time": "time"}[rule.format]
    elif rule.pattern is not None:
        yield f"`{rule.pattern}`"
    if rule.min_length is not None:
        yield f"{rule.min_length}-{rule.max_length} characters"
    elif rule.max_length is not None and rule.format is None:
        yield f"at most {rule.max_length} characters"
    if rule.setting is not None:
        yield f"listed in `USER_WORKER_{rule.setting.upper()}`"


# --- the table -------------------------------------------------------------------------------


def _user() -> str:
    """Return a line for each attribute of a user's item; the docstrings of `User` explain them."""
    hints, explained = get_type_hints(User), dict(_attribute_docstrings(User))
    lines = []
    for field in dataclasses.fields(User):
        if field.name not in APART:
            text = explained.get(field.name)
            kind = _attribute_type(hints[field.name])
            lines.append(f"- `{field.name}` ({kind})" + (f": {text}" if text else "") + "\n")
    return "".join(lines)


def _attribute_type(hint: Any) -> str:
    if get_origin(hint) is UnionType:
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    if get_origin(hint) is dict:
        return "S" if get_args(hint)[1] is datetime else "M"
    if dataclasses.is_dataclass(hint) and hint not in _ATTRIBUTE_TYPES:
        return "M"
    return _ATTRIBUTE_TYPES[hint]


def _attribute_docstrings(kind: type) -> Iterator[tuple[str, str]]:
    """Yield the names of a class's fields with the docstring below each."""
    (tree,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(tree, ast.ClassDef)
    for field, following in zip(tree.body, tree.body[1:], strict=False):
        match field, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(str(text))):
                yield name, " ".join(text.removesuffix(".").split())


# --- the settings ----------------------------------------------------------------------------

_DEFAULTS: Final = {
    "hash_keys": "a fixed key, in prod none",
    "create_resources": "`true`, in prod `false`",
    "personal_topic": "`EVENTS_TOPIC` with `-personal`, before `.fifo`",
    "log_format": "in dev `console`, else `json`",
}


def _settings() -> str:
    """Return a line for each setting; the docstrings of `Settings` explain them."""
    explained = dict(_attribute_docstrings(Settings))
    lines = []
    for name, field in Settings.model_fields.items():
        value = field.default
        default = ",".join(value) if isinstance(value, tuple) else value
        if isinstance(value, float):
            default = f"{value:g}"
        shown = _DEFAULTS.get(name, "none" if default in (None, "") else f"`{default}`")
        values = limits(field).removeprefix("from ")
        meaning = f"{explained[name]} ({values})" if values else explained[name]
        lines.append(f"- `{name.upper()}` ({shown}): {meaning}\n")
    return "".join(lines)


# --- the command line ------------------------------------------------------------------------

_Option: TypeAlias = tuple[str, str]
"""Form and meaning of an argument or option."""
_COMMON: Final = 3
"""Options that so many commands share are described once."""


def _command_line() -> str:
    """Return the common options, and a section for each command."""
    commands = list(_executable(get_command(app), "user-worker"))
    counts = Counter(
        _option(each) for _, command in commands for each in command.params if not each.hidden
    )
    common = [option for option, count in counts.items() if count >= _COMMON]
    sections = [_section(path, command, common) for path, command in commands]
    shared = f"## Common options\n\n{_list(common)}"
    return "\n" + "\n".join([shared, *sections]) + "\n"


def _executable(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield each command that can be executed, with its path."""
    inner = getattr(command, "commands", {})
    for name, each in inner.items():
        yield from _executable(each, f"{path} {name}")
    if not inner:
        yield path, command


def _section(path: str, command: Any, common: Sequence[_Option]) -> str:
    """Return the description of a command with its arguments and options."""
    options = [_option(each) for each in command.params if not each.hidden]
    own = [option for option in options if option not in common]
    shared = ", ".join(_long(option) for option in options if option in common)
    parts = [f"## `{path.removeprefix('user-worker ')}`\n", _summary(command.help) + "\n"]
    if own:
        parts.append(_list(own))
    if shared:
        parts.append(f"Common: {shared}.\n")
    return "\n".join(parts)


def _list(options: Iterable[_Option]) -> str:
    return "".join(f"- {form}: {text}\n" for form, text in options)


def _long(option: _Option) -> str:
    """Return the long name of an option."""
    name = re.search(r"--[\w-]+", option[0])
    return f"`{name[0]}`" if name else option[0]


def _summary(text: str) -> str:
    """Return the first paragraph of a help text."""
    return " ".join(text.replace("\b", "").split("\n\n")[0].split())


def _option(parameter: Any) -> _Option:
    """Return the form of an argument or option, and its meaning."""
    is_argument = parameter.param_type_name == "argument"
    names = [parameter.metavar or parameter.name.upper()] if is_argument else parameter.opts
    names = [*names, *parameter.secondary_opts]
    text = parameter.help or ""
    default = getattr(parameter.default, "value", parameter.default)
    if default not in (None, "", False, True) and not is_argument:
        text += f" Default: {f'{default:g}' if isinstance(default, float) else default}."
    if not is_argument and not parameter.is_flag and (value := _form(parameter)):
        names[-1] += f" {value}"
    return ", ".join(f"`{each}`" for each in names), text.strip()


def _form(parameter: Any) -> str:
    """Return the form of an option's value, or its choices."""
    if parameter.metavar is None and parameter.type_descriptor.is_choice:
        return str(parameter.display_type(None)).strip("<>[]")
    return parameter.metavar or ""


_TABLES: Final[dict[str, Callable[[], str]]] = {
    "command_line": _command_line,
    "commands": _commands,
    "fields": _fields,
    "events": _events,
    "user": _user,
    "settings": _settings,
    "alarms": deploy_tables.alarms,
    "iam": deploy_tables.iam,
}


def main() -> int:
    """Write the tables or check them; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if a table is outdated"
    )
    check = parser.parse_args().check
    stale = stale_pages()
    for page, text in stale.items():
        print(f"{page}: {'changed; run `make reference`' if check else 'written'}")
        if not check:
            (ROOT / page).write_text(text, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
