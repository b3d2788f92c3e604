"""Send the samples, and find out from outside the worker how each one ends.

A command has ended when its outcome is recorded and all recorded events were received from the
topic. A message is dead when it is in the dead-letter queue. A repeated message was a duplicate if
the queue is empty, and neither another event nor another outcome exists.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.text import Text

from application.ports import CommandKey
from application.repository import LoadRequest, Outcome
from cli import output, rendering
from cli.demo.samples import DUPLICATE, Sample, sample_stages
from cli.layout import Labelled, Rows
from console.commands import SentCommand
from operations.presentation import outcome_words
from operations.printable import counted, printable
from operations.received_event import ReceivedEvent
from operations.sending import send_bodies
from operations.status import queue_depths
from worker.connections import Aws
from worker.errors import CliError, ExitCode

PAUSE = 0.03
"""Seconds between two observations."""
LOOKS_AT_EMPTY = 2
"""Consecutive times that the queue must look empty, because SQS counts approximately."""
QUIET = 5.0
"""Seconds after which a repeated message counts as processed although others use the queue."""
PEEK = 2
"""Seconds for which a dead letter is hidden from other consumers after we have read it."""
_STYLES = {"accepted": "green", "rejected": "red", "dead": "magenta", "duplicate": "yellow"}


@dataclass(slots=True)
class Sent:
    """A sample that was sent, and how it ended. Times are from `time.monotonic`."""

    sample: Sample
    message_id: str
    sent_at: float
    outcome: str = ""
    detail: str = ""
    ended_at: float = 0.0

    def end(self, outcome: str, detail: str, at: float) -> None:
        """Record how it ended."""
        self.outcome, self.detail, self.ended_at = outcome, detail, at


class SampleStream:
    """One stream of samples to one AWS."""

    def __init__(
        self,
        aws: Aws,
        look: Callable[[int], Iterable[ReceivedEvent]],
        note_sent: Callable[[str, SentCommand], object] = lambda _, __: None,
    ) -> None:
        """Create a stream.

        `look` shows and returns new events, waiting some seconds for them. `note_sent` receives the
        id of each command, and what is known of its sending.
        """
        self._aws = aws
        self._look = look
        self._note_sent = note_sent
        self.sent: list[Sent] = []
        self._events: defaultdict[str | None, list[ReceivedEvent]] = defaultdict(list)
        """By command id."""
        self._outcomes: dict[CommandKey, Outcome] = {}
        self._empty_looks = 0
        self._alone_since = 0.0
        """Time since when only repeated messages are open."""

    @property
    def open(self) -> list[Sent]:
        """Samples that have not ended yet."""
        return [each for each in self.sent if not each.outcome]

    def run(self, mark: str, timeout: float, log: Path) -> None:
        """Send the samples, wait until each has ended, and print the results.

        Args:
            mark: appended to the samples' addresses.
            timeout: seconds for everything.
            log: the worker's log, named in errors.

        Raises:
            CliError: some did not end in time, or ended otherwise than expected.
        """
        deadline = time.monotonic() + timeout
        for stage in sample_stages(mark):
            self.send(stage)
            while self.open and time.monotonic() < deadline:
                self.observe()
                time.sleep(PAUSE)
            if self.open:
                break
        self._print_results()
        advice = f"see the worker's log: {log}"
        if count := len(self.open):
            problem = f"no outcome of {counted(count, 'sample')} after {timeout:g} s"
            raise CliError(problem, advice, ExitCode.TIMEOUT)
        if count := sum(each.outcome != each.sample.expected for each in self.sent):
            problem = f"{counted(count, 'sample')} did not end as expected"
            raise CliError(problem, advice, ExitCode.NEGATIVE)
        output.stdout().print(f"\nall {len(self.sent)} ended as expected", style="green")

    def send(self, samples: Sequence[Sample]) -> None:
        """Send samples, and print them."""
        sent_at = self._alone_since = time.monotonic()
        now = datetime.now(UTC)
        messages = [(each.body, each.key.user_id or "") for each in samples]
        message_ids = send_bodies(self._aws.sqs, self._aws.command_queue_url, messages)
        for sample, message_id in zip(samples, message_ids, strict=True):
            self.sent.append(Sent(sample, message_id, sent_at))
            self._note_sent(
                sample.key.command_id, SentCommand(sample.name, sample.key.user_id, now)
            )
            _print_line(f"-> {sample.name:<31} ", "cyan", sample.about)

    def observe(self) -> None:
        """Find samples that have ended."""
        self._receive_events()
        self._read_outcomes()
        self._read_dead_letters()
        if any(each.sample.expected != DUPLICATE for each in self.open):
            self._alone_since, self._empty_looks = time.monotonic(), 0
        elif self.open and self._queue_is_done():
            self._receive_events()  # all published events have arrived by now
            self._end_repeats()

    def _receive_events(self) -> None:
        for event in self._look(0):
            self._events[event.command_id].append(event)

    def _load(self, sent: Iterable[Sent]) -> Mapping[CommandKey, Outcome]:
        request = LoadRequest(outcomes={each.sample.key for each in sent})
        return self._aws.repository.load(request).outcomes

    def _read_outcomes(self) -> None:
        new = [each for each in self.open if each.sample.expected != DUPLICATE]
        told = [each for each in new if each.sample.key.command_id in self._events]
        found = self._load(told) if told else {}
        for each in told:
            outcome, seen = found.get(each.sample.key), self._events[each.sample.key.command_id]
            if outcome and sorted(e.type for e in seen) == sorted(e.type for e in outcome.events):
                self._outcomes[each.sample.key] = outcome
                text = outcome_words(outcome)
                each.end(text, _names(seen), max(event.received_at for event in seen))

    def _read_dead_letters(self) -> None:
        answer = self._aws.sqs.receive_message(
            QueueUrl=self._aws.dead_letter_queue_url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=PEEK,
            MessageAttributeNames=["All"],
        )
        waiting = {each.message_id: each for each in self.open}
        for message in answer.get("Messages", []):
            attributes = message.get("MessageAttributes", {})
            texts = {name: value.get("StringValue", "") for name, value in attributes.items()}
            if each := waiting.get(texts.get("original_message_id", "")):
                code, detail = texts.get("error_code", ""), texts.get("error_detail", "")
                each.end(f"dead letter {code}", detail, time.monotonic())
                _print_end(each, "dead letter")

    def _queue_is_done(self) -> bool:
        """Return True if the queue is empty, or if it is not after some quiet seconds."""
        empty = not any(queue_depths(self._aws, self._aws.command_queue_url).values())
        self._empty_looks = self._empty_looks + 1 if empty else 0
        quiet = time.monotonic() - self._alone_since
        return self._empty_looks >= LOOKS_AT_EMPTY or quiet >= QUIET

    def _end_repeats(self) -> None:
        found = self._load(self.open)
        for each in self.open:
            first, seen = self._outcomes[each.sample.key], self._events[each.sample.key.command_id]
            once = found.get(each.sample.key) == first and len(seen) == len(first.events)
            outcome, detail = (
                (DUPLICATE, "no new events") if once else ("processed twice", _names(seen))
            )
            each.end(outcome, detail, time.monotonic())
            _print_end(each, outcome)

    def _print_results(self) -> None:
        """Print a table: one line per sample, or more on narrow terminals."""
        columns = ("command", "sample", "outcome", "events or reason", "took")
        whole = Rows(columns, right=frozenset({"took"}))
        compact = Rows((columns[0], *columns[2:]), gap=1, right=whole.right)
        for each in self.sent:
            name, about = Text.styled(each.sample.name, "cyan"), each.sample.about
            outcome = Text(each.outcome or "not seen", _style(each))
            if each.outcome not in {"", each.sample.expected}:
                outcome.append(f"\nexpected {each.sample.expected}", style="bold red")
            took = f"{(each.ended_at - each.sent_at) * 1000:.0f} ms" if each.outcome else ""
            rest = outcome, Text("\n".join(map(printable, each.detail.split("\n")))), took
            whole.add(name, about, *rest)
            compact.add(Text.assemble(name, (f"\n  {about}", "dim")), *rest)
        console = output.stdout()
        console.print()
        console.print(whole.or_compact(compact, console.width))


def _names(events: Iterable[ReceivedEvent]) -> str:
    return "\n".join(event.name for event in events)


def _style(sent: Sent) -> str:
    return _STYLES.get(sent.outcome.partition(" ")[0].rstrip(","), "bold red")


def _print_end(sent: Sent, kind: str) -> None:
    detail = f"{sent.sample.about}: {printable(sent.detail)}"
    _print_line(f"-- {kind:<31} ", _style(sent), detail)


def _print_line(head: str, style: str, text: str) -> None:
    now = f"{rendering.clock(datetime.now(UTC))}  "
    output.stdout().print(Labelled(Text.assemble((now, "dim"), (head, style)), Text(text)))
