"""Match answers with the callers that wait for them, in bounded memory."""

from __future__ import annotations

import contextlib
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Lock
from typing import Any, Final

from biome_users.errors import NoAnswerError, NotListeningError, UsersError
from biome_users.event_types import (
    CommandDeadLettered,
    CommandHadNoEffect,
    CommandRejected,
    RefreshTokenReuseDetected,
)

DEFAULT_LIMIT: Final = 10_000
_SEQUENCE = re.compile("[0-9]{1,20}")


class AnswerKind(StrEnum):
    """How a command ended."""

    ACCEPTED = "accepted"
    NO_EFFECT = "no effect"
    """Accepted without a change, because the user was in the requested state already."""
    REJECTED = "rejected"
    DEAD_LETTERED = "dead-lettered"
    """Invalid, or failed too often: it is in the dead-letter queue, and an operator may redrive it.
    If it was sent by a service that may not send it, there is no answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Result of one command, by the first of its events."""

    command_id: str
    kind: AnswerKind
    code: str | None
    """Reason of a rejection or of a dead letter; `None` for any other answer."""
    user_id: str | None
    """`None` if the command named an address that no user has."""
    sequence: int | None
    """The user's version after the command; `None` if the version did not change."""
    event: Mapping[str, Any] = field(repr=False)
    """The complete CloudEvent."""

    @classmethod
    def read(cls, body: str) -> Answer | None:
        """Parse a message of the topic, raw or in an SNS notification; `None` if not an answer."""
        event = _event(body)
        command_id, kind = event.get("causationid"), event.get("type")
        if not isinstance(command_id, str) or not isinstance(kind, str):
            return None
        data = event.get("data")
        ending, code = _ending(kind, data if isinstance(data, dict) else {})
        user_id = event.get("subject")
        return cls(
            command_id=command_id.lower(),
            kind=ending,
            code=code,
            user_id=user_id if isinstance(user_id, str) else None,
            sequence=_sequence(event.get("sequence")),
            event=event,
        )


def _ending(kind: str, data: Mapping[str, object]) -> tuple[AnswerKind, str | None]:
    if kind == CommandRejected.message_type:
        return AnswerKind.REJECTED, str(data.get("code"))
    if kind == RefreshTokenReuseDetected.message_type:
        # accompanies a rejection, and may arrive before it
        return AnswerKind.REJECTED, "RefreshTokenReused"
    if kind == CommandDeadLettered.message_type:
        return AnswerKind.DEAD_LETTERED, str(data.get("code"))
    no_effect = kind == CommandHadNoEffect.message_type
    return AnswerKind.NO_EFFECT if no_effect else AnswerKind.ACCEPTED, None


def _sequence(value: object) -> int | None:
    return int(value) if isinstance(value, str) and _SEQUENCE.fullmatch(value) else None


def _event(body: str) -> dict[str, Any]:
    try:
        event = json.loads(body)
        if isinstance(event, dict) and "TopicArn" in event:
            event = json.loads(event.get("Message", ""))
    except (ValueError, TypeError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


class AnswerBook:
    """Stores answers until they are requested, and requests until they are answered.

    Thread-safe. If a command is answered twice (SNS may repeat an event, and one command may cause
    several), the first answer is kept. The answer of a dead letter is replaced by a later one: the
    command was redriven.
    """

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        """Keep the last `limit` answers, and allow as many commands to be awaited at once."""
        self._limit = limit
        self._lock = Lock()
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._waiting: dict[str, list[Future[Answer]]] = {}
        self._closed: str | None = None

    @property
    def awaited(self) -> bool:
        """Whether any caller waits for an answer."""
        return bool(self._waiting)

    def add(self, answer: Answer) -> None:
        """Store an answer, and resolve the futures of the callers that wait for it."""
        with self._lock:
            known = self._answers.get(answer.command_id)
            if known is not None and known.kind is not AnswerKind.DEAD_LETTERED:
                return
            self._answers[answer.command_id] = answer
            if len(self._answers) > self._limit:
                self._answers.popitem(last=False)
            waiting = self._waiting.pop(answer.command_id, [])
        for future in waiting:
            with contextlib.suppress(InvalidStateError):  # a caller may have set the future
                if future.set_running_or_notify_cancel():
                    future.set_result(answer)

    def ask(self, command_id: str) -> Future[Answer]:
        """Return a future for a command's answer; it is done at once if the answer has arrived.

        Raises:
            UsersError: more than `limit` commands are awaited.
            NotListeningError: the book is closed, so no answer will arrive.
        """
        command_id = command_id.lower()
        future: Future[Answer] = Future()
        with self._lock:
            answer = self._answers.get(command_id)
            if answer is None:
                if self._closed is not None:
                    raise NotListeningError(self._closed)
                if len(self._waiting) >= self._limit and command_id not in self._waiting:
                    raise UsersError(f"pending commands: more than {self._limit}")
                self._waiting.setdefault(command_id, []).append(future)
        if answer is not None:
            future.set_result(answer)
        return future

    def forget(self, command_id: str, future: Future[Answer]) -> None:
        """Stop waiting for an answer."""
        command_id = command_id.lower()
        with self._lock:
            waiting = self._waiting.get(command_id, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._waiting.pop(command_id, None)

    def close(self, why: str) -> None:
        """End all waits with NoAnswerError, and reject new ones with NotListeningError."""
        with self._lock:
            self._closed = self._closed or why
            waiting, self._waiting = self._waiting, {}
        for future in (each for futures in waiting.values() for each in futures):
            with contextlib.suppress(InvalidStateError):
                if future.set_running_or_notify_cancel():
                    future.set_exception(NoAnswerError(f"no answer: {why}"))
