"""`user-worker import`: send a command for every row of a file."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli import composition, output
from cli.commands.base import BULK, EXIT_CODES, Json, app
from cli.progress import TerminalProgress
from operations.printable import counted, printable
from operations.signals import stop_on_signals
from worker.errors import ExitCode

if TYPE_CHECKING:
    from operations.bulk_import.records import Problem
    from operations.bulk_import.run import Tally

SHOWN = 20
"""Problems printed to the terminal; the error file has all of them."""


@app.command("import", epilog=EXIT_CODES, rich_help_panel=BULK)
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV with a header, or JSON lines.")],
    command: Annotated[
        str, typer.Option("--command", "-c", metavar="NAME", help="Command of each row.")
    ] = "CreateUser",
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="COLUMN=FIELD", help="Map a column to a field. Repeatable."),
    ] = None,
    ignored: Annotated[
        list[str] | None,
        typer.Option("--ignore-column", metavar="COLUMN", help="Ignore a column. Repeatable."),
    ] = None,
    defaults: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="Value for rows without the field. Repeatable."
        ),
    ] = None,
    file_format: Annotated[
        Literal["csv", "jsonl"] | None,
        typer.Option("--format", help="Format (default: by the file name)."),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Separator of cells; , ; and tab are detected."),
    ] = None,
    encoding: Annotated[
        str,
        typer.Option(metavar="NAME", help="Encoding of the file, such as cp1252 or utf-16."),
    ] = "utf-8",
    split_name: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column with the whole name; its last word is the family name.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file only; AWS is not needed.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Send the valid rows if some are invalid.")
    ] = False,
    errors: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write all invalid rows: line, field, rule."),
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Wait, and write the outcome of each row."),
    ] = None,
    wait: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="For --report: maximum time without a new outcome.",
        ),
    ] = 120.0,
    journal: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Progress (default: FILE.progress.jsonl)."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.1, metavar="N", help="Maximum rows per second.")
    ] = None,
    import_id: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Rows sent with the same id are processed once, in any file.",
        ),
    ] = None,
    source: Annotated[
        str,
        typer.Option(metavar="URI", help="Source of the commands (a URI reference)."),
    ] = "/user-worker/import",
    queue: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="One of the command queues, as of `send`."),
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Message group, as of `send`.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Send a command for each row of a file, after checking all rows.

    After an interruption, run the same command again: it continues where it
    stopped, and no row is processed twice.

    \b
    [bold]Examples[/bold]
      user-worker import users.csv --set roles=customer --dry-run
      user-worker import users.csv --set roles=customer
      user-worker import members.csv --map Login=email --ignore-column Notes
      user-worker import users.csv --set roles=customer --report report.csv
      user-worker import excel.csv --encoding cp1252 --split-name Name
      user-worker import leavers.csv --command DeactivateUser --rate 50

    \b
    Columns are matched by the header, in any case: email, ..., user_id.
    Several values in a cell, such as roles, are separated by ; or |. Empty
    cells are ignored. Times may be RFC 3339, dates or Unix time.
    """
    from operations.bulk_import.run import Import, ImportOptions

    options = ImportOptions(
        file=file,
        command=command,
        mapping=mapping or [],
        ignored=ignored or [],
        defaults=defaults or [],
        file_format=file_format,
        delimiter=delimiter,
        encoding=encoding,
        split_name=split_name,
        import_id=import_id,
        source=source,
        queue=queue,
        group=group,
        journal=journal,
        errors=errors,
        report=report,
        wait=wait,
        rate=rate,
        dry_run=dry_run,
        skip_bad=skip_bad,
    )
    with stop_on_signals(), Import(composition.aws(), options, TerminalProgress()) as run:
        problems = ProblemPrinter(file)
        run.check(problems)
        problems.end(errors)
        run.require_valid()
        if dry_run:
            _print_tally(run.tally, f"{counted(run.tally.to_send, 'row')} checked", as_json=as_json)
            return ExitCode.OK
        run.send()
        sent = f"{counted(run.tally.sent, 'row')} sent to {run.queue}"
        _print_tally(run.tally, sent, as_json=as_json)
        if not as_json:
            output.stderr().print(
                f"correlationid of their events: {run.tally.import_id}", style="dim", markup=False
            )
        outcomes = run.write_report()
    return ExitCode.OK if outcomes is None else _print_outcomes(outcomes)


class ProblemPrinter:
    """Prints the first problems of a file's rows, and counts the others."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._console = output.stderr()
        self._count = 0

    def __call__(self, problem: Problem) -> None:
        """Print or count a problem."""
        self._count += 1
        if self._count <= SHOWN:
            field = f"{problem.field}: " if problem.field else ""
            text = f"{self._file}, line {problem.line}: {field}{problem.rule}"
            self._console.print(printable(text), markup=False)

    def end(self, errors: str | None) -> None:
        """Print how many problems were not shown, and where to find them."""
        if self._count > SHOWN:
            where = f"all are in {errors}" if errors else "--errors FILE writes all to a file"
            self._console.print(f"and {self._count - SHOWN} more; {where}", markup=False)


def _print_tally(tally: Tally, done: str, *, as_json: bool) -> None:
    if as_json:
        output.print_json(asdict(tally))
        return
    parts = [done]
    if tally.sent_before:
        parts.append(f"{counted(tally.sent_before, 'was', 'were')} sent before")
    if tally.bad:
        parts.append(f"{counted(tally.bad, 'invalid row')} skipped")
    output.stdout().print(", ".join(parts), markup=False)


def _print_outcomes(outcomes: Counter[str]) -> int:
    """Print the number of rows by outcome; return the exit code as `send --wait` does."""
    from operations.bulk_import.report import FAILED, NO_ANSWER, REJECTED

    parts = [f"{count} {outcome}" for outcome, count in outcomes.most_common()]
    output.stderr().print(f"report: {', '.join(parts)}", markup=False)
    if outcomes[NO_ANSWER]:
        return ExitCode.TIMEOUT
    return ExitCode.NEGATIVE if outcomes[REJECTED] + outcomes[FAILED] else ExitCode.OK
