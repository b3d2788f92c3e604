"""`user-worker dlq purge`: dead letters away, after they were counted."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import typer

from adapters.sqs.dead_letter_queue import DeadLetterQueue, StoredLetter
from cli import composition, output
from cli.dead_letters.choice import LetterFilter
from cli.dead_letters.settling import (
    Plan,
    Settle,
    preview,
    require_named,
    require_terminal,
    say_rest,
    work_through,
)
from worker.errors import CliError, ExitCode


@dataclass(frozen=True, slots=True)
class PurgeOptions:
    """What was typed."""

    choice: LetterFilter
    dry_run: bool
    yes: bool
    as_json: bool


def purge_letters(options: PurgeOptions) -> int:
    """Delete letters for good; give the exit code.

    Each is received and deleted, never by PurgeQueue: that would take letters with it that come
    in the next minute, and that nobody has counted.

    Raises:
        UsageError: nobody can agree.
        CliError: the number was not typed, or not all could be deleted.
    """
    aws = composition.aws()
    agreed: frozenset[str] | None = None
    if options.dry_run or not options.yes:
        if not options.dry_run:
            require_terminal("a purge")
        seen = preview(aws, options.choice, "would be deleted")
        agreed = frozenset(letter.message_id for letter in seen.letters)
        if options.dry_run or not agreed:
            return _report(0, would=len(agreed), as_json=options.as_json)
        _ask(len(agreed))
    plan = Plan(options.choice, "deleting", only=agreed)
    result = work_through(aws, plan, _deleting)
    say_rest(result)
    require_named(options.choice, result.settled)
    _report(result.settled, as_json=options.as_json)
    return result.code


def _ask(count: int) -> None:
    typed = typer.prompt(f"They cannot be had again. Type {count} to delete them", err=True)
    if typed.strip() != str(count):
        raise CliError("nothing was deleted: that is not the number", "", ExitCode.NEGATIVE)


def _deleting(queue: DeadLetterQueue) -> Settle:
    def delete(letters: Sequence[StoredLetter]) -> Sequence[StoredLetter]:
        failures = queue.delete(letters)
        return [letter for letter in letters if letter.message_id not in failures]

    return delete


def _report(count: int, *, as_json: bool, would: int | None = None) -> int:
    if as_json:
        facts: dict[str, object] = {"deleted": count}
        facts |= {} if would is None else {"would_delete": would}
        sys.stdout.write(output.json_line(facts) + "\n")
    elif would is None:
        output.stdout().print(f"deleted {count} dead letters")
    return ExitCode.OK
