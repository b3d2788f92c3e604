"""`user-worker dlq redrive`: dead letters back to the queues they came from."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import typer

from adapters.sqs.dead_letter_queue import DeadLetterQueue, StoredLetter
from adapters.sqs.sending import BatchSender
from cli import composition, output
from cli.dead_letters.choice import LetterFilter
from cli.dead_letters.settling import (
    Plan,
    Result,
    Settle,
    is_fifo,
    preview,
    require_named,
    require_terminal,
    say_rest,
    work_through,
)
from cli.progress import progress
from cli.stopping import stop_on_signals
from operations.dead_letters.redrive import MoveProgress, MoveTask, RedriveError, Redriver
from worker.errors import CliError, ExitCode, UsageError

LOOK_EVERY = 0.5
"""Seconds between two looks at SQS's own task."""
MAX_RATE = 500
"""Letters a second that such a task takes as its rate."""


@dataclass(frozen=True, slots=True)
class RedriveOptions:
    """What was typed."""

    choice: LetterFilter
    dry_run: bool
    yes: bool
    rate: float | None
    edit: str | None
    as_json: bool


def redrive_letters(options: RedriveOptions) -> int:
    """Send letters back; give the exit code.

    Raises:
        UsageError: an edit is asked for, or nobody can agree.
        CliError: not all could be sent.
    """
    if options.edit is not None:
        raise UsageError(
            "dead letters go back as they are: a command's id stands for its content",
            "send a new command with an id of its own, and `dlq purge --id` this one",
        )
    aws = composition.aws()
    agreed: frozenset[str] | None = None
    if options.dry_run or not options.yes:
        if not options.dry_run:
            require_terminal("a redrive")
        seen = preview(aws, options.choice, "would go back")
        agreed = frozenset(letter.message_id for letter in seen.letters)
        if options.dry_run or not agreed:
            return _report(0, "none", would=len(agreed), as_json=options.as_json)
        typer.confirm(f"Send {len(agreed)} letters back?", abort=True, err=True)
    result = _move(aws, options.rate) if _may_be_moved(aws, options.choice) else None
    method = "move_task" if result else "batches"
    if result is None:
        result = _send_back(aws, options, agreed)
    say_rest(result)
    require_named(options.choice, result.settled)
    _report(result.settled, method, as_json=options.as_json)
    return result.code


def _report(count: int, method: str, *, as_json: bool, would: int | None = None) -> int:
    if as_json:
        facts: dict[str, object] = {"redriven": count, "method": method}
        facts |= {} if would is None else {"would_redrive": would}
        sys.stdout.write(output.json_line(facts) + "\n")
    elif would is None:
        output.stdout().print(f"sent {count} dead letters back")
    return ExitCode.OK


# --- letter by letter ---


def _send_back(
    aws: composition.Aws, options: RedriveOptions, agreed: frozenset[str] | None
) -> Result:
    senders = cache(partial(_sender, aws))
    redriver: list[Redriver] = []

    def make(queue: DeadLetterQueue) -> Settle:
        redriver.append(Redriver(queue, senders))
        return redriver[0].redrive

    def passes_over(letter: StoredLetter) -> bool:
        return redriver[0].came_back(letter)

    plan = Plan(
        options.choice,
        "sending back",
        options.rate,
        agreed,
        in_order=True,
        passes_over=passes_over,
    )
    return work_through(aws, plan, make)


def _sender(aws: composition.Aws, queue: str | None) -> BatchSender:
    """Send to the queue a letter came from or, if that is none of ours, to the command queue."""
    ours = queue in aws.settings.queues
    url = aws.queue_url(queue) if ours and queue else aws.command_queue_url
    return BatchSender(aws.sqs, url)


# --- by SQS itself ---


def _may_be_moved(aws: composition.Aws, choice: LetterFilter) -> bool:
    """Say whether SQS's task does the same.

    It knows no filter and, of letters that a worker has sent, not where they came from; and
    on a FIFO queue nobody promises a fresh deduplication id.
    """
    one_queue = len(aws.settings.queues) == 1
    return choice.is_everything and one_queue and not is_fifo(aws.dead_letter_queue_url)


def _move(aws: composition.Aws, rate: float | None) -> Result | None:
    """Have SQS move everything; give how that went, or `None` where it cannot."""
    source, destination = _arns(aws, [aws.dead_letter_queue_url, aws.command_queue_url])
    task = MoveTask(aws.sqs, source)
    limit = None if rate is None else max(1, min(MAX_RATE, int(rate)))
    try:
        lacking = task.start(destination, limit)
    except RedriveError as error:
        raise CliError(str(error), "wait until it has ended") from error
    if lacking:
        text = f"no StartMessageMoveTask here ({lacking}): sending letter by letter"
        output.stderr().print(text, style="dim")
        return None
    with stop_on_signals():
        try:
            return _follow(task)
        except KeyboardInterrupt:
            if code := task.cancel():
                text = f"SQS's own redrive goes on, and could not be cancelled: {code}"
                output.stderr().print(text, style="yellow")
            raise


def _arns(aws: composition.Aws, urls: Sequence[str]) -> list[str]:
    answers = [
        aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"]) for url in urls
    ]
    return [answer["Attributes"]["QueueArn"] for answer in answers]


def _follow(task: MoveTask) -> Result:
    """Show how far the task is until it ends; end it when letters come back as fast as they go."""
    seen, endless = task.progress(), False
    with progress("moving", seen.total, "letters") as tell:
        told = 0
        while True:
            tell(seen.moved - told)
            told = seen.moved
            if not seen.running:
                break
            if seen.total and seen.moved > seen.total and seen.status == "RUNNING":
                endless = True
                task.cancel()
            time.sleep(LOOK_EVERY)
            seen = task.progress()
    return Result(_moved(seen), endless=endless)


def _moved(seen: MoveProgress) -> int:
    if seen.failure or seen.status == "FAILED":
        reason = output.printable(seen.failure or seen.status)
        raise CliError(f"SQS gave the redrive up after {seen.moved} letters: {reason}")
    return seen.moved
