"""Send commands to the user worker, and receive its events."""

from biome_users import commands
from biome_users._models import Command, EventData
from biome_users.errors import (
    InvalidCommandError,
    InvalidEventError,
    NotSentError,
    UsersError,
)
from biome_users.events import Event, UnknownEvent, parse_event
from biome_users.inbox import Inbox, InboxStore, SqliteInboxStore
from biome_users.sender import CommandRequest, UserCommands
from biome_users.tokens import MailedTokens, RefreshToken, token_hash

__all__ = [
    "Command",
    "CommandRequest",
    "Event",
    "EventData",
    "Inbox",
    "InboxStore",
    "InvalidCommandError",
    "InvalidEventError",
    "MailedTokens",
    "NotSentError",
    "RefreshToken",
    "SqliteInboxStore",
    "UnknownEvent",
    "UserCommands",
    "UsersError",
    "commands",
    "parse_event",
    "token_hash",
]
