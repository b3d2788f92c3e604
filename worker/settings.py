"""The worker's settings, with their defaults and limits."""

from __future__ import annotations

import difflib
import os
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from application.queue_port import FIFO_SUFFIX
from domain.values import parse_role
from worker.errors import CliError

PREFIX = "USER_WORKER_"
RESOURCE_NAME = r"^[A-Za-z0-9_-]{1,75}(\.fifo)?$"
TOPIC = r"^(arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:)?[A-Za-z0-9_-]{1,250}(\.fifo)?$"
A_TABLE = "3 to 255 letters, digits, dots, - or _"
A_QUEUE = "1 to 75 letters, digits, - or _, and .fifo after them for a FIFO queue"
A_TOPIC = (
    "1 to 250 letters, digits, - or _, and .fifo after them for a FIFO topic; "
    "or such a name in an ARN, arn:aws:sns:REGION:ACCOUNT:NAME"
)
AN_ADDRESS = "an address or name of this machine, such as 127.0.0.1, 0.0.0.0 or ::"
SIMILARITY: Final = 0.75
"""Similarity (0 to 1) from which a name counts as a mistyped setting: TABEL and TABLE have 0.8."""
_KINDS: Final = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
    "finite_number": "a number",
}
NOT_SETTINGS: Final = ("DEBUG", "CRASH_SEED", "CRASH_SEEDS")
"""Variables with the same prefix that are not settings: of the command line, and of tests."""


class SettingsError(CliError):
    """A setting is missing or invalid; the message is one line for an operator."""


class Settings(BaseSettings):
    """The settings, read from `USER_WORKER_*` variables.

    The AWS region, endpoint and credentials are the SDK's own settings (`AWS_DEFAULT_REGION`,
    `AWS_ENDPOINT_URL`, ...).
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    env: Literal["dev", "test", "prod"] = "dev"
    repository: Literal["dynamodb", "memory"] = "dynamodb"
    table: str = Field(default="users", pattern=r"^[A-Za-z0-9_.-]{3,255}$", description=A_TABLE)
    command_queue: str = Field(default="user-commands", pattern=RESOURCE_NAME, description=A_QUEUE)
    priority_queue: str | None = Field(default=None, pattern=RESOURCE_NAME, description=A_QUEUE)
    dead_letter_queue: str = Field(
        default="user-commands-dlq", pattern=RESOURCE_NAME, description=A_QUEUE
    )
    events_topic: str = Field(default="user-events", pattern=TOPIC, description=A_TOPIC)
    """A name in the account and region, or an ARN."""
    visibility_timeout: int = Field(default=60, ge=1, le=43_200)
    """Seconds; `provision` sets it on the queue; messages are renewed at half of it."""
    batch_size: int = Field(default=20, ge=10, le=30)
    """Maximum commands per task under load; thirty registrations fit into one transaction."""
    max_receives: int = Field(default=12, ge=1, le=1_000)
    """`maxReceiveCount` of the redrive policy; on the last receive the worker dead-letters
    itself."""
    outcome_days: int = Field(default=90, ge=60, le=3_650)
    """How long outcomes are kept: the retention of SQS (14 days) and of the DLQ (14), the 30 days
    by which a command must be younger, and a margin."""
    roles: Annotated[tuple[str, ...], NoDecode] = ("customer", "lab_assistant", "admin")
    """In the environment, separated by commas."""
    relay_interval: float = Field(default=5.0, gt=0, le=300)
    """Seconds between two passes of the relay over the outbox, before jitter."""
    relay_age: float = Field(default=30.0, ge=0, le=3_600)
    """Seconds after which an outbox entry counts as left behind."""
    registration_grace: float = Field(default=60.0, ge=0, le=900)
    """Seconds after a message's first receive during which its user may still be registered."""
    health_port: int | None = Field(default=None, ge=1, le=65_535)
    """Port for HTTP probes; no HTTP if left out."""
    health_host: str = Field(
        default="127.0.0.1", pattern=r"^[A-Za-z0-9.:-]{1,253}$", description=AN_ADDRESS
    )
    create_resources: bool = None  # type: ignore[assignment]  # filled in below from `env`
    log_format: Literal["console", "json"] = None  # type: ignore[assignment]  # as above
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="before")
    @classmethod
    def _defaults_by_environment(cls, values: dict[str, object]) -> dict[str, object]:
        production = values.get("env") == "prod"
        values.setdefault("create_resources", not production)
        values.setdefault("log_format", "console" if values.get("env", "dev") == "dev" else "json")
        return values

    @field_validator("roles", mode="before")
    @classmethod
    def _roles_are_separated_by_commas(cls, roles: object) -> object:
        return tuple(role.strip() for role in roles.split(",")) if isinstance(roles, str) else roles

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
        if len({name.endswith(FIFO_SUFFIX) for name in (*self.queues, self.dead_letter_queue)}) > 1:
            raise ValueError(
                f"{PREFIX}COMMAND_QUEUE, {PREFIX}PRIORITY_QUEUE and {PREFIX}DEAD_LETTER_QUEUE "
                "must all be FIFO or none: end all of them in .fifo, or none"
            )
        return self

    @property
    def fifo(self) -> bool:
        """Whether the command queue is FIFO."""
        return self.command_queue.endswith(FIFO_SUFFIX)

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues to serve, the more urgent first."""
        return tuple(name for name in (self.priority_queue, self.command_queue) if name)


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
    limits = "" if field is None else _limits(field)
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}{limits}"
    return f"must be{limits}" if limits else str(problem["msg"]).removeprefix("Value error, ")


def _limits(field: FieldInfo) -> str:
    """Return the limits of a number, such as ` from 10 to 30`."""
    limits = {
        name: getattr(each, name)
        for each in field.metadata
        for name in ("ge", "gt", "le")
        if hasattr(each, name)
    }
    if "le" not in limits:
        return ""
    lowest = f" from {limits['ge']}" if "ge" in limits else f" more than {limits.get('gt')}, up"
    return f"{lowest} to {limits['le']}"
