"""`user-worker export`: everything stored about a user, for the user to see."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cli import composition, output
from cli.commands.base import BULK, EXIT_CODES, app
from operations.printable import counted
from worker.errors import CliError, ExitCode, UsageError


@app.command(epilog=EXIT_CODES, rich_help_panel=BULK)
def export(
    user: Annotated[
        str, typer.Argument(metavar="USER_ID|EMAIL", help="Id or e-mail address of the user.")
    ],
    file: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="File to write, readable by you only."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> int:
    """Write all stored data of a user as JSON.

    Secrets are not written, only whether they are set.

    \b
    [bold]Examples[/bold]
      user-worker export ada@example.com --output ada.json
      user-worker export USER_ID | jq .outcomes
    """
    from operations.user_export import export_user
    from operations.users import parse_user

    if file is not None and not force and Path(file).exists():
        raise _exists(file)
    who = parse_user(user)
    aws = composition.aws()
    found = export_user(aws, who)
    if found is None:
        advice = "for an erased user, use the id: the address is no longer stored"
        raise CliError("no data of this user found", advice, ExitCode.NEGATIVE)
    text = json.dumps(found, indent=2) + "\n"  # ASCII only: see `json_line`
    if file is None:
        sys.stdout.write(text)
    else:
        _write(Path(file), text, force=force)
        console = output.stderr()
        console.print(
            f"wrote {counted(found['items'], 'item')} to {file}", style="dim", markup=False
        )
    return ExitCode.OK


def _exists(file: object) -> UsageError:
    return UsageError(f"{file} already exists", "choose another --output, or use --force")


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write a file that only its owner can read, atomically.

    Raises:
        UsageError: the file exists.
        CliError: the file cannot be written.
    """
    exclusive = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        if force:  # by a temporary file: the old one stays until the new one is complete
            handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        else:
            handle, part = os.open(path, exclusive, 0o600), str(path)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            if force:
                Path(part).replace(path)
        except OSError:
            Path(part).unlink(missing_ok=True)
            raise
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise CliError(
            f"cannot write {path}: {error.strerror}", "choose another --output"
        ) from error
