"""The library for other services: send commands, receive their outcomes, read users.

A name is imported from its module on first use: a service that only reads users does not import
the modules for sending.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from user_client.answers import Answer, AnswerKind
    from user_client.commands import CommandRequest, UserCommands
    from user_client.errors import (
        InvalidCommandError,
        NoAnswerError,
        NotListeningError,
        NotSentError,
        UserClientError,
    )
    from user_client.outcomes import OutcomeListener
    from user_client.read_cache import CacheStatistics, ReadCache
    from user_client.read_models import (
        LoginRefusal,
        OutcomeView,
        SecondFactorView,
        SessionCheck,
        SessionRefusal,
        SessionView,
        UnreadableError,
        UserView,
    )
    from user_client.reader import UserReader

_MODULES = {
    "Answer": "answers",
    "AnswerKind": "answers",
    "CacheStatistics": "read_cache",
    "CommandRequest": "commands",
    "InvalidCommandError": "errors",
    "LoginRefusal": "read_models",
    "NoAnswerError": "errors",
    "NotListeningError": "errors",
    "NotSentError": "errors",
    "OutcomeListener": "outcomes",
    "OutcomeView": "read_models",
    "ReadCache": "read_cache",
    "SecondFactorView": "read_models",
    "SessionCheck": "read_models",
    "SessionRefusal": "read_models",
    "SessionView": "read_models",
    "UnreadableError": "read_models",
    "UserClientError": "errors",
    "UserCommands": "commands",
    "UserReader": "reader",
    "UserView": "read_models",
}

__all__ = [
    "Answer",
    "AnswerKind",
    "CacheStatistics",
    "CommandRequest",
    "InvalidCommandError",
    "LoginRefusal",
    "NoAnswerError",
    "NotListeningError",
    "NotSentError",
    "OutcomeListener",
    "OutcomeView",
    "ReadCache",
    "SecondFactorView",
    "SessionCheck",
    "SessionRefusal",
    "SessionView",
    "UnreadableError",
    "UserClientError",
    "UserCommands",
    "UserReader",
    "UserView",
]


def __getattr__(name: str) -> object:
    """Import the module that defines the name."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
