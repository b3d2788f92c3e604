"""Events as they happen, and one command followed from message to event."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from application.ports import LoadRequest, Outcome
from domain.events import EVENTS
from operations.outcomes import outcome_keys
from operations.presentation import outcome_words

if TYPE_CHECKING:
    from starlette.responses import Response

    from console.web import Call


def page(call: Call) -> Response:
    """Show the newest events; the page's script adds those that follow."""
    categories = sorted({each.category for each in EVENTS.values()})
    return call.page("live.html", categories=categories)


def command(call: Call) -> Response:
    """Show a command: when it was sent, decided and published."""
    return call.page("command.html", **_values(call))


def command_part(call: Call) -> Response:
    """Return the part of the page that is renewed."""
    return call.page("command_part.html", **_values(call))


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a command, with the milliseconds since the step before it."""

    at: datetime
    text: str
    after: float | None


def _values(call: Call) -> dict[str, Any]:
    command_id, user_id = str(call.path["command_id"]), call.query.get("user") or None
    keys = set(outcome_keys(command_id, user_id))
    found = call.console.aws.repository.load(LoadRequest(outcomes=keys)).outcomes
    outcome = next(iter(found.values()), None)
    return {
        "command_id": command_id,
        "user_id": user_id or (outcome and outcome.user_id),
        "query": call.query,
        "outcome": outcome,
        "steps": _steps(call, command_id, outcome),
    }


def _steps(call: Call, command_id: str, outcome: Outcome | None) -> list[Step]:
    """Return what is known of a command's way, in order."""
    moments: list[tuple[datetime, str]] = []
    if sent_at := call.console.sent.get(command_id):
        moments.append((sent_at, "sent to the queue by this console"))
    if outcome is not None:
        moments.append((outcome.recorded_at, f"{outcome_words(outcome)}, committed"))
    moments += [
        (at, f"{event.name} received from the topic")
        for at, event in call.console.live.of_command(command_id)
    ]
    moments.sort(key=lambda each: each[0])
    before = [None, *(at for at, _ in moments)]
    return [
        Step(at, text, None if last is None else 1_000 * (at - last).total_seconds())
        for (at, text), last in zip(moments, before, strict=False)
    ]
