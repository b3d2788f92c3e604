"""Render log lines for a person: short ones for commands, with the time of day.

A line of a command has its event name, command, outcome, the beginning of the user's id and the
milliseconds, in columns. Details of a failure follow on lines of their own. Other lines keep all
their fields. At level DEBUG, and in JSON, each line has all fields.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import structlog
from structlog.dev import DIM, GREEN, MAGENTA, RED, RESET_ALL, YELLOW

WIDTH: Final = 100
"""Maximum columns of a command's line."""
_FAILED: Final = frozenset({"message_not_permitted", "message_not_understood"})
_SHORT_ID: Final = 8
_COLOURS: Final = {"accepted": GREEN, "duplicate": YELLOW, "later": MAGENTA}
_PRECISE: Final = 1000
"""Milliseconds from which decimals are left out."""


class ShortLines:
    """Renders the lines of commands as columns, and others by structlog's console renderer."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours
        self._others = structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=24)

    def __call__(
        self, logger: Any, name: str, event: structlog.typing.EventDict
    ) -> str | bytes | bytearray | tuple[Any, ...] | Mapping[str, Any]:
        """Return the line of an event."""
        event["timestamp"] = _time_of_day(event.get("timestamp"))
        match event.get("event"):
            case "command" if "outcome" in event:
                return self._command(event)
            case failed if failed in _FAILED:
                return self._message(event)
            case _:
                return self._others(logger, name, event)

    def _command(self, event: Mapping[str, Any]) -> str:
        words = f"{_outcome(event):<29}"
        command = str(event.get("type", "")).split(".")[-2:][0]
        user = str(event.get("user_id") or "-")[:_SHORT_ID]
        line = (
            f"{self._start(event)}  {_printable(command):<24} {self._coloured(event, words)} "
            f"{_printable(user):<{_SHORT_ID}} {_milliseconds(event.get('duration_ms'))} ms"
        )
        return line + _details(event)

    def _message(self, event: Mapping[str, Any]) -> str:
        """Return the line of a message that was not accepted as a command."""
        message = str(event.get("message_id", "-"))[:_SHORT_ID]
        words = self._coloured(event, _outcome(event))
        return f"{self._start(event)}  {words}  message {_printable(message)}{_details(event)}"

    def _start(self, event: Mapping[str, Any]) -> str:
        moment = event["timestamp"]
        if self._colours:
            moment = f"{DIM}{moment}{RESET_ALL}"
        return f"{moment}  {event['event']}"

    def _coloured(self, event: Mapping[str, Any], words: str) -> str:
        colour = _COLOURS.get(str(event.get("outcome")), RED)
        return f"{colour}{words}{RESET_ALL}" if self._colours else words


def _outcome(event: Mapping[str, Any]) -> str:
    """Return how the command ended, with its code, or when it is retried."""
    words = str(event.get("outcome", "dead"))
    if code := event.get("code"):
        words += f" {code}"
    if (delay := event.get("delay")) is not None:
        words += f", in {delay:g} s"
    if "CommandHadNoEffect" in (event.get("events") or ()):
        words += ", no effect"
    return _printable(words)


def _details(event: Mapping[str, Any]) -> str:
    detail = event.get("detail")
    if not detail:
        return ""
    indent = " " * len(f"{event['timestamp']}  ")
    return "\n" + textwrap.fill(
        _printable(str(detail)), WIDTH, initial_indent=indent, subsequent_indent=indent
    )


def _milliseconds(duration: Any) -> str:
    if not isinstance(duration, int | float):
        return f"{'-':>6}"
    return f"{duration:>6.0f}" if duration >= _PRECISE else f"{duration:>6.1f}"


def _time_of_day(timestamp: Any) -> str:
    """Return the local time of day with milliseconds, of a time in ISO 8601."""
    try:
        moment = datetime.fromisoformat(str(timestamp)).astimezone()
    except ValueError:
        return str(timestamp)
    return moment.isoformat(timespec="milliseconds")[11:23]


def _printable(text: str) -> str:
    """Return a text without control characters, which could control the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
