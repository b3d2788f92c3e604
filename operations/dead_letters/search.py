"""Search the dead letters for commands that have no outcome."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from operations.dead_letters.filter import LetterFilter
from operations.dead_letters.letter import Letter
from operations.dead_letters.listing import list_letters
from operations.progress import NO_PROGRESS, Progress
from worker.cli_errors import explain
from worker.connections import Aws
from worker.errors import CliError

MOST_LETTERS: Final = 10_000
"""Maximum number of dead letters that are read."""


def letters_by_command(
    aws: Aws, command_ids: Collection[str] | None = None, progress: Progress = NO_PROGRESS
) -> dict[str, Letter]:
    """Return dead letters by the id of their command; empty if they cannot be read.

    If `command_ids` is given, only the letters of these commands; reading ends when as many are
    found.
    """
    limit = None if command_ids is None else len(command_ids)
    wanted = LetterFilter(ids=[*(command_ids or ())], limit=limit)
    try:
        listing = list_letters(aws, wanted, MOST_LETTERS, progress=progress)
    except (CliError, ClientError, BotoCoreError) as error:
        text = explain(error) or type(error).__name__
        progress.note(f"dead letters were not read: {text}", warning=True)
        return {}
    if not listing.complete and (limit is None or len(listing.letters) < limit):
        progress.note(f"only {MOST_LETTERS} dead letters were searched", warning=True)
    return {each.command_id: each for each in listing.letters if each.command_id is not None}
