"""`user-worker export`: all that is stored of a person, for them to see."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli import composition, output
from domain.errors import InvalidValueError
from domain.values import EmailAddress, parse_id, render_time
from operations.user_export import StoredPerson, UserDataReader
from worker.errors import CliError, ExitCode, UsageError

SET = "set"
"""Stands for a secret: a hash, a ciphertext or a token is nobody's to read, its owner's neither."""
# by the name, so that what a later version stores is not shown for being unknown here
_SECRET = re.compile(r"(hash(es)?|fingerprint|ciphertext|cipher|secret|password|token|code)s?$")
_NO_SECRET = frozenset({"code"})  # of a rejection
_NOTE = (
    "Every item that the table holds of this person. Hashes, ciphertexts and the fingerprints of "
    'commands read "set". Times are UTC; expires_at of sessions and outcomes is in seconds since '
    "1970, and what is past it is removed within days. Backups and what subscribers of events "
    "keep are not in it."
)


def export_user(who: str, *, file: str | None, force: bool) -> int:
    """Write all that is stored of a user to a file, or else to standard output.

    Raises:
        UsageError: the file is there already, and is not to be replaced.
        CliError: nothing is stored of them, or the file cannot be written.
    """
    if file is not None and not force and Path(file).exists():
        raise UsageError(f"{file} is there already", "give another --output, or --force")
    aws = composition.aws()
    user_id = _user_id(who, aws)
    aws.require_shared_store()
    person = UserDataReader(aws.dynamodb, aws.settings.table).read(user_id)
    if not person.items:
        raise _nobody()
    now = datetime.now(UTC)
    text = json.dumps(export_of(user_id, person, now), indent=2) + "\n"  # in ASCII: see `json_line`
    if file is None:
        sys.stdout.write(text)
    else:
        _write(Path(file), text, force=force)
        console = output.stderr()
        console.print(f"wrote {person.items} items to {file}", style="dim", markup=False)
    return ExitCode.OK


def _user_id(who: str, aws: composition.Aws) -> str:
    try:
        if "@" not in who:
            return parse_id(who)
        email = EmailAddress.parse(who)
    except InvalidValueError as error:
        raise UsageError(f"the user: {error}", "give a user's id or e-mail address") from None
    user = aws.repository.get_by_email(email)
    if user is None:
        raise _nobody()
    return user.user_id


def _nobody() -> CliError:
    advice = "of who is erased, give the id: the address leads to nobody"
    return CliError("nothing is stored of that user", advice, ExitCode.NEGATIVE)


def export_of(user_id: str, person: StoredPerson, now: datetime) -> dict[str, Any]:
    """Give the export of what was read: every item, with its secrets as `SET`."""
    outcomes = sorted(person.outcomes, key=lambda item: str(item.get("recorded_at", "")))
    items: dict[str, Any] = {
        "user": person.user,
        "address": person.address,
        "two_factor": person.two_factor,
        "sessions": person.sessions,
        "outcomes": [_with_events(item) for item in outcomes],
        "by_email": person.by_email,
        "outbox": [_entry(item, user_id) for item in person.outbox],
        "other": person.other,
    }
    return {
        "exported_at": render_time(now),
        "about": _NOTE,
        "user_id": user_id,
        "erased": bool(person.user and person.user.get("erased")),
        "items": person.items,
        **{name: without_secrets(value) for name, value in items.items()},
    }


def _with_events(item: Mapping[str, Any]) -> dict[str, Any]:
    """Give an outcome with its events readable; what is no list of events stays as it is."""
    try:
        rows = json.loads(item["events"])
        names = ("type", "category", "sequence", "data")
        events = [dict(zip(names, row, strict=True)) for row in rows]
    except (KeyError, ValueError, TypeError, RecursionError):
        return dict(item)
    return {**item, "events": events}


def _entry(item: Mapping[str, Any], user_id: str) -> dict[str, Any]:
    """Give a pointer without the other people whose commands were in the same transaction."""
    words = str(item.get("commands", "")).split()
    own = [word for word in words if word.partition("/")[0] == user_id]
    return {**item, "commands": own}


def without_secrets(value: Any, name: str = "") -> Any:
    """Give a value with `SET` in place of what its name says is a secret; empty stays empty."""
    match value:
        case dict():
            return {key: without_secrets(each, key) for key, each in value.items()}
        case list() if not _is_secret(name):
            return [without_secrets(each) for each in value]
        case None | bool() | "" | []:
            return value
        case _:
            return SET if _is_secret(name) else value


def _is_secret(name: str) -> bool:
    return name not in _NO_SECRET and _SECRET.search(name.lower()) is not None


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write a file that only its owner can read, whole or not at all.

    Raises:
        UsageError: it has come to be there.
        CliError: it cannot be written.
    """
    exclusive = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        if force:  # beside it, so that the old one stays until the new one is whole
            handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        else:
            handle, part = os.open(path, exclusive, 0o600), str(path)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            if force:
                Path(part).replace(path)
        except OSError:
            Path(part).unlink(missing_ok=True)
            raise
    except FileExistsError as error:
        raise UsageError(f"{path} is there already", "give another --output, or --force") from error
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror}", "give another place") from error
