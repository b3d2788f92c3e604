"""Render events and outcomes for a terminal, and as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.text import Text

from application.repository import Outcome, Status
from cli.layout import Labelled, Rows
from cli.output import print_json, stderr, stdout
from domain.values import render_time
from operations.presentation import name_of, outcome_words
from operations.printable import counted, printable
from operations.received_event import ReceivedEvent
from worker.errors import ExitCode

WIDE_EVENTS = 170
"""Minimum columns to show full ids in events: a type, two ids and a time fit."""
_SHORT_ID = 8
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TYPE_WIDTH = 26  # EmailVerificationRequested


def data_text(data: Mapping[str, object], *, wide: bool) -> str:
    """Return the fields of an event on one line; null fields are omitted."""
    texts = {name: printable(value) for name, value in data.items() if value is not None}
    if not wide:
        texts = {k: v[:_SHORT_ID] if _ID.fullmatch(v) else v for k, v in texts.items()}
    return " ".join(f"{printable(name)}={text}" for name, text in texts.items())


def event_line(event: ReceivedEvent, *, wide: bool) -> Labelled:
    """Return the line of an event: time, type, sequence, user, data."""
    line = Text.assemble((f"{clock(event.time)}  ", "dim"))
    line.append("<- ", style="green")
    line.append(f"{printable(event.name):<{_TYPE_WIDTH}}", style=_event_style(event))
    line.append(f" {'#' + str(event.sequence) if event.sequence else '':<4}", style="bold")
    line.append(f" {short_id(event.user_id, wide=wide)}", style="dim")
    line.append("  ")
    return Labelled(line, Text(data_text(_shown_data(event), wide=wide)))


def print_event(event: ReceivedEvent) -> None:
    """Print an event; a terminal gets the beginnings of ids, unless it is wide."""
    console = stdout()
    console.print(event_line(event, wide=console.width >= WIDE_EVENTS))


def _shown_data(event: ReceivedEvent) -> Mapping[str, object]:
    """Return the data to show; the ids of a command event are shown elsewhere on the line."""
    if event.category != "command":
        return event.data
    code = event.data.get("code")
    return {"code": code, "command": name_of(str(event.data.get("command_type")))}


def _event_style(event: ReceivedEvent) -> str:
    if event.name in {"CommandRejected", "CommandDeadLettered"}:
        return "red"
    return "yellow" if event.category == "command" else "green"


def clock(time: datetime) -> str:
    """Return the local time of day, to the millisecond."""
    return time.astimezone().isoformat(timespec="milliseconds")[11:23]


def short_id(identity: str | None, *, wide: bool) -> str:
    """Return an id, or its beginning on narrow terminals."""
    text = printable(identity or "-")
    return text if wide else f"{text[:_SHORT_ID]:<{_SHORT_ID}}"


# --- outcomes ---


def outcome_text(outcome: Outcome) -> Text:
    """Return how a command ended, in one or two words."""
    return Text(outcome_words(outcome), style="green" if outcome.code is None else "red")


def event_names(outcome: Outcome) -> str:
    """Return the names of an outcome's events, except for those of category command."""
    names = [name_of(e.type) for e in outcome.events if e.category != "command"]
    return ", ".join(names) or "-"


def outcome_rows(outcomes: Sequence[Outcome], width: int) -> Rows:
    """Return the rows of outcomes: one line each, or several where `width` is less."""
    whole = Rows(("recorded", "sent by", "command", "outcome", "events", "version", "command id"))
    compact = Rows(tuple(whole.columns[:5]), gap=1)
    for outcome in outcomes:
        recorded, version = render_time(outcome.recorded_at), str(outcome.version)
        rest = (name_of(outcome.command_type), outcome_text(outcome), event_names(outcome))
        whole.add(recorded, sender(outcome, " "), *rest, version, outcome.command_id)
        note = f"version {version}, command id {outcome.command_id}"
        compact.add(Text(recorded.replace("T", "\n")), sender(outcome, "\n"), *rest, note=note)
    return whole.or_compact(compact, width)


def sender(outcome: Outcome, separator: str) -> Text:
    """Return the source of a command, and on whose behalf it was sent."""
    parts = [outcome.source, *([f"for {outcome.actor}"] if outcome.actor else [])]
    return Text(separator.join(map(printable, parts)))


def outcome_json(outcome: Outcome) -> dict[str, object]:
    """Return an outcome for JSON output."""
    return {
        "command_id": outcome.command_id,
        "command_type": outcome.command_type,
        "user_id": outcome.user_id,
        "status": str(outcome.status),
        "code": outcome.code and str(outcome.code),
        "version": outcome.version,
        "recorded_at": render_time(outcome.recorded_at),
        "expires_at": render_time(outcome.expires_at),
        "source": outcome.source,
        "actor": outcome.actor,
        "producer": outcome.producer,
        "principal": outcome.principal,
        "correlation_id": outcome.correlation_id,
        "events": [
            {"type": e.type, "category": e.category, "sequence": e.sequence, "data": e.data}
            for e in outcome.events
        ],
    }


def print_outcomes(outcomes: Sequence[Outcome | None], *, as_json: bool) -> int:
    """Print outcomes; return the exit code of the worst of them."""
    known = [outcome for outcome in outcomes if outcome is not None]
    if as_json:
        print_json(*map(outcome_json, known))
    elif known:
        console = stdout()
        console.print(outcome_rows(known, console.width))
    if len(known) < len(outcomes):
        missing = len(outcomes) - len(known)
        stderr().print(
            f"error: no outcome yet of {missing} of {counted(len(outcomes), 'command')}; "
            "check with `user-worker status` that a worker is running; "
            "a command to an unknown user takes a minute"
        )
        return ExitCode.TIMEOUT
    rejected = any(outcome.status is Status.REJECTED for outcome in known)
    return ExitCode.NEGATIVE if rejected else ExitCode.OK
