"""A user: state, sessions, and the history of commands with who sent them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from console.web import see_other
from operations.presentation import outcome_words, user_facts
from operations.users import find_user, parse_user, read_history
from worker.errors import CliError, ExitCode

if TYPE_CHECKING:
    from starlette.responses import Response

    from console.web import Call

OUTCOMES: Final = 50
"""Outcomes of one page of the history."""


def search(call: Call) -> Response:
    """Show the form that finds a user."""
    return call.page("users.html")


def find(call: Call) -> Response:
    """Find a user by id or address; the address is in the form only, never in a URL."""
    who = parse_user(call.form.get("user", "").strip())
    found = find_user(call.console.aws.repository, who)
    if found is None:
        raise _unknown()
    return see_other(f"/users/{found.user_id}")


def page(call: Call) -> Response:
    """Show a user and a page of their history, newest outcome first."""
    user_id, before = str(call.path["user_id"]), call.query.get("before")
    repository = call.console.aws.repository
    user = find_user(repository, user_id)
    past = read_history(repository, user_id, OUTCOMES, before)
    if user is None and not past.outcomes:
        raise _unknown()
    rows = [(outcome, outcome_words(outcome)) for outcome in past.outcomes]
    facts = {} if user is None else user_facts(user)
    return call.page("user.html", user_id=user_id, facts=facts, rows=rows, past=past)


def _unknown() -> CliError:
    advice = "the registration may still be in the queue; for an erased user, use the id"
    return CliError("user not found", advice, ExitCode.NEGATIVE)
