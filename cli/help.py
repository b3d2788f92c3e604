"""Help texts without the types of Python: `--json`, not `--json <bool>`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

if TYPE_CHECKING:
    import typer


class Command(TyperCommand):
    """A command whose help shows what to type, and no type of Python."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters."""
        return _without_types(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands whose help shows what to type, and no type of Python."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters."""
        return _without_types(super().get_params(ctx))


def use_everywhere(app: typer.Typer) -> None:
    """Use `Command` and `Group` for an application and all commands that were added to it."""
    app.info.cls = Group
    for command in app.registered_commands:
        command.cls = Command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            use_everywhere(group.typer_instance)


def _without_types(parameters: list[Any]) -> list[Any]:
    for each in parameters:
        each.display_type_rich = partial(_value, each)
    return parameters


def _value(parameter: TyperArgument | TyperOption, ctx: Any) -> str | None:
    """Return the text beside a parameter's name: its values or their form, nothing for a flag."""
    if isinstance(parameter, TyperArgument) or parameter.is_flag:
        return None
    if parameter.metavar is not None:
        return parameter.metavar
    return parameter.display_type(ctx).strip("<>") if parameter.type_descriptor.is_choice else ""
