"""What an import tells of bad rows."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from cli import output
from operations.bulk_import.records import Problem
from worker.errors import CliError, UsageError

SHOWN = 20
"""Problems that the terminal shows; a file gets them all."""


class Complaints:
    """Shows the first problems, counts the others, and writes all to a file if there is one."""

    def __init__(self, file: str, errors: TextIO | None, *, as_csv: bool) -> None:
        """Tell of `file`; `errors` takes a line for each problem, in CSV or JSON."""
        self._file = file
        self._errors = errors
        self._rows = csv.writer(errors) if errors is not None and as_csv else None
        self._console = output.stderr()
        self._count = 0
        if self._rows is not None:
            self._rows.writerow(("line", "field", "rule"))

    def __call__(self, problem: Problem) -> None:
        """Take one."""
        self._count += 1
        if self._count <= SHOWN:
            field = f"{problem.field}: " if problem.field else ""
            text = f"{self._file}, line {problem.line}: {field}{problem.rule}"
            self._console.print(output.printable(text), markup=False)
        facts = {"line": problem.line, "field": problem.field or None, "rule": problem.rule}
        if self._rows is not None:
            self._rows.writerow((problem.line, problem.field, problem.rule))
        elif self._errors is not None:
            self._errors.write(output.json_line(facts) + "\n")

    def end(self, name: str | None) -> None:
        """Say how many were not shown, and where they are."""
        if self._count > SHOWN:
            where = f"all are in {name}" if name else "--errors FILE writes all to a file"
            self._console.print(f"and {self._count - SHOWN} more; {where}", markup=False)


@contextmanager
def complaints(file: str, errors: str | None) -> Iterator[Complaints]:
    """Take problems with `file`, and write all to the file named `errors`: CSV or JSON lines.

    Raises:
        UsageError: it is the imported file itself.
        CliError: it cannot be written.
    """
    if errors is None:
        teller = Complaints(file, None, as_csv=False)
        yield teller
        teller.end(None)
        return
    path = Path(errors)
    if path.exists() and path.samefile(file):
        raise UsageError("--errors is the file that is imported", "give another")
    try:
        with path.open("w", encoding="utf-8", newline="") as stream:
            teller = Complaints(file, stream, as_csv=path.suffix.lower() == ".csv")
            yield teller
            teller.end(errors)
    except OSError as error:
        raise CliError(f"cannot write {errors}: {error.strerror}", "give another place") from error
