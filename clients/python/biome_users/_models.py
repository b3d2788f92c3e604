"""Base classes of the generated commands and event data."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, field_validator

from biome_users._addresses import check_address

UserIdRule = Literal["required", "optional", "or email"]
"""Whether a command names its user by id, creates the user, or may name it by e-mail address."""


class MessageContract(NamedTuple):
    """The part of a command's contract beside its fields."""

    type: str
    """The message type, such as `biome.user.BanUser.v1`."""
    user_id: UserIdRule
    at_least_one_field: bool = False
    """Whether a command without any field is invalid."""


class _Hidden(BaseModel):
    """A model whose values appear neither in its repr nor in validation errors."""

    def __repr_args__(self) -> Any:
        """Return no values: they are personal data or hashes of secrets."""
        return ()


class Command(_Hidden):
    """Fields of a command. The names and rules are those of the worker's contracts."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    contract: ClassVar[MessageContract]

    @field_validator("email", "new_email", check_fields=False)
    @classmethod
    def _check_address(cls, text: str | None) -> str | None:
        return None if text is None else check_address(text)


class EventData(_Hidden):
    """Fields of an event. Fields that this version does not know are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)
    message_type: ClassVar[str]
    """The message type, such as `biome.user.UserBanned.v1`."""
