"""The worker's settings, with their defaults and limits."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from application.key_ring import SHORTEST_KEY, KeyRing
from application.queue_port import FIFO_SUFFIX
from domain.values import parse_role
from worker.errors import SettingsError

PREFIX = "USER_WORKER_"
RESOURCE_NAME = r"^[A-Za-z0-9_-]{1,75}(\.fifo)?$"
TOPIC = r"^(arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:)?[A-Za-z0-9_-]{1,250}(\.fifo)?$"
A_TABLE = "3 to 255 letters, digits, dots, - or _"
A_QUEUE = "1 to 75 letters, digits, - or _, and .fifo after them for a FIFO queue"
SEVERAL_QUEUES = f"names of queues, separated by commas: each {A_QUEUE}"
A_TOPIC = (
    "1 to 250 letters, digits, - or _, and .fifo after them for a FIFO topic; "
    "or such a name in an ARN, arn:aws:sns:REGION:ACCOUNT:NAME"
)
AN_ADDRESS = "an address or name of this machine, such as 127.0.0.1, 0.0.0.0 or ::"
EVENTS_TOPIC: Final = "user-events"
SIMILARITY: Final = 0.75
"""Similarity (0 to 1) from which a name counts as a mistyped setting: TABEL and TABLE have 0.8."""
_KINDS: Final = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
    "finite_number": "a number",
}
DEVELOPMENT_HASH_KEY: Final = "a key for development, known to everybody"
NOT_SETTINGS: Final = ("DEBUG", "CRASH_SEED", "CRASH_SEEDS")
"""Variables with the same prefix that are not settings: of the command line, and of tests."""


class Settings(BaseSettings):
    """The settings, read from `USER_WORKER_*` variables.

    The AWS region, endpoint and credentials are the SDK's own settings (`AWS_DEFAULT_REGION`,
    `AWS_ENDPOINT_URL`, ...). The docstrings of the fields are printed in
    docs/reference/settings.md.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    env: Literal["dev", "test", "prod"] = "dev"
    """`dev`, `test` or `prod`"""
    repository: Literal["dynamodb", "memory"] = "dynamodb"
    """Where users are stored: `dynamodb`, or `memory` to try it in one process, without AWS"""
    table: str = Field(default="users", pattern=r"^[A-Za-z0-9_.-]{3,255}$", description=A_TABLE)
    """Name of the DynamoDB table"""
    command_queue: str = Field(default="user-commands", pattern=RESOURCE_NAME, description=A_QUEUE)
    """Name of the command queue; a name that ends in `.fifo` is a FIFO queue"""
    priority_queue: str | None = Field(default=None, pattern=RESOURCE_NAME, description=A_QUEUE)
    """Name of a command queue that is served first"""
    additional_queues: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description=SEVERAL_QUEUES
    )
    """Names of [more command queues](../how-to/permissions.md#a-queue-for-a-producer), separated by
    commas, for certain producers; they and the command queue are served in turn"""
    dead_letter_queue: str = Field(
        default="user-commands-dlq", pattern=RESOURCE_NAME, description=A_QUEUE
    )
    """Name of the dead-letter queue; FIFO if the command queue is"""
    quarantine_queue: str = Field(
        default="user-commands-quarantine", pattern=RESOURCE_NAME, description=A_QUEUE
    )
    """Name of the queue for the unchanged messages of [redacted dead
    letters](../how-to/dead-letters.md#redaction-and-quarantine); FIFO if the command queue is"""
    events_topic: str = Field(default=EVENTS_TOPIC, pattern=TOPIC, description=A_TOPIC)
    """Name of the ordinary topic in the account and region, or its ARN: it carries all events,
    [without e-mail addresses](../how-to/subscribing.md#the-two-topics)"""
    personal_topic: str = Field(default=None, pattern=TOPIC, description=A_TOPIC)  # type: ignore[assignment]  # filled in below from `events_topic`
    """Name or ARN of the personal topic: it carries the events that have e-mail addresses,
    complete; FIFO if the ordinary topic is"""
    visibility_timeout: int = Field(default=60, ge=1, le=43_200)
    """Seconds; set by `provision`, and extended by the worker after half of it"""
    batch_size: int = Field(default=20, ge=10, le=30)
    """[Commands that one task carries](../adr/0014-a-task-may-carry-several-receives.md) at most,
    under load"""
    batch_wait: int = Field(default=0, ge=0, le=5_000)
    """Milliseconds for which an incomplete batch [may wait for more
    commands](../explanation/scaling.md#light-load); at most half of the visibility timeout. The
    priority queue does not wait"""
    max_receives: int = Field(default=12, ge=1, le=1_000)
    """`maxReceiveCount` of the queue's redrive policy; on the last receive the worker dead-letters
    the message itself, with the reason"""
    outcome_days: int = Field(default=90, ge=60, le=3_650)
    """Days for which [outcomes are kept](../adr/0010-outcomes-live-sixty-days-or-more.md)"""
    permissions: Path | None = None
    """Path of [the file that states which producer may send what](../how-to/permissions.md);
    required in prod. Elsewhere, every sender may send every command if it is not set"""
    roles: Annotated[tuple[str, ...], NoDecode] = ("customer", "lab_assistant", "admin")
    """Roles that users may have, separated by commas"""
    relay_interval: float = Field(default=5.0, gt=0, le=300)
    """Seconds between two passes of the relay over the outbox, before jitter"""
    relay_age: float = Field(default=30.0, ge=0, le=3_600)
    """Age in seconds from which the relay publishes an outbox entry"""
    registration_grace: float = Field(default=60.0, ge=0, le=900)
    """Seconds after a message's first receive during which its user may still be registered"""
    lock_after_failures: int = Field(default=5, ge=1, le=100)
    """Consecutive login failures that lock a user"""
    session_days: int = Field(default=90, ge=1, le=3_650)
    """Days from the start of a session to its end at most"""
    session_idle_days: int = Field(default=30, ge=1, le=3_650)
    """Days from the last exchange of a refresh token to the end of its session at most"""
    refresh_leeway: int = Field(default=10, ge=0, le=60)
    """Seconds in which a refresh token that was just replaced is accepted again; the same for
    readers"""
    hash_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(default=(), repr=False)
    """Secret keys of the hashes by which [redelivered commands and banned
    addresses](../explanation/security.md#keyed-hashes) are recognised, 32 bytes or more each,
    separated by commas: new hashes are made with the first key, and recognised with all of them;
    the same for all workers"""
    health_port: int | None = Field(default=None, ge=1, le=65_535)
    """Port for [probes over HTTP](../how-to/operations.md#health), `/live` and `/ready`; no HTTP
    without it"""
    health_host: str = Field(
        default="127.0.0.1", pattern=r"^[A-Za-z0-9.:-]{1,253}$", description=AN_ADDRESS
    )
    """Address that accepts probes: `0.0.0.0` in a Kubernetes pod"""
    create_resources: bool = None  # type: ignore[assignment]  # filled in below from `env`
    """Whether the worker creates table, queues and topic at start, on an emulator only; refused in
    prod"""
    log_format: Literal["console", "json"] = None  # type: ignore[assignment]  # as above
    """`console` or `json`"""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """`DEBUG`, `INFO`, `WARNING` or `ERROR`"""

    @model_validator(mode="before")
    @classmethod
    def _defaults_by_environment(cls, values: dict[str, object]) -> dict[str, object]:
        production = values.get("env") == "prod"
        values.setdefault("create_resources", not production)
        values.setdefault("log_format", "console" if values.get("env", "dev") == "dev" else "json")
        topic = str(values.get("events_topic", EVENTS_TOPIC))
        # of an invalid name nothing is derived, so that the error is about that name only
        known = topic if re.fullmatch(TOPIC, topic) else EVENTS_TOPIC
        values.setdefault("personal_topic", personal_topic_of(known))
        return values

    @field_validator("roles", "additional_queues", "hash_keys", mode="before")
    @classmethod
    def _items_are_separated_by_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(item.strip() for item in value.split(",")) if value.strip() else ()
        return value

    @field_validator("additional_queues")
    @classmethod
    def _queues_are_names(cls, queues: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(RESOURCE_NAME, name) for name in queues):
            raise ValueError(f"must be {SEVERAL_QUEUES}")
        return queues

    @field_validator("hash_keys")
    @classmethod
    def _keys_are_long(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value().encode()) < SHORTEST_KEY for key in keys):
            raise ValueError(f"must contain only keys of {SHORTEST_KEY} bytes or more")
        return keys

    @field_validator("roles")
    @classmethod
    def _roles_are_names(cls, roles: tuple[str, ...]) -> tuple[str, ...]:
        if not roles:
            raise ValueError("must name at least one role")
        return tuple(map(parse_role, roles))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.env == "prod" and self.create_resources:
            raise ValueError(f"{PREFIX}CREATE_RESOURCES must not be true when {PREFIX}ENV is prod")
        if self.env == "prod" and self.repository == "memory":
            raise ValueError(f"{PREFIX}REPOSITORY must not be memory when {PREFIX}ENV is prod")
        self._require_distinct_queues_of_one_kind()
        self._require_consistent_topics()
        self._require_start_before_renewal()
        return self

    def _require_start_before_renewal(self) -> None:
        half = 1000 * self.visibility_timeout // 2
        if self.batch_wait > half:
            raise ValueError(
                f"{PREFIX}BATCH_WAIT must be at most half of {PREFIX}VISIBILITY_TIMEOUT, which is "
                f"{half} ms: messages must start before their visibility is renewed"
            )

    def _require_distinct_queues_of_one_kind(self) -> None:
        variables: dict[str, str] = {}
        for variable, name in (
            ("COMMAND_QUEUE", self.command_queue),
            ("PRIORITY_QUEUE", self.priority_queue),
            *(("ADDITIONAL_QUEUES", name) for name in self.additional_queues),
            ("DEAD_LETTER_QUEUE", self.dead_letter_queue),
            ("QUARANTINE_QUEUE", self.quarantine_queue),
        ):
            if name in variables:
                places = dict.fromkeys((PREFIX + variables[name], PREFIX + variable))
                raise ValueError(
                    f"queue {name} is named twice, in {' and '.join(places)}: name each queue once"
                )
            if name is not None:
                variables[name] = variable
        if len({name.endswith(FIFO_SUFFIX) for name in variables}) > 1:
            raise ValueError(
                f"{PREFIX}COMMAND_QUEUE, {PREFIX}PRIORITY_QUEUE, {PREFIX}ADDITIONAL_QUEUES, "
                f"{PREFIX}DEAD_LETTER_QUEUE and {PREFIX}QUARANTINE_QUEUE must all be FIFO or none: "
                "let all names end in .fifo, or none"
            )

    def _require_consistent_topics(self) -> None:
        names = f"{PREFIX}EVENTS_TOPIC and {PREFIX}PERSONAL_TOPIC"
        if self.events_topic.endswith(FIFO_SUFFIX) != self.personal_topic.endswith(FIFO_SUFFIX):
            raise ValueError(
                f"{names} must both be FIFO or neither: let both names end in .fifo, or neither"
            )
        # a name and an ARN are compared by name: which account a name is in is unknown here
        ordinary, personal = self.events_topic, self.personal_topic
        same_name = ordinary.rpartition(":")[2] == personal.rpartition(":")[2]
        if ordinary == personal or (same_name and ":" not in min(ordinary, personal, key=len)):
            raise ValueError(
                f"{names} must be two topics: otherwise every subscriber receives e-mail addresses"
            )

    @property
    def hash_key_ring(self) -> KeyRing:
        """The keys of stored hashes; outside prod a fixed one if none is set.

        Only what makes or compares hashes needs the keys: the worker, `user-worker user` for an
        address that no user has, and the report of `user-worker import`.

        Raises:
            SettingsError: none is set in prod.
        """
        keys = [key.get_secret_value() for key in self.hash_keys]
        if not keys and self.env == "prod":
            raise SettingsError(
                f"{PREFIX}HASH_KEYS is not set",
                "set a random secret of 32 bytes or more, the same for all workers",
            )
        return KeyRing(tuple(key.encode() for key in keys or [DEVELOPMENT_HASH_KEY]))

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues to serve: the priority queue, the command queue, and the additional ones."""
        first = (self.priority_queue, self.command_queue)
        return (*(name for name in first if name), *self.additional_queues)


def personal_topic_of(events_topic: str) -> str:
    """Return the default of the personal topic: the ordinary one's name or ARN and `-personal`."""
    name = events_topic.removesuffix(FIFO_SUFFIX)
    return f"{name}-personal{events_topic[len(name) :]}"


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: one line names the variable and the rule, or the setting that a mistyped
            variable may stand for.
    """
    for variable, meant in unknown_settings().items():
        if meant is not None:
            raise SettingsError(f"{variable} is not a setting", f"did you mean {meant}?")
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False)
        raise SettingsError("; ".join(map(_problem, problems))) from error


def unknown_settings() -> dict[str, str | None]:
    """Return the variables that have the prefix of settings but are not settings.

    Each with the most similar setting, or `None`: such a variable may be meant for another
    program, as Kubernetes sets some for a service named user-worker.
    """
    names = [name.upper() for name in (*Settings.model_fields, *NOT_SETTINGS)]
    found: dict[str, str | None] = {}
    for variable in sorted(os.environ):
        name = variable.upper().removeprefix(PREFIX)
        if variable.upper().startswith(PREFIX) and name not in names:
            similar = difflib.get_close_matches(name, names, n=1, cutoff=SIMILARITY)
            found[variable] = PREFIX + similar[0] if similar else None
    return found


def _problem(problem: Any) -> str:
    """Return the variable and what it may be, never its value."""
    if not problem["loc"]:
        return _rule(problem, None)
    name = str(problem["loc"][0])
    return f"{PREFIX}{name.upper()} {_rule(problem, Settings.model_fields.get(name))}"


def _rule(problem: Any, field: FieldInfo | None) -> str:
    kind: str = problem["type"]
    if kind == "literal_error":
        return f"must be {problem['ctx']['expected'].replace(chr(39), '')}"
    if kind == "string_pattern_mismatch" and field is not None and field.description:
        return f"must be {field.description}"
    allowed = "" if field is None else limits(field)
    if kind in _KINDS:
        return " ".join(filter(None, ["must be", _KINDS[kind], allowed]))
    return f"must be {allowed}" if allowed else str(problem["msg"]).removeprefix("Value error, ")


def limits(field: FieldInfo) -> str:
    """Return the limits of a number, such as `from 10 to 30`; empty for other settings."""
    found = {
        name: getattr(each, name)
        for each in field.metadata
        for name in ("ge", "gt", "le")
        if hasattr(each, name)
    }
    if "le" not in found:
        return ""
    lowest = f"from {found['ge']}" if "ge" in found else f"more than {found.get('gt')}, up"
    return f"{lowest} to {found['le']}"
