"""`user-worker contracts`: write schemas and the AsyncAPI document, and compare releases."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.commands.base import EXIT_CODES, OPERATE, app
from operations.printable import counted
from worker.errors import ExitCode, UsageError

_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")


@app.command(epilog=EXIT_CODES, rich_help_panel=OPERATE)
def contracts(
    folder: Annotated[
        Path,
        typer.Option("--output", file_okay=False, metavar="DIR", help="Folder of the contracts."),
    ] = Path("contracts"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if a file is outdated.")
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            metavar="PATH",
            help="Write nothing; exit with 1 if a change since this release breaks a client. "
            "PATH is a release or a folder of contracts, for its newest release.",
        ),
    ] = None,
    release: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Also save the contracts as those of this version."),
    ] = None,
) -> int:
    """Write the messages' JSON Schemas and the AsyncAPI document.

    They are generated from the definitions of the messages.

    \b
    [bold]Examples[/bold]
      user-worker contracts
      user-worker contracts --check --against contracts
      user-worker contracts --release 0.2.0
    """
    from operations.contracts import compatibility, generating

    if release is not None:
        if check or against is not None:
            raise UsageError(
                "--release cannot be combined with --check or --against",
                "run them one after another",
            )
        if not _VERSION.fullmatch(release):
            raise UsageError("--release must be a version", "for example 0.2.0")
    problems: list[str] = []
    if check:
        for path, state in generating.stale_files(folder).items():
            problems.append(f"{folder / path}: {state}; run `user-worker contracts`")
    if against is not None:
        problems += compatibility.breaks(_read(against), generating.promised())
    if not check and against is None:
        written = generating.write_files(folder)
        output.stdout().print(f"{folder}: {counted(len(written), 'file')} written", markup=False)
    if release is not None:
        file = generating.write_release(folder, release)
        output.stdout().print(f"{file}: written", markup=False)
    for problem in problems:
        output.stdout().print(problem, markup=False)
    return ExitCode.NEGATIVE if problems else ExitCode.OK


def _read(past: Path) -> dict[str, Any]:
    """Return the contract in a release's file, or in the newest of a folder of contracts."""
    from operations.contracts import generating

    file = generating.newest_release(past) if past.is_dir() else past
    if file is None:
        raise UsageError(f"no release in {past}", "it must contain released/v<version>.json")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read {file}: {type(error).__name__}", "choose another --against"
        ) from error
    if not isinstance(found, dict) or not {"commands", "events"} <= found.keys():
        raise UsageError(f"{file} is not a release", "it must contain commands and events")
    return found
