"""Fakes for the unit tests of a service: no AWS and no worker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any
from uuid import UUID

from biome_users import _items
from biome_users._addresses import address_key
from biome_users._models import Command, EventData
from biome_users.events import Event, parse_event
from biome_users.sender import CommandRequest, UserCommands
from biome_users.tokens import RefreshToken


class FakeUserCommands(UserCommands):
    """Keeps commands in `sent` in place of a queue; checks them as `UserCommands` does.

    Set `error` to an exception, such as a NotSentError, to make the next call fail with it.
    """

    def __init__(self, source: str = "/test") -> None:
        """Set the source of the commands."""
        super().__init__(source=source)
        self.sent: list[CommandRequest] = []
        self.error: Exception | None = None

    def send_many(self, requests: Iterable[CommandRequest]) -> list[str]:
        """Check and keep commands; return their ids.

        Raises:
            InvalidCommandError: a command is invalid.
            Exception: the `error` that the test has set.
        """
        entries = self._entries(requests)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self.sent += [entry.request for entry in entries]
        return [str(entry.request.command_id) for entry in entries]

    def commands(self, kind: type[Command] | None = None) -> list[Command]:
        """Return the commands that were sent, of one class or of all, in order."""
        return [r.command for r in self.sent if kind is None or isinstance(r.command, kind)]


class FakeUserTable:
    """Keeps users in memory for a reader: `LoginReader(client=FakeUserTable())`.

    Set `error` to an exception to make the next read fail.
    """

    def __init__(self) -> None:
        """Start without users."""
        self.items: dict[tuple[str, str], dict[str, Any]] = {}
        self.error: Exception | None = None

    def add_user(
        self, email: str, *, user_id: UUID | str | None = None, version: int = 1, **attributes: Any
    ) -> str:
        """Store a user and return the id; an existing one is replaced.

        Args:
            email: the user's address.
            user_id: by default derived from the address.
            version: number of the user's events.
            **attributes: further attributes of docs/how-to/reading.md, such as `password_hash`,
                `locked_until` or `ban={"reason": "spam"}`.
        """
        digest = hashlib.sha256(address_key(email).encode()).digest()
        user_id = str(UUID(str(user_id)) if user_id else UUID(bytes=digest[:16], version=4))
        names = {"first_name": "Ada", "last_name": "Lovelace", "email": email}
        self._put(f"USER#{user_id}", "USER", 1, {**names, "user_id": user_id, "version": version})
        self.change_user(user_id, **attributes)
        self._put(f"EMAIL#{address_key(email)}", "EMAIL", 1, {"user_id": user_id})
        return user_id

    def change_user(self, user_id: str, **attributes: Any) -> None:
        """Replace attributes of a user."""
        self.items[f"USER#{user_id}", "USER"] |= _rendered(attributes)

    def add_second_factor(self, user_id: str, secret_ciphertext: str) -> None:
        """Enable the second factor of a user."""
        self.change_user(user_id, two_factor_enabled=True)
        self._put(f"USER#{user_id}", "TWO_FACTOR", 1, {"secret_ciphertext": secret_ciphertext})

    def add_session(self, token: RefreshToken, expires_at: datetime | None = None) -> None:
        """Store the session of a refresh token; without an end, it lasts a day from now."""
        end = expires_at or datetime.now(UTC) + timedelta(days=1)
        partition, seconds = f"USER#{token.user_id}", int(end.timestamp())
        hashes = {
            "refresh_family_hash": _items.at_rest(token.refresh_family_hash),
            "refresh_token_hashes": _items.at_rest(token.refresh_token_hash)[: _items.PART_DIGITS],
        }
        session = {"session_id": token.session_id, "expires_at": seconds, **hashes}
        self._put(partition, f"SESSION#{token.session_id}", 2, session)
        user = self.items[partition, "USER"]
        live = [user.get("live_sessions", {}).get("S", ""), f"{token.session_id}:{seconds}"]
        self.change_user(token.user_id, live_sessions=" ".join(live))

    def add_outcome(self, user_id: str, command_id: str, code: str | None = None) -> None:
        """Store how a command ended: accepted, or rejected with a code."""
        status = {"status": "accepted" if code is None else "rejected", "version": 1, "code": code}
        self._put(f"USER#{user_id}", f"COMMAND#{command_id}", 2, status)

    def _put(self, partition: str, sort: str, number: int, values: Mapping[str, Any]) -> None:
        key = {"pk": partition, "sk": sort, "schema": number}
        self.items[partition, sort] = _rendered({**key, **values})

    # --- the client's methods --------------------------------------------------------------

    def batch_get_item(self, RequestItems: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N803 - boto3's name
        """Return the items that exist."""
        self._fail()
        ((table, request),) = RequestItems.items()
        keys = [(key["pk"]["S"], key["sk"]["S"]) for key in request["Keys"]]
        return {"Responses": {table: [self.items[key] for key in keys if key in self.items]}}

    def query(self, **request: Any) -> dict[str, Any]:
        """Return the sessions of a family."""
        self._fail()
        (wanted,) = request["ExpressionAttributeValues"].values()
        found = self.items.values()
        return {"Items": [item for item in found if item.get("refresh_family_hash") == wanted]}

    def _fail(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error


def _rendered(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _attribute(value) for name, value in values.items() if value is not None}


def _attribute(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case datetime():
            return {"S": value.isoformat()}
        case Mapping():
            return {"M": _rendered(value)}
        case Sequence() if not isinstance(value, str):
            return {"L": [_attribute(each) for each in value]}
        case _:
            return {"S": str(value)}


def sample_event(
    kind: type[EventData],
    *,
    user_id: UUID | str | None = None,
    sequence: int | None = None,
    **data: Any,
) -> Event:
    """Return an event of a type, with the values of the contract's example.

    Args:
        kind: the class of the event's fields, such as `UserRegistered`.
        user_id: replaces the example's user.
        sequence: replaces the example's sequence.
        **data: replace values of the example's fields.

    Raises:
        InvalidEventError: a value breaks a rule of the contract.
    """
    return parse_event(sample_body(kind, user_id=user_id, sequence=sequence, **data))


def sample_body(
    kind: type[EventData],
    *,
    user_id: UUID | str | None = None,
    sequence: int | None = None,
    **data: Any,
) -> str:
    """Return an event as the body of an SQS message; see `sample_event` for the arguments."""
    event = json.loads(_samples()[kind.message_type])
    event["data"] |= data
    if user_id is not None:
        event["subject"] = str(UUID(str(user_id)))
    if sequence is not None:
        event["sequence"] = f"{sequence:020d}"
    return json.dumps(event, ensure_ascii=False)


@cache
def _samples() -> dict[str, str]:
    text = files("biome_users").joinpath("sample_events.json").read_text("utf-8")
    return {kind: json.dumps(event) for kind, event in json.loads(text).items()}
