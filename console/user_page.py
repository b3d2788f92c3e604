"""A user: state, sessions, and the history of commands with who sent them; erase and export."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from operator import attrgetter
from typing import Final

import structlog
from starlette.responses import Response

from application.repository import LoadRequest
from console.sending import submit
from console.web import Call, see_other
from domain.commands import EraseUser
from domain.sessions import Session
from domain.user import User
from operations.presentation import is_id, outcome_words, user_facts
from operations.user_export import export_user
from operations.users import find_user, parse_user
from worker.errors import CliError, ExitCode, UsageError

logger = structlog.get_logger(__name__)

OUTCOMES: Final = 500
"""Maximum outcomes of one page of the history; all of them are shown."""
ACTIONS: Final = ("erase", "export")


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
    """Show a user and their outcomes as one bounded read returns them, newest first."""
    user_id, after = str(call.path["user_id"]), call.query.get("after")
    if after is not None and not is_id(after):
        raise UsageError("the address does not name a command", "open the user's page again")
    repository = call.console.aws.repository
    user = find_user(repository, user_id)
    read = repository.outcome_page(user_id, OUTCOMES, after and after.lower())
    if user is None and not read.outcomes:
        raise _unknown()
    outcomes = sorted(read.outcomes, key=attrgetter("place"), reverse=True)
    return call.page(
        "user.html",
        user_id=user_id,
        facts={} if user is None else user_facts(user),
        sessions=[] if user is None else _sessions(call, user),
        rows=[(outcome, outcome_words(outcome)) for outcome in outcomes],
        letters=call.console.letters.of_user(user_id),
        after=after,
        last=read.last,
    )


def confirm(call: Call) -> Response:
    """Ask whether to erase or export a user."""
    action, user_id = call.query.get("action", ""), str(call.path["user_id"])
    if action not in ACTIONS:
        raise UsageError("unknown action", f"use one of {', '.join(ACTIONS)}")
    return call.page("user_confirm.html", action=action, user_id=user_id)


def erase(call: Call) -> Response:
    """Send the command that erases a user; the worker decides whether this console may."""
    user_id = _confirmed(call)
    sent = submit(call, EraseUser.__name__, [], user_id)
    _record(call, "erase user", user_id)
    return sent


def export(call: Call) -> Response:
    """Return everything stored about a user as a file, without secrets."""
    user_id = _confirmed(call)
    found = export_user(call.console.aws, user_id)
    if found is None:
        raise _unknown()
    _record(call, "export user", user_id)
    return Response(
        json.dumps(found, indent=2, ensure_ascii=False),
        media_type="application/json",
        headers={"content-disposition": f'attachment; filename="user-{user_id}.json"'},
    )


def _confirmed(call: Call) -> str:
    """Return the user's id, which the form must repeat: no click alone erases a user."""
    user_id = str(call.path["user_id"])
    if call.form.get("confirmed_id", "").strip().lower() != user_id[:8]:
        raise UsageError("the typed characters are not the first 8 of the user's id", "type them")
    return user_id


def _record(call: Call, action: str, user_id: str) -> None:
    logger.info("console_action", action=action, person=call.person, user_id=user_id)


def _sessions(call: Call, user: User) -> list[Session]:
    """Return the live sessions, the one used last first."""
    now = datetime.now(UTC)
    keys = {(user.user_id, each) for each in user.live_sessions if user.has_session(each, now)}
    if not keys:
        return []
    request = LoadRequest(users={user.user_id}, sessions=keys)
    loaded = call.console.aws.repository.load(request).users.get(user.user_id)
    found = () if loaded is None else loaded.sessions.values()
    return sorted(found, key=lambda each: each.last_used_at or each.expires_at, reverse=True)


def _unknown() -> CliError:
    advice = "the registration may still be in the queue; for an erased user, use the id"
    return CliError("user not found", advice, ExitCode.NEGATIVE)
