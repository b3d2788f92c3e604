"""`user-worker outcome` and `user-worker user`: what is stored, without its secrets."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import Field, dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import uuid5

from application.messages.commands import USER_NAMESPACE
from application.ports import CommandKey, Outcome, UserRepository
from cli import composition, output
from cli.send import report
from cli.waiting import await_outcomes, listener
from domain.errors import InvalidValueError
from domain.user import User
from domain.values import EmailAddress, parse_id, render_time
from worker.errors import CliError, ExitCode, UsageError

_NO = ExitCode.NEGATIVE
_NOT_BY_NAME: Final = frozenset(
    {"ban", "deactivation_reason", "email_change", "lock_count", "sessions", "two_factor_enabled"}
)
"""The fields of a user that are shown under another name, or not at all."""


def show_outcome(command_id: str, *, user_id: str | None, wait: float | None, as_json: bool) -> int:
    """Print how a command ended; give the exit code."""
    command_id = id_of(command_id, "the command's id")
    if user_id is not None:
        keys = [CommandKey(id_of(user_id, "--user"), command_id)]
    else:
        # where those are kept that name no user: registrations, and resets by e-mail address
        derived = str(uuid5(USER_NAMESPACE, command_id))
        keys = [CommandKey(None, command_id), CommandKey(derived, command_id)]
    aws = composition.aws()
    listen = listener(aws, [command_id])
    found = await_outcomes(aws.repository, keys, wait or 0, enough=1, listen=listen)
    if not found:
        advice = "" if user_id else "if it named a user, give --user; "
        code = _NO if wait is None else ExitCode.TIMEOUT
        raise CliError("no outcome of that command", f"{advice}it may not be done yet", code)
    return report([*found.values()], as_json=as_json)


@dataclass(frozen=True, slots=True)
class HistoryOptions:
    """How much of a user's past to show."""

    limit: int
    """Commands at most."""
    before: str | None = None
    """The id of the command to go on from."""


def show_user(who: str, *, history: HistoryOptions | None, as_json: bool) -> int:
    """Print a user and, if asked for, how their commands ended, latest first.

    Raises:
        UsageError: what was typed is no id or address, or they had no command to go on from.
        CliError: there is no such user.
    """
    email = _address(who) if "@" in who else None
    user_id = None if email else id_of(who, "a user who is not named by an e-mail address")
    repository = composition.aws().repository
    user = repository.get_by_email(email) if email else repository.get(user_id or "")
    if user is None:
        of_email = "of who is erased, give the id; " if email else ""
        advice = f"{of_email}registrations may still be on the queue"
        raise CliError("there is no such user", advice, _NO)
    outcomes = None if history is None else _history(repository, user.user_id, history)
    if as_json:
        facts = user_facts(user)
        if outcomes is not None and history is not None:
            shown = outcomes[: history.limit]
            facts["history"] = [output.outcome_json(outcome) for outcome in shown]
            facts["history_goes_on"] = len(outcomes) > history.limit
        sys.stdout.write(output.json_line(facts) + "\n")
        return ExitCode.OK
    console = output.stdout()
    if history is None or history.before is None:
        console.print(output.pairs({k: _shown(v) for k, v in user_facts(user).items()}))
    if outcomes is not None and history is not None:
        _print_history(outcomes, history.limit)
    return ExitCode.OK


def _history(repository: UserRepository, user_id: str, wanted: HistoryOptions) -> list[Outcome]:
    """Read one more than asked for, to know whether there are more."""
    before = None
    if wanted.before is not None:
        before = repository.outcome(CommandKey(user_id, id_of(wanted.before, "--before")))
        if before is None:
            raise UsageError("--before is no command of that user", "give one that was listed")
    return repository.history(user_id, wanted.limit + 1, before)


def _print_history(outcomes: Sequence[Outcome], limit: int) -> None:
    console = output.stdout()
    console.print()
    shown = outcomes[:limit]
    console.print(output.outcome_table(shown, wide=console.width >= output.WIDE))
    if len(outcomes) > limit:
        text = f"there are more: --before {shown[-1].command_id}"
        output.stderr().print(text, style="yellow")


def user_facts(user: User) -> dict[str, object]:
    """Return what may be seen of a user: of hashes and ciphertexts, only that they exist.

    A field that is not listed here follows at the end, under its own name.
    """
    facts = {
        "user_id": user.user_id,
        "version": user.version,
        "email": user.email and user.email.value,
        "email_verified": user.email_verified,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "password_hash": _set(user.password_hash),
        "credential_version": user.credential_version,
        "roles": list(user.roles),
        "two_factor": "enabled" if user.two_factor_enabled else None,
        "failed_logins": user.failed_logins,
        "locked_until": _time(user.locked_until),
        "banned": user.ban is not None,
        "ban_reason": user.ban and user.ban.reason,
        "banned_until": user.ban and _time(user.ban.until),
        "deactivated": user.deactivated,
        "erased": user.erased,
        "session_epoch": user.session_epoch,
        "email_verification": _set(user.email_verification),
        "email_change_to": user.email_change and user.email_change.new_email.value,
        "password_reset": _set(user.password_reset),
        "created_at": _time(user.created_at),
        "updated_at": _time(user.updated_at),
    }
    known = facts.keys() | _NOT_BY_NAME
    return facts | {f.name: _fact(user, f) for f in fields(user) if f.name not in known}


def _fact(user: User, field: Field[Any]) -> object:
    """Return a field's value, or of one that is kept out of the repr, only that it is set."""
    value = getattr(user, field.name)
    if not field.repr:
        return _set(value)
    match value:
        case datetime():
            return render_time(value)
        case tuple():
            return list(value)
        case None | str() | int():
            return value
        case _:
            return _set(value)


def _set(value: object) -> str | None:
    return None if value is None else "set"


def _time(value: datetime | None) -> str | None:
    return None if value is None else render_time(value)


def _shown(value: object) -> object:
    match value:
        case None | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(value)
        case _:
            return value


def id_of(text: str, what: str) -> str:
    """Read an id that was typed.

    Raises:
        UsageError: it is none; it is named as `what`.
    """
    try:
        return parse_id(text)
    except InvalidValueError as error:
        raise UsageError(
            f"{what} {error}", "write it like 5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77"
        ) from None


def _address(text: str) -> EmailAddress:
    try:
        return EmailAddress.parse(text)
    except InvalidValueError as error:
        raise UsageError(f"the address: {error}", "or give the user's id") from None
