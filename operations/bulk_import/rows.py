"""Read the rows of a file as commands; a row has the same command id each time it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from adapters.aws.batching import MAX_CALL_BYTES
from application.messages import (
    MalformedMessageError,
    MessageParser,
    UnknownTypeError,
    render_command,
)
from application.messages.encoding import canonical, compact
from application.messages.errors import field_path
from application.messages.outgoing import Outgoing, check_outgoing
from operations.bulk_import.columns import ENVELOPE, Asked, Columns
from operations.bulk_import.records import (
    CsvRow,
    FileFormat,
    JsonRow,
    Problem,
    read_csv,
    read_json_lines,
)
from operations.bulk_import.source import SourceFile
from operations.command_input import Options, command_class, from_text
from operations.printable import counted
from worker.errors import UsageError

COMMAND_NAMESPACE = UUID("b10e0000-0000-4000-8000-000000000002")
"""Namespace of the UUIDv5 that is a row's command id: made of import, row and content."""
SOURCE = "/user-worker/import"
_WHOLE = "specversion"
_COMMAND = "type"
_FIELDS = {attribute: field for field, attribute in ENVELOPE.items()}
_NO_USER = " (user_id in a Celery task)"


class Row(NamedTuple):
    """One row, with its command or all its problems."""

    number: int
    """Counts from 1, without the header and blank lines."""
    line: int
    outgoing: Outgoing | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """Properties that all commands of one import share."""

    scope: str
    """Digest of the file, or the name that was given to the import."""
    named: bool
    """Whether `scope` is a given name; a row's position in the file is then irrelevant."""
    source: str = SOURCE

    @property
    def correlation_id(self) -> str:
        """Correlation id, which every event of the import carries."""
        return self.scope if self.named else f"import-{self.scope[:16]}"

    def command_id(self, number: int, asked: object) -> str:
        """Return a deterministic command id for the content of a row."""
        place = "" if self.named else str(number)
        content = sha256(canonical(asked).encode()).hexdigest()
        return str(uuid5(COMMAND_NAMESPACE, f"{self.scope}/{place}/{content}"))


class RowReader:
    """Reads a file from its first row, repeatedly, with the same result each time."""

    def __init__(
        self,
        source: SourceFile,
        file_format: FileFormat,
        delimiter: str,
        columns: Columns,
        *,
        identity: Identity,
        parser: MessageParser,
    ) -> None:
        """Create a reader of `source`; rows that name no command use the command of `columns`."""
        self._source = source
        self._format = file_format
        self._delimiter = delimiter
        self._columns = columns
        self._identity = identity
        self._parser = parser

    def __iter__(self) -> Iterator[Row]:
        """Yield all rows; raises the errors of `read`."""
        return self.read(lambda _number: True)

    def read(self, wanted: Callable[[int], bool]) -> Iterator[Row]:
        """Yield the rows whose number is wanted, in order.

        Raises:
            UsageError: the rest of the file cannot be read, or its header is invalid.
        """
        rows = self._csv_rows if self._format is FileFormat.CSV else self._json_rows
        return rows(wanted)

    def _csv_rows(self, wanted: Callable[[int], bool]) -> Iterator[Row]:
        records = read_csv(self._source, self._delimiter)
        header = next(records, None)
        if header is None:
            raise UsageError(
                f"{self._source.name} has no header", "write the field names in the first line"
            )
        fields = self._columns.of_header(header.cells, self._source.name)
        for number, record in enumerate(records, 1):
            if wanted(number):
                yield self._csv_row(number, record, fields)

    def _csv_row(self, number: int, record: CsvRow, fields: list[str | None]) -> Row:
        missing = len(fields) - len(record.cells)
        if missing < 0:
            rule = f"has {counted(len(record.cells), 'cell')}, but the header has {len(fields)}"
            return Row(number, record.line, None, (Problem(record.line, "", rule),))
        cells = [*record.cells, *[""] * missing]  # spreadsheets omit empty cells at a row's end
        return self._row_of(number, record.line, self._columns.of_cells(fields, cells))

    def _json_rows(self, wanted: Callable[[int], bool]) -> Iterator[Row]:
        for number, record in enumerate(read_json_lines(self._source), 1):
            if wanted(number):
                yield self._json_row(number, record)

    def _json_row(self, number: int, record: JsonRow) -> Row:
        line, item = record.line, record.value
        if isinstance(item, Problem):
            return Row(number, line, None, (item,))
        if _WHOLE in item or _COMMAND in item:
            return self._row_of_command(number, line, item)
        try:
            asked = self._columns.of_object(item)
        except KeyError as error:
            field = field_path((str(error.args[0]),))
            rule = f"is not a field of {self._columns.command.__name__}"
            return Row(number, line, None, (Problem(line, field, rule),))
        return self._row_of(number, line, asked)

    # --- from a row to its command ---

    def _row_of(self, number: int, line: int, asked: Asked) -> Row:
        around = dict(asked.attributes)
        subject = around.pop("subject", None)
        kind = self._columns.command.type
        content = [kind, subject, around.get("expectedversion"), asked.data]
        command_id = around.pop("id", None) or self._identity.command_id(number, content)
        body = render_command(
            kind,
            asked.data,
            command_id=command_id,
            source=self._identity.source,
            user_id=subject,
            time=datetime.now(UTC),
            **{"correlationid": self._identity.correlation_id, **around},
        )
        row = self._checked(number, line, body)
        if not asked.problems:
            return row
        own = [Problem(line, field, rule) for field, rule in asked.problems.items()]
        others = [each for each in row.problems if each.field not in asked.problems]
        return Row(number, line, None, (*own, *others))

    def _row_of_command(self, number: int, line: int, item: dict[str, Any]) -> Row:
        """Parse a command in the format of `send --file`, with a deterministic id."""
        if _WHOLE not in item and not _is_command(item[_COMMAND]):
            return Row(number, line, None, (Problem(line, _COMMAND, "must be a command"),))
        if _WHOLE not in item and item.get("id") is None:
            item = {**item, "id": self._identity.command_id(number, item)}
        options = Options(
            source=self._identity.source,
            extensions={"correlationid": self._identity.correlation_id},
        )
        try:
            ((_, event),) = from_text(compact(item), "it", options)
        except UsageError as error:
            rule = str(error).removeprefix("it ").removeprefix("it: ")
            return Row(number, line, None, (Problem(line, "", rule),))
        return self._checked(number, line, compact(event))

    def _checked(self, number: int, line: int, body: str) -> Row:
        if len(body) > MAX_CALL_BYTES:  # the body is ASCII
            return Row(number, line, None, (Problem(line, "", "is larger than 256 KiB"),))
        try:
            return Row(number, line, check_outgoing(body, self._parser))
        except UnknownTypeError as error:
            return Row(number, line, None, (_problem(line, error.detail),))
        except MalformedMessageError as error:
            found = tuple(_problem(line, each) for each in error.detail.split("; "))
            return Row(number, line, None, found)


def _is_command(name: object) -> bool:
    try:
        command_class(str(name))
    except UsageError:
        return False
    return True


def _problem(line: int, detail: str) -> Problem:
    """Split `data.email: must ...` into field and rule; replace an attribute by its column name."""
    path, colon, rule = detail.partition(": ")
    if not colon:
        return Problem(line, "", detail)
    field = path.removeprefix("data.")
    return Problem(line, _FIELDS.get(field, field), rule.removesuffix(_NO_USER))
