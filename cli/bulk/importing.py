"""`user-worker import`: a file of commands to the queue, all of it checked first."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from adapters.sqs.sending import QueueMessage
from application.messages import MessageParser
from application.messages.encoding import canonical
from cli import composition, output
from cli.bulk.journal import Journal, Plan
from cli.bulk.reporting import (
    NO_ANSWER,
    REJECTED,
    Awaiting,
    ReportFile,
    report_file,
    write_report,
)
from cli.bulk.telling import complaints
from cli.progress import TerminalProgress
from operations.bulk_import.checking import Checked, check_rows
from operations.bulk_import.columns import Columns
from operations.bulk_import.dispatch import Dispatcher, Parcel
from operations.bulk_import.records import FileFormat, format_of, parse_delimiter, sniffed_delimiter
from operations.bulk_import.rows import Identity, Row, RowReader
from operations.bulk_import.source import SourceFile
from operations.command_input import command_class
from operations.signals import stop_on_signals
from worker.cli_errors import explain
from worker.errors import CliError, ExitCode, UsageError

JOURNAL_SUFFIX = ".progress.jsonl"
_TELL_EVERY = 256  # rows
_MAX_ID = 128  # characters, of a correlation id


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What was typed."""

    file: str
    command: str
    mapping: Sequence[str] = ()
    ignored: Sequence[str] = ()
    defaults: Sequence[str] = ()
    file_format: str | None = None
    delimiter: str | None = None
    import_id: str | None = None
    source: str = "/user-worker/import"
    group: str | None = None
    journal: str | None = None
    errors: str | None = None
    report: str | None = None
    wait: float = 120.0
    rate: float | None = None
    dry_run: bool = False
    skip_bad: bool = False
    as_json: bool = False


@dataclass(slots=True)
class Tally:
    """How many rows there are, and what became of them."""

    import_id: str
    rows: int = 0
    bad: int = 0
    sent_before: int = 0
    sent: int = 0

    @property
    def to_send(self) -> int:
        """How many may be sent at all."""
        return self.rows - self.bad


def import_file(options: ImportOptions) -> int:
    """Check the file, send it, and tell; give the exit code."""
    aws = composition.aws()
    with closing(SourceFile(options.file)) as source:
        reader, identity = _reader(options, source, MessageParser(aws.settings.roles))
        tally = Tally(identity.correlation_id)
        if options.dry_run:
            if options.report is not None:
                raise UsageError("--report needs rows that are sent", "leave out --dry-run")
            _check(options, source, reader, tally)
            return _report(options, tally, "checked")
        # before anything is sent: the table may not be there
        awaiting = Awaiting(aws.repository, options.wait) if options.report is not None else None
        plan = Plan(source.digest(), _digest_of(options), aws.command_queue_url)
        journal = Journal(Path(options.journal or options.file + JOURNAL_SUFFIX), plan)
        journal.load()  # before the work of the check: it may be another's
        checked = _check(options, source, reader, tally)
        source.require_unchanged()
        dispatcher = Dispatcher(aws.sqs, plan.queue, rate=options.rate)
        others = [Path(name) for name in (options.file, options.errors) if name] + [journal.path]
        with report_file(options.report, others) as report, stop_on_signals():
            with closing(journal):
                journal.open()
                _send(options, _Sending(reader, checked, journal, dispatcher), tally)
            code = _report(options, tally, f"sent to {aws.settings.command_queue}")
            if report is None or awaiting is None:
                return code
            return _write_report(reader, checked, awaiting, report)


# --- the file and its columns ---


def _reader(
    options: ImportOptions, source: SourceFile, parser: MessageParser
) -> tuple[RowReader, Identity]:
    file_format = FileFormat(options.file_format or format_of(source))
    if options.delimiter is not None:
        delimiter = parse_delimiter(options.delimiter)
    else:
        delimiter = sniffed_delimiter(source) if file_format is FileFormat.CSV else ","
    mapping: dict[str, str | None] = dict(_pairs(options.mapping, "--map COLUMN=FIELD"))
    columns = Columns(
        command_class(options.command),
        {name: field or None for name, field in mapping.items()} | dict.fromkeys(options.ignored),
        dict(_pairs(options.defaults, "--set FIELD=VALUE")),
    )
    identity = _identity(options, source)
    return RowReader(
        source, file_format, delimiter, columns, identity=identity, parser=parser
    ), identity


def _identity(options: ImportOptions, source: SourceFile) -> Identity:
    if options.import_id is None:
        return Identity(source.digest(), named=False, source=options.source)
    if not 1 <= len(options.import_id) <= _MAX_ID or not options.import_id.isprintable():
        raise UsageError(f"--import-id must have 1 to {_MAX_ID} printable characters")
    return Identity(options.import_id, named=True, source=options.source)


def _pairs(words: Sequence[str], form: str) -> Iterator[tuple[str, str]]:
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"write it as {form}", "quote what has blanks")
        yield name, value.strip()


def _digest_of(options: ImportOptions) -> str:
    """Hash the options that decide what a row asks for: a journal is of one such choice."""
    chosen = asdict(options)
    names = ("command", "mapping", "ignored", "defaults", "file_format", "delimiter", "import_id")
    return sha256(canonical([chosen[name] for name in names]).encode()).hexdigest()


# --- the two passes ---


def _check(options: ImportOptions, source: SourceFile, reader: RowReader, tally: Tally) -> Checked:
    """Check all rows.

    Raises:
        UsageError: there are bad ones, and they are not to be left out.
    """
    with (
        stop_on_signals(),
        complaints(options.file, options.errors) as tell,
        TerminalProgress().track("checked", source.size, "bytes") as advance,
    ):
        checked = check_rows(_watched(reader, source, advance), tell)
    tally.rows, tally.bad = checked.rows, checked.bad
    if not checked.rows:
        raise UsageError(f"{options.file} holds no row", "write one a line, below the header")
    if checked.bad and not options.skip_bad:
        raise UsageError(
            f"{checked.bad} of {checked.rows} rows are bad; nothing was sent",
            "correct them, or leave them out with --skip-bad",
        )
    return checked


def _watched(
    rows: Iterable[Row], source: SourceFile, advance: Callable[[int], object]
) -> Iterator[Row]:
    """Tell now and then how many bytes more have been read."""
    told = 0
    for row in rows:
        if row.number % _TELL_EVERY == 0:
            advance(source.position - told)
            told = source.position
        yield row


@dataclass(frozen=True, slots=True)
class _Sending:
    """What the second pass works with."""

    reader: RowReader
    checked: Checked
    journal: Journal
    dispatcher: Dispatcher


def _send(options: ImportOptions, work: _Sending, tally: Tally) -> None:
    tally.sent_before = sum(work.journal.sent)

    def wanted(number: int) -> bool:
        return work.checked.may_be_sent(number) and not work.journal.has(number)

    def parcels() -> Iterator[Parcel]:
        for row in work.reader.read(wanted):
            if row.outgoing is not None:
                own = row.outgoing.group if work.dispatcher.fifo else None
                yield Parcel(row.number, QueueMessage(row.outgoing.body, options.group or own))

    with TerminalProgress().track("sent", tally.to_send, "rows") as advance:
        advance(tally.sent_before)

        def acknowledge(rows: list[int]) -> None:
            tally.sent += len(rows)
            advance(len(rows))
            work.journal.record(rows)

        try:
            work.dispatcher.send(parcels(), acknowledge)
        except KeyboardInterrupt:
            output.stderr().print(f"stopped: {_so_far(tally)}", markup=False)
            raise
        except (CliError, ClientError, BotoCoreError) as error:
            known = explain(error) or CliError(f"unforeseen {type(error).__name__}")
            # not a mistyped command line, whatever it was: some rows may be on the queue
            raise CliError(f"{known}; {_so_far(tally)}") from error


def _write_report(
    reader: RowReader, checked: Checked, awaiting: Awaiting, report: ReportFile
) -> int:
    """Wait for the outcomes, write the report, and return the exit code as `send --wait` does."""
    try:
        with TerminalProgress().track("outcomes", checked.rows, "rows") as advance:
            write_report(_counted(reader, advance), checked, awaiting, report)
    except KeyboardInterrupt:
        advice = "run the same command again: it sends nothing twice"
        output.stderr().print(f"stopped: the report is not complete; {advice}", markup=False)
        raise
    parts = [f"{count} {outcome}" for outcome, count in report.counts.most_common()]
    output.stderr().print(f"report: {', '.join(parts)}", markup=False)
    if report.counts[NO_ANSWER]:
        return ExitCode.TIMEOUT
    return ExitCode.NEGATIVE if report.counts[REJECTED] else ExitCode.OK


def _counted(rows: Iterable[Row], advance: Callable[[int], object]) -> Iterator[Row]:
    for row in rows:
        advance(1)
        yield row


def _so_far(tally: Tally) -> str:
    done = tally.sent_before + tally.sent
    return f"{done} of {tally.to_send} rows are sent; run the same command again to go on"


def _report(options: ImportOptions, tally: Tally, done: str) -> int:
    if options.as_json:
        sys.stdout.write(output.json_line(asdict(tally)) + "\n")
        return ExitCode.OK
    parts = [f"{tally.to_send if options.dry_run else tally.sent} rows {done}"]
    if tally.sent_before:
        parts.append(f"{tally.sent_before} were sent before")
    if tally.bad:
        parts.append(f"{tally.bad} bad ones left out")
    sys.stdout.write(", ".join(parts) + "\n")
    if not options.dry_run:
        output.stderr().print(
            f"their events have correlationid {tally.import_id}", style="dim", markup=False
        )
    return ExitCode.OK
