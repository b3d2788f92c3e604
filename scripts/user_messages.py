"""Print every text that a user or an operator can read, with its kind and place, to review them.

`make messages` runs this. It reads the source and imports none of it. The kinds are help, error,
log, finding, output, description, and text: a string whose use is not evident from its place.
`{...}` in a message stands for a value.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

ROOT: Final = Path(__file__).parents[1]
FOLDERS: Final = (
    *("adapters", "application", "benchmarks", "cli", "domain", "operations", "scripts"),
    *("clients/python", "console", "worker"),
)
_CALLS: Final = {
    "description": frozenset({"Description", "Instrument", "Items", "Number", "Text", "of"}),
    "finding": frozenset({"Finding", "fail", "ok", "warn"}),
    "log": frozenset({"critical", "debug", "error", "exception", "info", "warning"}),
    "output": frozenset({"add_row", "confirm", "echo", "note", "plain_table", "print", "prompt"}),
}
"""Kinds by the name of the function that is called."""
_KEYWORDS: Final = {"description": "description", "epilog": "help", "help": "help"}
"""Kinds by the name of the argument."""
_WORDS: Final = re.compile(r"[A-Za-z]{2}\S* +\S*[A-Za-z]|[A-Za-z]{2} \{|\} [A-Za-z]{2}")
_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Message:
    """A text and where it stands."""

    line: int
    kind: str
    text: str


def messages(source: str) -> list[Message]:
    """Return the messages in the source of a module, by line."""
    tree = ast.parse(source)
    found = [*_docstrings(tree), *_strings(tree, "text", arguments=False)]
    return sorted(found, key=lambda message: message.line)


def _docstrings(tree: ast.Module) -> Iterator[Message]:
    """Yield the docstrings that are shown as help: of commands, and of modules that say so."""
    for node in ast.walk(tree):
        if isinstance(node, _Function) and any(map(_is_command, node.decorator_list)):
            yield Message(node.lineno, "help", ast.get_docstring(node) or "")
        if isinstance(node, ast.keyword) and getattr(node.value, "id", "") == "__doc__":
            yield Message(1, "help", ast.get_docstring(tree) or "")


def _is_command(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and _name(decorator.func) in {"callback", "command"}


def _strings(node: ast.AST, kind: str, *, arguments: bool) -> Iterator[Message]:
    """Yield the strings with words below a node; of help and logs (`arguments`), all strings."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Constant | ast.JoinedStr):
            text = _text(child)
            if _WORDS.search(text) or (arguments and kind in {"help", "log"} and text):
                yield Message(child.lineno, kind, text)
        elif not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
            own = _kind(child)
            yield from _strings(child, own or kind, arguments=arguments or own is not None)


def _kind(node: ast.AST) -> str | None:
    """Return the kind of the strings below a node, or None if it is that of the parent."""
    if isinstance(node, ast.keyword):
        return _KEYWORDS.get(node.arg or "")
    if not isinstance(node, ast.Call):
        return None
    name = _name(node.func)
    if name.endswith("Error"):
        return "error"
    return next((kind for kind, names in _CALLS.items() if name in names), None)


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _text(node: ast.Constant | ast.JoinedStr) -> str:
    """Return the text of a string, with values in braces; empty for another constant."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(
        f"{{{ast.unparse(part.value)}}}" if isinstance(part, ast.FormattedValue) else _text(part)  # type: ignore[arg-type]  # the other parts are constants
        for part in node.values
    )


def main() -> None:
    """Print the messages of the given folders, sorted by file and line."""
    parser = argparse.ArgumentParser(
        prog="make messages", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("folders", nargs="*", default=FOLDERS, help="folders to read")
    for folder in sorted(parser.parse_args().folders):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for message in messages(path.read_text(encoding="utf-8")):
                place = f"{path.relative_to(ROOT)}:{message.line}"
                print(f"{place}: {message.kind}: {' '.join(message.text.split())}")


if __name__ == "__main__":
    main()
