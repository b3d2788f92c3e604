"""The commands for every contestant, in the form that it reads."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import uuid4

from celery import Celery
from kombu.transport import memory

PASSWORD_HASH = "$argon2id$v=19$m=65536,t=3,p=4$okk3ysaF0czpbsQEYF5nYw$CrVLZXCyyQb+fs4cz030fvkHoDwwJVoQ9pcp4eeWnL4"  # noqa: S105, E501 - nobody's
REGISTER = "biome.user.RegisterUser.v1"
UPDATE = "biome.user.UpdateProfile.v1"
REGISTERING, UPDATING, MIX = "registrations", "updates", "mix"
DUPLICATES = REJECTIONS = 0.05
"""Shares of the mix."""
REPEATED = " "
"""Prefix of the JSON of a repeated message, for the floor, which does not parse JSON."""
ID_AT = len('{"specversion":"1.0","id":"')
ID_LENGTH = 36


@dataclass(frozen=True, slots=True)
class Command:
    """One command; `repeated` if a message with the same id was sent before it."""

    type: str
    command_id: str
    user_id: str
    data: dict[str, str]
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """Commands in sending order."""

    name: str
    commands: tuple[Command, ...]


def register(count: int, label: str = "user") -> list[Command]:
    """Create registrations of new users."""
    run = uuid4().hex[:8]
    return [_register(f"{label}.{number}@{run}.example.com") for number in range(count)]


def _register(email: str) -> Command:
    data = {
        "email": email,
        "first_name": "Katherine",
        "last_name": "Lovelace",
        "password_hash": PASSWORD_HASH,
    }
    return Command(REGISTER, str(uuid4()), str(uuid4()), data)


def update(users: Sequence[Command]) -> list[Command]:
    """Create one profile update for each registered user."""
    return [
        Command(UPDATE, str(uuid4()), user.user_id, {"first_name": f"Ada {uuid4().hex[:6]}"})
        for user in users
    ]


def mix(users: Sequence[Command], count: int) -> list[Command]:
    """Create registrations and updates by halves, with duplicates and rejected registrations.

    Each registered user has at most one command, and a duplicate comes at least a few batches after
    the original, like SQS's redeliveries.
    """
    duplicates, refused = int(count * DUPLICATES), int(count * REJECTIONS)
    plain = count - duplicates - refused
    updated = update(users[: plain // 2])
    taken = [_register(user.data["email"]) for user in users[plain // 2 : plain // 2 + refused]]
    commands = [*register(plain - len(updated)), *updated, *taken]
    random.shuffle(commands)
    for number in range(duplicates):
        first = commands[number * 7 % (len(commands) // 2)]
        place = random.randint(len(commands) * 3 // 4, len(commands))
        commands.insert(place, replace(first, repeated=True))
    return commands


# --- what is sent --------------------------------------------------------------------------


def as_cloud_event(command: Command) -> str:
    """Render a command as documented for this worker; the id is at `ID_AT`."""
    text = json.dumps(
        {
            "specversion": "1.0",
            "id": command.command_id,
            "source": "/benchmark",
            "type": command.type,
            "subject": command.user_id,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "data": command.data,
        },
        separators=(",", ":"),
    )
    return REPEATED + text if command.repeated else text


def command_id_of(body: str) -> str:
    """Read the command id where `as_cloud_event` wrote it, without parsing."""
    return body[ID_AT : ID_AT + ID_LENGTH]


class CelerySender:
    """Renders commands as kombu's SQS transport sends a Celery task.

    Celery and kombu create the message themselves, on kombu's transport in memory; the SQS one adds
    JSON and base64.
    """

    def __init__(self, queue: str) -> None:
        """Render for a queue, because kombu writes its name into the message."""
        self._queue = queue
        self._app = Celery("sender", broker="memory://", set_as_current=False)
        self._app.conf.task_default_queue = self._queue

    def __call__(self, command: Command) -> str:
        """Render a command as a task of its name."""
        self._app.send_task(
            command.type,
            kwargs={"user_id": command.user_id, **command.data},
            task_id=command.command_id,
        )
        message = memory.Channel.queues[self._queue].get_nowait()
        return base64.b64encode(json.dumps(message).encode()).decode()
