"""Import a file of commands: check all rows, send them to the queue, and report outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Self

from botocore.exceptions import BotoCoreError, ClientError

from adapters.sqs.sending import QueueMessage
from application.key_ring import KeyRing
from application.messages import MessageParser
from application.messages.encoding import canonical
from operations.bulk_import.checking import check_rows
from operations.bulk_import.columns import Columns
from operations.bulk_import.dispatch import Dispatcher, Parcel
from operations.bulk_import.journal import Journal, Plan
from operations.bulk_import.records import (
    FileFormat,
    Problem,
    format_of,
    parse_delimiter,
    sniffed_delimiter,
)
from operations.bulk_import.report import COLUMNS, OutcomeWaiter, write_report
from operations.bulk_import.row_file import row_file
from operations.bulk_import.rows import Identity, Row, RowReader
from operations.bulk_import.source import UTF_8, SourceFile
from operations.command_input import command_class
from operations.dead_letters.listing import letters_by_command
from operations.printable import counted
from operations.progress import NO_PROGRESS, Progress
from operations.sending import require_served
from worker.cli_errors import explain
from worker.connections import Aws
from worker.errors import CliError, SettingsError, UsageError
from worker.settings import Settings

JOURNAL_SUFFIX = ".progress.jsonl"
_REPORT_EVERY = 32  # rows
_MAX_ID = 128  # characters of a correlation id


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """Options of an import."""

    file: str
    command: str
    mapping: Sequence[str] = ()
    ignored: Sequence[str] = ()
    defaults: Sequence[str] = ()
    file_format: str | None = None
    delimiter: str | None = None
    encoding: str = UTF_8
    split_name: str | None = None
    import_id: str | None = None
    source: str = "/user-worker/import"
    queue: str | None = None
    group: str | None = None
    journal: str | None = None
    errors: str | None = None
    report: str | None = None
    wait: float = 120.0
    rate: float | None = None
    dry_run: bool = False
    skip_bad: bool = False


@dataclass(slots=True)
class Tally:
    """Number of rows, and of rows sent."""

    import_id: str
    rows: int = 0
    bad: int = 0
    sent_before: int = 0
    sent: int = 0

    @property
    def to_send(self) -> int:
        """Number of rows to send."""
        return self.rows - self.bad


class Import:
    """One import: call `check`, `send`, `write_report` in this order; the context closes files."""

    def __init__(self, aws: Aws, options: ImportOptions, progress: Progress = NO_PROGRESS) -> None:
        """Open the file and, unless it is a dry run, look up queue, journal and table.

        Raises:
            UsageError: the options do not match the file, the journal is of another import, or the
                queue is not one that the worker serves.
            CliError: the queue or the table is missing, or a file cannot be read.
        """
        if options.dry_run and options.report is not None:
            raise UsageError("--report and --dry-run cannot be combined", "use one of them")
        self._options = options
        self._progress = progress
        self._aws = aws
        self.queue = require_served(aws.settings, options.queue)
        with ExitStack() as files:  # closes the file if a statement below fails
            self._source = files.enter_context(closing(SourceFile(options.file, options.encoding)))
            parser = MessageParser(aws.settings.roles)
            self._reader, identity = _reader(options, self._source, parser)
            self.tally = Tally(identity.correlation_id)
            if not options.dry_run:
                self._prepare(files)
            self._files = files.pop_all()

    def _prepare(self, files: ExitStack) -> None:
        """Look up everything that sending and the report need, before the expensive check."""
        options, aws = self._options, self._aws
        report = options.report is not None
        self._waiter = OutcomeWaiter(aws.repository, options.wait) if report else None
        plan = Plan(self._source.digest(), _digest_of(options), aws.queue_url(self.queue))
        self._journal = Journal(Path(options.journal or options.file + JOURNAL_SUFFIX), plan)
        self._journal.load()  # raises if the journal belongs to another import
        self._dispatcher = Dispatcher(aws.sqs, plan.queue, rate=options.rate)
        others = [Path(name) for name in (options.file, options.errors) if name]
        others.append(self._journal.path)
        self._report = files.enter_context(row_file(options.report, COLUMNS, "--report", others))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def check(self, on_problem: Callable[[Problem], object] = lambda _: None) -> None:
        """Check all rows; call `on_problem` for each problem, in the order of the file.

        Raises:
            CliError: a file cannot be read or written.
        """
        options, source = self._options, self._source
        others = (
            [Path(options.file)] if options.dry_run else [Path(options.file), self._journal.path]
        )
        with (
            row_file(options.errors, ("line", "field", "rule"), "--errors", others) as errors,
            self._progress.track("checked", source.size, "bytes") as advance,
        ):

            def report(problem: Problem) -> None:
                on_problem(problem)
                if errors is not None:
                    errors.add({**asdict(problem), "field": problem.field or None})

            try:
                self._checked = check_rows(_counting_bytes(self._reader, source, advance), report)
            finally:  # also where the rest of the file cannot be read
                if errors is not None:
                    errors.complete()
        self.tally.rows, self.tally.bad = self._checked.rows, self._checked.bad

    def require_valid(self) -> None:
        """Raise UsageError if there are no rows, or invalid rows that are not to be skipped."""
        tally = self.tally
        if not tally.rows:
            raise UsageError(
                f"{self._options.file} has no rows", "write one row per line, below the header"
            )
        if tally.bad and not self._options.skip_bad:
            rows = counted(tally.rows, "row is", "rows are")
            raise UsageError(
                f"{tally.bad} of {rows} invalid; nothing was sent",
                "correct them, or skip them with --skip-bad",
            )

    def send(self) -> None:
        """Send the checked rows that are not sent yet, and record them in the journal.

        Raises:
            UsageError: as `require_valid`, or the file has changed since the check.
            CliError: some rows were not sent; the message says how many were, and how to continue.
        """
        self.require_valid()
        self._source.require_unchanged()
        with closing(self._journal):
            self._journal.open()
            self._send()

    def _send(self) -> None:
        tally, journal = self.tally, self._journal
        tally.sent_before = sum(journal.sent)

        def is_due(number: int) -> bool:
            return self._checked.may_be_sent(number) and not journal.has(number)

        def parcels() -> Iterator[Parcel]:
            for row in self._reader.read(is_due):
                if row.outgoing is not None:
                    own = row.outgoing.group if self._dispatcher.fifo else None
                    group = self._options.group or own
                    yield Parcel(row.number, QueueMessage(row.outgoing.body, group))

        with self._progress.track("sent", tally.to_send, "rows") as advance:
            advance(tally.sent_before)

            def acknowledge(rows: list[int]) -> None:
                tally.sent += len(rows)
                advance(len(rows))
                journal.record(rows)

            try:
                self._dispatcher.send(parcels(), acknowledge)
            except KeyboardInterrupt:
                self._progress.note(f"stopped: {self._so_far()}", warning=True)
                raise
            except (CliError, ClientError, BotoCoreError) as error:
                known = explain(error) or CliError(f"unexpected {type(error).__name__}")
                # CliError for every cause, since some rows may already be on the queue
                raise CliError(f"{known}; {self._so_far()}") from error

    def _so_far(self) -> str:
        done = self.tally.sent_before + self.tally.sent
        return (
            f"{done} of {counted(self.tally.to_send, 'row is', 'rows are')} sent; "
            "run the same command again to continue"
        )

    def write_report(self) -> Counter[str] | None:
        """Wait for outcomes and write the report; return the number of rows by outcome.

        Return `None` if the options name no report.
        """
        if self._report is None or self._waiter is None:
            return None
        try:
            with self._progress.track("outcomes", self._checked.rows, "rows") as advance:
                return write_report(
                    self._reader,
                    self._checked,
                    self._waiter,
                    partial(letters_by_command, self._aws, progress=self._progress),
                    self._report,
                    hash_keys=_hash_keys(self._aws.settings),
                    advance=advance,
                )
        except KeyboardInterrupt:
            advice = "run the same command again: no row is sent twice"
            self._progress.note(f"stopped: the report was not written; {advice}", warning=True)
            raise


def _counting_bytes(
    rows: Iterable[Row], source: SourceFile, advance: Callable[[int], object]
) -> Iterator[Row]:
    """Yield rows, and report regularly and at the end how many more bytes were read."""
    reported = 0
    for row in rows:
        if row.number % _REPORT_EVERY == 0:
            advance(source.position - reported)
            reported = source.position
        yield row
    advance(source.position - reported)


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
        options.split_name,
    )
    identity = _identity(options, source)
    return RowReader(
        source, file_format, delimiter, columns, identity=identity, parser=parser
    ), identity


def _identity(options: ImportOptions, source: SourceFile) -> Identity:
    if options.import_id is None:
        return Identity(source.digest(), named=False, source=options.source)
    if not 1 <= len(options.import_id) <= _MAX_ID or not options.import_id.isprintable():
        raise UsageError(
            f"--import-id must have 1 to {_MAX_ID} printable characters", "choose another"
        )
    return Identity(options.import_id, named=True, source=options.source)


def _pairs(words: Sequence[str], form: str) -> Iterator[tuple[str, str]]:
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"an option does not have the form {form}", "quote values with spaces")
        yield name, value.strip()


def _digest_of(options: ImportOptions) -> str:
    """Hash the options that determine a row's command; a journal belongs to one set of them."""
    chosen = asdict(options)
    names = (
        "command", "mapping", "ignored", "defaults", "file_format", "delimiter", "import_id",
        "encoding", "split_name",
    )  # fmt: skip
    return sha256(canonical([chosen[name] for name in names]).encode()).hexdigest()


def _hash_keys(settings: Settings) -> KeyRing | None:
    """Return the keys of the workers' hashes; `None` if this program does not have them."""
    try:
        return settings.hash_key_ring
    except SettingsError:
        return None
