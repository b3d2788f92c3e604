"""Parsers of external input: any bytes are a case; each function raises if it finds a bug.

Required of all: no exception but the declared ones, exactly one disposition for each message, and
no secret or address in what is emitted (see `tests.canaries`).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from adapters.memory import MemoryEventPublisher, MemoryOutbox, MemoryStore, MemoryUserRepository
from application.batch import BatchHandler, Ports
from application.batch_policy import BatchPolicy
from application.disposition import DeadLetter, Dispositions, ReceivedMessage, Retry
from application.messages import MalformedMessageError, Redacted, UnknownTypeError
from application.ports import Clock
from tests import canaries
from tests.builders import HASH_KEYS
from tests.fuzz.bodies import any_body, cut_body, damaged_body
from tests.fuzz.choices import Choices
from tests.fuzz.command_lines import command_line
from tests.fuzz.items import stored_item
from tests.unit.application.messages.examples import PARSER, message
from worker import logs

NOW: Final = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
MAX_DETAIL: Final = 1024
REACHING_A_PERSON: Final = (
    "UserRegistered",
    "UserCreated",
    "EmailVerificationRequested",
    "EmailChangeRequested",
    "EmailChanged",
    "PasswordResetRequested",
)
"""The events that contain an address."""


def check_detail(detail: str) -> None:
    """Check that an error's text can be an attribute of a dead letter, and has no value."""
    assert detail
    assert len(detail) <= MAX_DETAIL
    assert detail.isascii()
    assert detail.isprintable()
    assert not canaries.personal_in(detail)


def message_boundary(data: bytes) -> None:
    """Any text, in any wrapping, is a command or one of two errors; redaction is stable."""
    _parse(any_body(Choices(data)))


def changed_commands(data: bytes) -> None:
    """A command with any change is a command, or refused without its secrets."""
    body = damaged_body(Choices(data))
    redacted = _parse(body)
    kept = redacted.body if redacted else body
    assert not canaries.secret_in(kept), "a dead letter would show a secret"


def _parse(body: str) -> Redacted | None:
    redacted = PARSER.redact(body)
    assert redacted is None or PARSER.redact(redacted.body) is None
    refusal: MalformedMessageError | UnknownTypeError | None = None
    try:
        envelope = PARSER.parse(message(body))
    except (MalformedMessageError, UnknownTypeError) as error:
        refusal = error
    else:
        assert not canaries.personal_in(repr(envelope)), "a repr may end up in a log"
    if refusal is not None:
        check_detail(refusal.detail)
    return redacted


# --- batches -------------------------------------------------------------------------------


class _Standing(Clock):
    def now(self) -> datetime:
        return NOW


_POLICY = BatchPolicy(
    max_receives=12,
    outcome_lifetime=timedelta(days=90),
    command_lifetime=timedelta(days=60),
    registration_grace=timedelta(seconds=60),
    hash_keys=HASH_KEYS,
    draw=lambda _low, high: high,
    sleep=lambda _seconds: None,
)


@contextmanager
def log_lines() -> Iterator[io.StringIO]:
    """Capture every line, as the worker's own configuration renders it."""
    before = structlog.get_config()
    lines = io.StringIO()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            logs._without_exception_text,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(lines),
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=False,
    )
    try:
        yield lines
    finally:
        structlog.configure(**before)


def batches(data: bytes) -> None:
    """Every message of any batch gets one disposition, and no personal data is emitted."""
    choices = Choices(data)
    messages: list[ReceivedMessage] = []
    cut: set[int] = set()
    for index in range(1 + choices.below(6)):
        kind = choices.below(5)
        body = any_body(Choices(data[index:])) if kind == 4 else damaged_body(choices)
        if kind == 3:
            body = cut_body(choices)
        if kind > 2:
            cut.add(index)
        group = choices.one_of((None, "a", "b"))
        one: ReceivedMessage = {
            **message(body),
            "message_id": f"m{index}",
            "receives": choices.one_of((1, 2, 12)),
            "sent_at": NOW.timestamp() - choices.one_of((0, 3600, 10**5, 10**7)),
            "group_id": group,
            "fifo": group is not None and data[-1:] > b"\x80",
        }
        messages.append(one)
    store, publisher = MemoryStore(), MemoryEventPublisher()
    ports = Ports(MemoryUserRepository(store), MemoryOutbox(store), publisher, _Standing())
    with log_lines() as lines:
        settlements = BatchHandler(ports, PARSER, _POLICY).handle(messages)
    _check_settlements(settlements, messages, cut)
    _check_events(publisher)
    told = lines.getvalue()
    assert not canaries.personal_in(told), "a log line shows personal data"
    assert '"Unforeseen"' not in told, told
    assert "_failed" not in told, told


def _check_settlements(
    settlements: Dispositions, messages: list[ReceivedMessage], cut: set[int]
) -> None:
    assert len(settlements.items) == len(messages)
    assert Dispositions.parse(repr(settlements)) == settlements
    for index, settlement in enumerate(settlements.items):
        if isinstance(settlement, Retry):
            assert 0 <= settlement.delay <= 43_200
        if isinstance(settlement, DeadLetter):
            check_detail(settlement.detail)
            kept = settlement.body or messages[index]["body"]
            assert index in cut or not canaries.secret_in(kept), "a dead letter shows a secret"


def _check_events(publisher: MemoryEventPublisher) -> None:
    for event in publisher.published:
        attributes = f"{event.type} {event.category} {event.command_source}"
        assert not canaries.personal_in(attributes)
        assert not canaries.credential_in(event.body)
        name = json.loads(event.body)["type"].split(".")[2]
        assert name in REACHING_A_PERSON or not canaries.personal_in(event.body), name


SURFACES: Final[dict[str, Callable[[bytes], None]]] = {
    "messages": message_boundary,
    "commands": changed_commands,
    "batches": batches,
    "items": stored_item,
    "command-line": command_line,
}
"""By the name that `python -m tests.fuzz` uses."""
