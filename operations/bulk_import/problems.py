"""Write the problems of an import's rows to a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from operations.bulk_import.records import Problem
from worker.errors import CliError, UsageError


@contextmanager
def problem_file(imported: str, name: str | None) -> Iterator[Callable[[Problem], object]]:
    """Yield a function that writes a problem to a file: CSV if named .csv, else JSON lines.

    Without a name nothing is written.

    Raises:
        UsageError: the file is the imported one.
        CliError: the file cannot be written.
    """
    if name is None:
        yield lambda _problem: None
        return
    path = Path(name)
    if path.exists() and path.samefile(imported):
        raise UsageError("--errors must not be the imported file", "choose another file")
    try:
        with path.open("w", encoding="utf-8", newline="") as stream:
            yield _csv(stream) if path.suffix.lower() == ".csv" else _json_lines(stream)
    except OSError as error:
        raise CliError(
            f"cannot write {name}: {error.strerror}", "choose another --errors file"
        ) from error


def _csv(stream: TextIO) -> Callable[[Problem], object]:
    rows = csv.writer(stream)
    rows.writerow(("line", "field", "rule"))
    return lambda problem: rows.writerow((problem.line, problem.field, problem.rule))


def _json_lines(stream: TextIO) -> Callable[[Problem], object]:
    def write(problem: Problem) -> None:
        row = {"line": problem.line, "field": problem.field or None, "rule": problem.rule}
        stream.write(json.dumps(row, separators=(",", ":")) + "\n")

    return write
