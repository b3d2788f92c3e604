"""`user-worker outcome` and `user-worker user`: what is stored, without its secrets."""

from __future__ import annotations

import sys
from datetime import datetime
from uuid import uuid5

from domain.errors import InvalidValueError
from domain.model import User
from domain.ports import CommandKey
from domain.values import EmailAddress, parse_id, render_time
from worker.cli import composition, output
from worker.cli.errors import CliError, ExitCode, UsageError
from worker.cli.send import report
from worker.cli.waiting import await_outcomes, listener
from worker.messages.commands import USER_NAMESPACE

_NO = ExitCode.NEGATIVE


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


def show_user(who: str, *, history: bool, as_json: bool) -> int:
    """Print a user; give the exit code."""
    email = _address(who) if "@" in who else None
    user_id = None if email else id_of(who, "a user who is not named by an e-mail address")
    repository = composition.aws().repository
    user = repository.get_by_email(email) if email else repository.get(user_id or "")
    if user is None:
        raise CliError("there is no such user", "registrations may still be on the queue", _NO)
    outcomes = repository.history(user.user_id) if history else []
    if as_json:
        facts = user_facts(user)
        if history:
            facts["history"] = [output.outcome_json(outcome) for outcome in outcomes]
        sys.stdout.write(output.json_line(facts) + "\n")
        return ExitCode.OK
    console = output.stdout()
    console.print(output.pairs({k: _shown(v) for k, v in user_facts(user).items()}))
    if history:
        console.print()
        console.print(output.outcome_table(outcomes, wide=console.width >= output.WIDE))
    return ExitCode.OK


def user_facts(user: User) -> dict[str, object]:
    """Give what may be seen of a user: of hashes and ciphertexts, only that they are there."""
    return {
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
