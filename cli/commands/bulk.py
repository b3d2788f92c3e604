"""Many users at once, and all of one user."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from cli.commands.base import EXIT_CODES, Json, app


class Format(StrEnum):
    """What a file of rows may be."""

    CSV = "csv"
    JSONL = "jsonl"


@app.command("import", epilog=EXIT_CODES)
def import_(
    file: Annotated[str, typer.Argument(help="CSV with a header, or JSON lines; in UTF-8.")],
    command: Annotated[
        str, typer.Option("--command", "-c", help="What each row asks for.")
    ] = "CreateUser",
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="COLUMN=FIELD", help="Name a column's field. Repeatable."),
    ] = None,
    ignored: Annotated[
        list[str] | None,
        typer.Option("--ignore-column", metavar="COLUMN", help="Leave one out. Repeatable."),
    ] = None,
    defaults: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="For rows without it. Repeatable."),
    ] = None,
    file_format: Annotated[
        Format | None, typer.Option("--format", help="By the file's name, if left out.")
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option("--delimiter", help="Between cells; of , ; and tab found by itself."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file only; no AWS is needed.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Send the good rows though there are bad ones.")
    ] = False,
    errors: Annotated[
        str | None,
        typer.Option("--errors", metavar="FILE", help="All bad rows: line, field, rule."),
    ] = None,
    report: Annotated[
        str | None,
        typer.Option("--report", metavar="FILE", help="Wait; write what became of each row."),
    ] = None,
    wait: Annotated[
        float,
        typer.Option("--wait", min=0, help="For --report: seconds without any new outcome."),
    ] = 120.0,
    journal: Annotated[
        str | None,
        typer.Option("--journal", metavar="FILE", help="Progress; default FILE.progress.jsonl."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.1, help="Rows a second, at most.")
    ] = None,
    import_id: Annotated[
        str | None,
        typer.Option("--import-id", help="Rows sent before under it are done once, in any file."),
    ] = None,
    source: Annotated[
        str, typer.Option("--source", help="Where it comes from (a URI reference).")
    ] = "/user-worker/import",
    group: Annotated[
        str | None, typer.Option("--group", help="The message group; as that of `send`.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Send a command for every row of a file, all checked before.

    Run it again after a stop: it goes on where it was, and no row is done twice.

    \b
    [bold]Examples[/bold]
      user-worker import users.csv --set roles=customer --dry-run
      user-worker import users.csv --set roles=customer
      user-worker import members.csv --map Mail=email --ignore-column Notes
      user-worker import users.csv --set roles=customer --report report.csv
      user-worker import leavers.csv --command DeactivateUser --rate 50

    \b
    Columns are found by the header, in any case: email, first_name, ..., user_id.
    In a cell of several values, such as roles, ; or | separates them; an empty
    cell is left out.
    """
    from cli.bulk.importing import ImportOptions, import_file

    return import_file(
        ImportOptions(
            file=file,
            command=command,
            mapping=mapping or [],
            ignored=ignored or [],
            defaults=defaults or [],
            file_format=file_format,
            delimiter=delimiter,
            import_id=import_id,
            source=source,
            group=group,
            journal=journal,
            errors=errors,
            report=report,
            wait=wait,
            rate=rate,
            dry_run=dry_run,
            skip_bad=skip_bad,
            as_json=as_json,
        )
    )


@app.command(epilog=EXIT_CODES)
def export(
    user: Annotated[str, typer.Argument(metavar="USER_ID|EMAIL", help="Who.")],
    file: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to; made readable to you only."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> int:
    """Write all that is stored of a user, as JSON.

    Of secrets only whether they are set.

    \b
    [bold]Examples[/bold]
      user-worker export ada@example.com --output ada.json
      user-worker export USER_ID | jq .outcomes
    """
    from cli.bulk.exporting import export_user

    return export_user(user, file=file, force=force)
