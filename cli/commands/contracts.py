"""Write what others build on: schemas, and the AsyncAPI document."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.commands.base import EXIT_CODES, app


@app.command(epilog=EXIT_CODES)
def contracts(
    folder: Annotated[
        Path, typer.Option("--output", file_okay=False, help="The folder of the contracts.")
    ] = Path("contracts"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; 1 if a file is not up to date.")
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            exists=True,
            help="Write nothing; 1 if a change since this release breaks somebody. "
            "A folder of contracts stands for its newest release.",
        ),
    ] = None,
    release: Annotated[
        str | None,
        typer.Option(
            "--release", metavar="VERSION", help="Also keep this as what a version promises."
        ),
    ] = None,
) -> int:
    """Write the messages' JSON Schemas and the AsyncAPI document.

    They come from the definitions of the messages themselves.

    \b
    [bold]Examples[/bold]
      user-worker contracts
      user-worker contracts --check --against contracts
      user-worker contracts --release 0.2.0
    """
    from cli import contracts as work
    from worker.errors import UsageError

    if release is not None:
        if check or against is not None:
            raise UsageError("--release writes, while --check and --against do not")
        if not _is_version(release):
            raise UsageError("--release must be a version such as 0.2.0")
    results = [work.check(folder)] if check else []
    if against is not None:
        results.append(work.compare(against))
    if not results:
        results.append(work.write(folder))
    if release is not None:
        results.append(work.keep_release(folder, release))
    return max(results)


def _is_version(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 3 and all(part.isascii() and part.isdigit() for part in parts)  # noqa: PLR2004 - major, minor, patch
