"""Wait for outcomes: first by reading the store, then by listening to the topic."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import MappingProxyType
from uuid import uuid5

from adapters.aws.client import error_code
from adapters.sns.subscription import LONGEST_POLL, WAITING, QueueReader, temporary_subscription
from application.backoff import Backoff
from application.messages.commands import USER_NAMESPACE
from application.ports import CommandKey
from application.repository import LoadRequest, Outcome, UserRepository
from domain.events import CommandDeadLettered
from operations.progress import NO_PROGRESS, Progress
from operations.received_event import parse_events
from worker.cli_errors import is_refusal
from worker.connections import Aws

READING = Backoff(0.02, 1.0)
"""Pauses between two reads without listening, without jitter."""
LISTENING = Backoff(1.0, LONGEST_POLL)
"""Maximum pauses between two reads while listening."""
MOST_FILTERED = 100
"""Maximum commands in one filter policy; SNS accepts 150 values."""

_LEAST = 0.5
"""Minimum seconds for a poll."""

Sleep = Callable[[float], None]
"""Waits some seconds, or less if an outcome is announced."""
Listen = Callable[[], AbstractContextManager[Sleep | None]]
"""Starts listening; yields a function that waits, or `None` if listening is not possible."""


def await_outcomes(
    repository: UserRepository,
    keys: Sequence[CommandKey],
    seconds: float,
    *,
    enough: int | None = None,
    dead: Mapping[str, str] = MappingProxyType({}),
    sleep: Sleep = time.sleep,
    listen: Listen | None = None,
) -> dict[CommandKey, Outcome]:
    """Read consistently until all keys have outcomes or time is up; return the outcomes found.

    Most outcomes are recorded quickly, so it begins with a few reads. For the rest, it listens to
    the topic: it reads once after it has started to listen, after every event it receives, and
    after ever longer silences, since the topic may be silent (a duplicate) or late.

    Args:
        repository: the store to read from.
        keys: keys of the commands.
        seconds: seconds to wait; with 0 it reads once.
        enough: number of outcomes to wait for; by default one for each key.
        dead: commands that are dead-lettered, by id; the listener adds to it. They have no outcome.
        sleep: waits some seconds.
        listen: starts listening; without it, and if it yields `None`, it reads once a second.

    Raises:
        StoreUnavailableError: the store refuses the caller, or the last read failed.
    """
    enough = len(set(keys)) if enough is None else enough
    deadline = time.monotonic() + seconds
    found: dict[CommandKey, Outcome] = {}
    backoff, attempt = READING, 0
    with contextlib.ExitStack() as stack:
        while True:
            try:
                missing = set(keys) - found.keys()
                found |= repository.load(LoadRequest(outcomes=missing)).outcomes
            except Exception as error:  # the next read may succeed, unless AWS refuses the caller
                if is_refusal(error) or time.monotonic() >= deadline:
                    raise
            left = deadline - time.monotonic()
            if len(found) + _dead(keys, found, dead) >= enough or left <= 0:
                return found
            attempt += 1
            if listen is not None and backoff.ceiling(attempt) == backoff.cap:
                if event_wait := stack.enter_context(listen()):
                    sleep, backoff, attempt = event_wait, LISTENING, 0
                listen = None
                continue  # read outcomes that were recorded before listening started
            sleep(min(backoff.ceiling(attempt), left))


def _dead(
    keys: Sequence[CommandKey], found: Collection[CommandKey], dead: Mapping[str, str]
) -> int:
    """Return the number of commands that are dead-lettered and have no outcome."""
    return len({k.command_id for k in keys if k.command_id in dead} - {k.command_id for k in found})


def outcome_keys(command_id: str, user_id: str | None) -> list[CommandKey]:
    """Return the keys under which the outcome of a command may be stored.

    Without a user, these are the keys of commands that name no user: registrations, and password
    resets by e-mail address.
    """
    if user_id is not None:
        return [CommandKey(user_id, command_id)]
    derived = str(uuid5(USER_NAMESPACE, command_id))
    return [CommandKey(None, command_id), CommandKey(derived, command_id)]


def listener(
    aws: Aws,
    command_ids: Collection[str],
    progress: Progress = NO_PROGRESS,
    dead: dict[str, str] | None = None,
) -> Listen | None:
    """Return a function that listens for the outcomes of commands; `None` if they are too many.

    It adds to `dead` the codes of commands that are dead-lettered, by id.
    """
    if len(command_ids) > MOST_FILTERED:
        return None
    letters = {} if dead is None else dead
    return lambda: _listening(aws, frozenset(command_ids), progress, letters)


@contextlib.contextmanager
def _listening(
    aws: Aws, command_ids: frozenset[str], progress: Progress, dead: dict[str, str]
) -> Iterator[Sleep | None]:
    """Subscribe a queue for the duration of the block; yield `None` if that fails."""
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
            sleep = partial(_await_event, reader, command_ids, dead)
        except Exception as error:  # noqa: BLE001 - reading works without listening
            progress.note(
                f"cannot subscribe to the topic ({error_code(error)}): reading the table instead"
            )
        yield sleep


def _await_event(
    reader: QueueReader, command_ids: frozenset[str], dead: dict[str, str], seconds: float
) -> None:
    """Wait until an event of one of the commands is received, at most some seconds.

    Or up to half a second more: SQS polls for whole seconds.
    """
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > _LEAST:
        try:
            bodies = reader.poll(min(max(round(left), 1), LONGEST_POLL))
        except Exception:  # noqa: BLE001 - as above
            break
        found = [each for each in parse_events(bodies) if each.command_id in command_ids]
        letters = [each for each in found if each.type == CommandDeadLettered.type]
        dead.update((str(each.command_id), str(each.data.get("code"))) for each in letters)
        if found:
            return
    time.sleep(max(0.0, deadline - time.monotonic()))
