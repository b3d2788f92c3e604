"""Waits for outcomes: by reading at first, then by listening to the topic."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from uuid import uuid5

from adapters.aws.client import error_code
from adapters.sns.subscription import LONGEST_POLL, WAITING, QueueReader, temporary_subscription
from application.messages.commands import USER_NAMESPACE
from application.ports import CommandKey, LoadRequest, Outcome, UserRepository
from operations.progress import NO_PROGRESS, Progress
from operations.received_event import ReceivedEvent
from worker.cli_errors import is_refusal
from worker.connections import Aws

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 1.0
"""Seconds between two looks without listening, doubled from the one to the other."""
MOST_FILTERED = 100
"""Commands in one filter policy; SNS takes 150 values."""

_LEAST = 0.5
"""Seconds that are worth a poll."""

Sleep = Callable[[float], None]
"""Waits some seconds, or less if an outcome is announced."""
Listen = Callable[[], AbstractContextManager[Sleep | None]]
"""Begins to listen; yields a function that waits, or `None` if listening is not possible."""


def await_outcomes(
    repository: UserRepository,
    keys: Sequence[CommandKey],
    seconds: float,
    *,
    enough: int | None = None,
    sleep: Sleep = time.sleep,
    listen: Listen | None = None,
) -> dict[CommandKey, Outcome]:
    """Read, consistently, until the keys have outcomes or the time is over; return those found.

    Most outcomes are there in a moment, so it begins with a few reads. What is not there by then
    is listened for: it reads once after it has begun to listen, after every answer it hears, and
    after ever longer silences, since the topic may say nothing (a duplicate), or say it late.

    Args:
        repository: where to look.
        keys: whose outcomes.
        seconds: how long to look; with none at all it looks once.
        enough: how many outcomes will do; one for each key if not given.
        sleep: waits some seconds.
        listen: begins to listen; without it, and where it yields `None`, there is a read a second.

    Raises:
        StoreUnavailableError: the store refuses the caller, or did not answer the last read.
    """
    enough = len(set(keys)) if enough is None else enough
    deadline = time.monotonic() + seconds
    found: dict[CommandKey, Outcome] = {}
    pause, longest = FIRST_PAUSE, LONGEST_PAUSE
    with contextlib.ExitStack() as stack:
        while True:
            try:
                missing = set(keys) - found.keys()
                found |= repository.load(LoadRequest(outcomes=missing)).outcomes
            except Exception as error:  # the next read may succeed; what AWS refuses, it refuses
                if is_refusal(error) or time.monotonic() >= deadline:
                    raise
            left = deadline - time.monotonic()
            if len(found) >= enough or left <= 0:
                return found
            if listen is not None and pause >= LONGEST_PAUSE:
                if heard := stack.enter_context(listen()):
                    sleep, longest = heard, LONGEST_POLL
                listen = None
                continue  # for what was recorded before it could be heard
            sleep(min(pause, left))
            pause = min(2 * pause, longest)


def outcome_keys(command_id: str, user_id: str | None) -> list[CommandKey]:
    """Return the keys under which the outcome of a command may be.

    Without a user, these are the keys of commands that name none: registrations, and password
    resets by e-mail address.
    """
    if user_id is not None:
        return [CommandKey(user_id, command_id)]
    derived = str(uuid5(USER_NAMESPACE, command_id))
    return [CommandKey(None, command_id), CommandKey(derived, command_id)]


def listener(
    aws: Aws, command_ids: Collection[str], progress: Progress = NO_PROGRESS
) -> Listen | None:
    """Return a function that listens for the outcomes of commands; `None` for too many."""
    if len(command_ids) > MOST_FILTERED:
        return None
    return lambda: _listening(aws, frozenset(command_ids), progress)


@contextlib.contextmanager
def _listening(aws: Aws, command_ids: frozenset[str], progress: Progress) -> Iterator[Sleep | None]:
    """Subscribe a queue for as long as the block lasts, if this operator may."""
    with contextlib.ExitStack() as stack:
        sleep: Sleep | None = None
        try:
            reader = stack.enter_context(
                temporary_subscription(
                    aws.sqs,
                    aws.sns,
                    aws.settings.events_topic,
                    WAITING,
                    wanted={"causationid": sorted(command_ids)},
                    scope="MessageBody",
                )
            )
            sleep = _Heard(reader, command_ids)
        except Exception as error:  # noqa: BLE001 - whatever it is, reading does without it
            progress.note(
                f"cannot listen to the topic ({error_code(error)}): reading once a second instead"
            )
        yield sleep


class _Heard:
    """Waits until one of some commands is answered on the topic."""

    def __init__(self, reader: QueueReader, command_ids: frozenset[str]) -> None:
        self._reader = reader
        self._command_ids = command_ids

    def __call__(self, seconds: float) -> None:
        """Wait for some seconds at most, or half a second more: SQS counts whole ones."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > _LEAST:
            try:
                bodies = self._reader.poll(min(max(round(left), 1), LONGEST_POLL))
            except Exception:  # noqa: BLE001 - as above
                break
            if any(_command_id(body) in self._command_ids for body in bodies):
                return
        time.sleep(max(0.0, deadline - time.monotonic()))


def _command_id(body: str) -> str | None:
    try:
        return ReceivedEvent.parse(body, 0).command_id
    except ValueError:  # others may publish to the topic, too
        return None
