"""`user-worker contracts`: write what others build on, and see that it breaks nobody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cli import output
from operations.contracts import compatibility, generating
from worker.errors import ExitCode, UsageError


def write(folder: Path) -> int:
    """Bring the files up to date; say how many were not."""
    stale = generating.write_files(folder)
    output.stdout().print(f"{folder}: {len(stale)} files written", markup=False)
    return ExitCode.OK


def check(folder: Path) -> int:
    """Say which files are not up to date; 1 if any."""
    stale = generating.stale_files(folder)
    for path, state in stale.items():
        output.stdout().print(f"{folder / path}: {state}; run user-worker contracts", markup=False)
    return ExitCode.NEGATIVE if stale else ExitCode.OK


def compare(past: Path) -> int:
    """Say what breaks those who rely on a release; 1 if anything does.

    Args:
        past: a release's file, or the folder of contracts, for the newest of its releases.
    """
    lines = compatibility.breaks(_read(past), generating.promised())
    for line in lines:
        output.stdout().print(line, markup=False)
    return ExitCode.NEGATIVE if lines else ExitCode.OK


def keep_release(folder: Path, version: str) -> int:
    """Keep the present promise as that of a version."""
    file = generating.write_release(folder, version)
    output.stdout().print(f"{file}: written", markup=False)
    return ExitCode.OK


def _read(past: Path) -> dict[str, Any]:
    file = generating.newest_release(past) if past.is_dir() else past
    if file is None:
        raise UsageError(f"no release below {past}", "it has none in released/v<version>.json")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {type(error).__name__}") from error
    if not isinstance(found, dict) or not {"commands", "events"} <= found.keys():
        raise UsageError(f"{file} is no release: it needs commands and events")
    return found
