"""Send the samples and observe, from outside, how each one ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from application.ports import CommandKey, LoadRequest, Outcome
from cli import output, rendering
from cli.demo.board import Board, DeadLetterMessage, Entry
from cli.demo.samples import Sample, sample_stages
from operations.received_event import ReceivedEvent
from operations.sending import send_bodies
from operations.status import queue_depths
from worker.connections import Aws
from worker.errors import CliError, ExitCode

PAUSE = 0.03
"""Seconds between two observations while samples are open."""
LOOKS_AT_EMPTY = 2
"""Consecutive times that the queue must look empty, because SQS counts approximately."""
QUIET = 5.0
"""Seconds without news after which a repeated message counts as processed.

For a queue that does not become empty because others use it too.
"""
PEEK = 2
"""Seconds for which a dead letter is hidden from other consumers after we have read it."""
WIDE = 116
"""Columns that the table needs to show one line per sample."""
_STYLES = {"accepted": "green", "rejected": "red", "dead": "magenta", "duplicate": "yellow"}


class SampleStream:
    """Sends streams of samples to one AWS."""

    def __init__(
        self,
        aws: Aws,
        look: Callable[[int], Sequence[ReceivedEvent]],
        log: Path,
    ) -> None:
        """Create a stream.

        Args:
            aws: where to send the samples.
            look: shows and returns new events, waiting some seconds for them.
            log: the log of the worker, named in errors.
        """
        self._aws = aws
        self._look = look
        self._log = log
        self._empty_looks = 0
        self._awaiting_since: float | None = None

    def run(self, mark: str, timeout: float) -> None:
        """Send the samples, wait until each has ended, and print the results.

        Args:
            mark: appended to the samples' addresses.
            timeout: seconds for everything.

        Raises:
            CliError: some did not end in time, or ended otherwise than expected.
        """
        board = Board()
        deadline = time.monotonic() + timeout
        for stage in sample_stages(mark):
            self._send(stage, board)
            while board.open and time.monotonic() < deadline:
                self._observe(board)
            if board.open:
                break
        console = output.stdout()
        console.print()
        console.print(result_table(board.entries, wide=console.width >= WIDE))
        self._judge(board, timeout)
        count = len(board.entries)
        console.print(f"\nall {count} ended as expected", style="green")

    def _send(self, samples: Sequence[Sample], board: Board) -> None:
        console = output.stdout()
        sent_at = time.monotonic()
        messages = [(sample.body, sample.user_id) for sample in samples]
        message_ids = send_bodies(self._aws.sqs, self._aws.command_queue_url, messages)
        board.sent(samples, message_ids, sent_at)
        for sample in samples:
            time_of_day = f"{rendering.clock(datetime.now(UTC))}  "
            name = f"-> {sample.name:<31} "
            console.print(Text.assemble((time_of_day, "dim"), (name, "cyan"), sample.about))

    def _observe(self, board: Board) -> None:
        board.events(self._look(0))
        board.look_up(self._outcomes)
        before = board.open
        board.dead_letters(self._peek())
        if self._nothing_more_comes(board):
            board.events(self._look(0))  # all published events have arrived by now
            board.queue_is_empty(self._outcomes)
        for entry in before:
            if entry.outcome:
                _show_silent_end(entry)
        time.sleep(PAUSE)

    def _outcomes(self, keys: Sequence[CommandKey]) -> Mapping[CommandKey, Outcome]:
        return self._aws.repository.load(LoadRequest(outcomes=set(keys))).outcomes

    def _nothing_more_comes(self, board: Board) -> bool:
        """Return True if only repeated messages are open and nothing new arrives for them."""
        if not board.awaits_emptiness:
            self._awaiting_since = None
            return False
        if self._awaiting_since is None:
            self._awaiting_since = time.monotonic()
        return self._queue_stays_empty() or time.monotonic() - self._awaiting_since >= QUIET

    def _queue_stays_empty(self) -> bool:
        empty = not any(queue_depths(self._aws, self._aws.command_queue_url).values())
        self._empty_looks = self._empty_looks + 1 if empty else 0
        return self._empty_looks >= LOOKS_AT_EMPTY

    def _peek(self) -> list[DeadLetterMessage]:
        """Read dead letters, which stay in the queue."""
        answer = self._aws.sqs.receive_message(
            QueueUrl=self._aws.dead_letter_queue_url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=PEEK,
            MessageAttributeNames=["All"],
        )
        now = time.monotonic()
        letters = []
        for message in answer.get("Messages", []):
            attributes = {
                name: value.get("StringValue", "")
                for name, value in message.get("MessageAttributes", {}).items()
            }
            letters.append(
                DeadLetterMessage(
                    message_id=attributes.get("original_message_id", ""),
                    code=attributes.get("error_code", ""),
                    detail=attributes.get("error_detail", ""),
                    body=message.get("Body", ""),
                    seen_at=now,
                )
            )
        return letters

    def _judge(self, board: Board, timeout: float) -> None:
        advice = f"see the worker's log: {self._log}"
        if board.open:
            raise CliError(
                f"{len(board.open)} samples have no outcome after {timeout:g} s",
                advice,
                ExitCode.TIMEOUT,
            )
        if wrong := [entry for entry in board.entries if not entry.as_expected]:
            raise CliError(
                f"{len(wrong)} samples did not end as expected", advice, ExitCode.NEGATIVE
            )


def _show_silent_end(entry: Entry) -> None:
    """Print the end of a sample that has no event."""
    time_of_day = f"{rendering.clock(datetime.now(UTC))}  "
    kind = "dead letter" if (entry.outcome or "").startswith("dead") else entry.outcome or ""
    detail = f"{entry.sample.about}: {output.printable(entry.detail)}"
    output.stdout().print(
        Text.assemble((time_of_day, "dim"), (f"-- {kind:<31} ", _style(entry)), detail)
    )


def _style(entry: Entry) -> str:
    word = (entry.outcome or "").partition(" ")[0]
    return _STYLES.get(word.rstrip(","), "bold red")


def result_table(entries: Sequence[Entry], *, wide: bool) -> Table:
    """Return a table of the results: one line per sample, or two on narrow terminals."""
    table = output.plain_table(
        "command", "", "outcome", "events or reason", "took", gap=2 if wide else 1
    )
    table.columns[0].no_wrap = table.columns[-1].no_wrap = True
    table.columns[1].header = "sample" if wide else ""
    table.columns[-1].justify = "right"
    for entry in entries:
        name, about = Text.assemble((entry.sample.name, "cyan")), Text(entry.sample.about)
        took = f"{entry.milliseconds:.0f} ms" if entry.outcome else ""
        detail = "\n".join(output.printable(line) for line in entry.detail.split("\n"))
        if not wide:
            name, about = name.append(f"\n  {about}", style="dim"), Text()
        table.add_row(name, about, _outcome_text(entry, wide=wide), detail, took)
    if not wide:
        del table.columns[1]
    return table


def _outcome_text(entry: Entry, *, wide: bool) -> Text:
    word, _, rest = (entry.outcome or "not seen").partition(" ")
    kind = "dead letter" if word == "dead" else word
    code = rest.removeprefix("letter ")
    style = _style(entry)
    text = Text.assemble((kind, style))
    if code:
        text.append(f" {code}" if wide else f"\n{code}", style=style)
    if entry.outcome and not entry.as_expected:
        text.append(f"\nexpected {entry.sample.expected}", style="bold red")
    return text
