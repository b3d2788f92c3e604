"""Output to a terminal; results go to standard output, everything else to standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import IO, Any

from rich.console import Console
from rich.text import Text

from cli.layout import Pairs, plain, wrapped

PIPE_WIDTH = 4_096
"""Columns of a pipe or a file, where no table is stacked."""


class WordConsole(Console):
    """A console that breaks lines between words only, and cuts nothing."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects as rich does, but never break or cut a word."""
        if not options.get("soft_wrap", self.soft_wrap):
            objects = tuple(self._wrapped(each, options.get("markup")) for each in objects)
            options = {"overflow": "ignore", "crop": False, **options}
        super().print(*objects, **options)

    def _wrapped(self, shown: Any, markup: bool | None) -> Any:
        if isinstance(shown, str):
            shown = self.render_str(shown, markup=markup)
        return Text("\n").join(wrapped(shown, self.width)) if isinstance(shown, Text) else shown


def stdout() -> Console:
    """Return the console for results; colours only on a terminal, and not with NO_COLOR."""
    return WordConsole(**_form(sys.stdout))


def stderr() -> Console:
    """Return the console for everything but results."""
    return WordConsole(stderr=True, **_form(sys.stderr))


def _form(stream: IO[str]) -> dict[str, Any]:
    """Return a console's options; a pipe or file has lines of any length, unless COLUMNS is set."""
    wraps = stream.isatty() or bool(os.environ.get("COLUMNS"))
    form: dict[str, Any] = {"highlight": False, "emoji": False, "soft_wrap": not wraps}
    return form if wraps else {**form, "width": PIPE_WIDTH}


def pairs(rows: Mapping[str, object]) -> Pairs:
    """Return a table of names and values."""
    return Pairs({name: plain(value) for name, value in rows.items()})


def json_line(value: object) -> str:
    """Return a value as JSON on one line, in ASCII, so that it cannot control a terminal."""
    return json.dumps(value, separators=(",", ":"))


def print_json(*values: object) -> None:
    """Print each value as a line of JSON on standard output, at once."""
    sys.stdout.writelines(json_line(value) + "\n" for value in values)
    sys.stdout.flush()
