"""Send commands to the user worker, learn how they ended, receive events, and read users."""

from biome_users import commands
from biome_users._command_id import new_command_id
from biome_users._models import Command, EventData
from biome_users.answers import Answer, AnswerKind
from biome_users.errors import (
    InvalidCommandError,
    InvalidEventError,
    NoAnswerError,
    NotListeningError,
    NotSentError,
    NotSubscribedError,
    RefusedError,
    SessionRefusedError,
    UnavailableError,
    UnreadableError,
    UsersError,
)
from biome_users.events import Event, UnknownEvent, parse_event
from biome_users.inbox import Inbox, InboxStore, SqliteInboxStore
from biome_users.login import Login, LoginFlow, Passwords
from biome_users.outcomes import OutcomeListener
from biome_users.read_cache import CacheStatistics, ReadCache
from biome_users.reader import LoginReader, UserReader
from biome_users.sender import CommandRequest, UserCommands
from biome_users.tokens import MailedTokens, RefreshToken, token_hash
from biome_users.views import (
    LoginRefusal,
    OutcomeView,
    SecondFactorView,
    SessionCheck,
    SessionRefusal,
    SessionView,
    UserView,
)

__all__ = [
    "Answer",
    "AnswerKind",
    "CacheStatistics",
    "Command",
    "CommandRequest",
    "Event",
    "EventData",
    "Inbox",
    "InboxStore",
    "InvalidCommandError",
    "InvalidEventError",
    "Login",
    "LoginFlow",
    "LoginReader",
    "LoginRefusal",
    "MailedTokens",
    "NoAnswerError",
    "NotListeningError",
    "NotSentError",
    "NotSubscribedError",
    "OutcomeListener",
    "OutcomeView",
    "Passwords",
    "ReadCache",
    "RefreshToken",
    "RefusedError",
    "SecondFactorView",
    "SessionCheck",
    "SessionRefusal",
    "SessionRefusedError",
    "SessionView",
    "SqliteInboxStore",
    "UnavailableError",
    "UnknownEvent",
    "UnreadableError",
    "UserCommands",
    "UserReader",
    "UserView",
    "UsersError",
    "commands",
    "new_command_id",
    "parse_event",
    "token_hash",
]
