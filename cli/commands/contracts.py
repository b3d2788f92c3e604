"""`user-worker contracts`: write schemas and the AsyncAPI document, and compare releases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.commands.base import EXIT_CODES, OPERATE, app
from worker.errors import ExitCode, UsageError


@app.command(epilog=EXIT_CODES, rich_help_panel=OPERATE)
def contracts(
    folder: Annotated[
        Path, typer.Option("--output", file_okay=False, help="Folder of the contracts.")
    ] = Path("contracts"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if a file is outdated.")
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            exists=True,
            help="Write nothing; exit with 1 if a change since this release breaks a client. "
            "PATH is a release or a folder of contracts, for its newest release.",
        ),
    ] = None,
    release: Annotated[
        str | None,
        typer.Option(
            "--release", metavar="VERSION", help="Also save the contracts as those of this version."
        ),
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
    if release is not None:
        if check or against is not None:
            raise UsageError(
                "--release cannot be combined with --check or --against",
                "run them one after another",
            )
        if not _is_version(release):
            raise UsageError("--release must be a version", "for example 0.2.0")
    results = [_check(folder)] if check else []
    if against is not None:
        results.append(_compare(against))
    if not results:
        results.append(_write(folder))
    if release is not None:
        results.append(_keep_release(folder, release))
    return max(results)


def _is_version(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 3 and all(part.isascii() and part.isdigit() for part in parts)  # noqa: PLR2004 - major, minor, patch


def _write(folder: Path) -> int:
    """Write the files that are out of date."""
    from operations.contracts import generating

    stale = generating.write_files(folder)
    output.stdout().print(f"{folder}: {len(stale)} files written", markup=False)
    return ExitCode.OK


def _check(folder: Path) -> int:
    """Print the files that are out of date; return 1 if there are any."""
    from operations.contracts import generating

    stale = generating.stale_files(folder)
    for path, state in stale.items():
        output.stdout().print(
            f"{folder / path}: {state}; run `user-worker contracts`", markup=False
        )
    return ExitCode.NEGATIVE if stale else ExitCode.OK


def _compare(past: Path) -> int:
    """Print the breaking changes since a release; return 1 if there are any.

    Args:
        past: a release's file, or the folder of contracts for its newest release.
    """
    from operations.contracts import compatibility, generating

    lines = compatibility.breaks(_read(past), generating.promised())
    for line in lines:
        output.stdout().print(line, markup=False)
    return ExitCode.NEGATIVE if lines else ExitCode.OK


def _keep_release(folder: Path, version: str) -> int:
    """Write the current contract as the contract of a version."""
    from operations.contracts import generating

    file = generating.write_release(folder, version)
    output.stdout().print(f"{file}: written", markup=False)
    return ExitCode.OK


def _read(past: Path) -> dict[str, Any]:
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
