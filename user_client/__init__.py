"""What other services import: send commands, learn their outcomes, read users.

A name is imported from its module when it is first asked for: who only reads users need not wait
for what only senders want.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from user_client.commands import CommandRequest, UserCommands
    from user_client.errors import (
        InvalidCommandError,
        NoAnswerError,
        NotSentError,
        UserClientError,
    )

_MODULES = {
    "CommandRequest": "commands",
    "InvalidCommandError": "errors",
    "NoAnswerError": "errors",
    "NotSentError": "errors",
    "UserClientError": "errors",
    "UserCommands": "commands",
}

__all__ = [
    "CommandRequest",
    "InvalidCommandError",
    "NoAnswerError",
    "NotSentError",
    "UserClientError",
    "UserCommands",
]


def __getattr__(name: str) -> object:
    """Import what is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
