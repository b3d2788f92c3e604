"""Render users, sessions, second factors and addresses as items, and parse them.

The attributes of user, session and address items are a published read contract: their names are
those of the model's fields, times are RFC 3339 in UTC, and an absent attribute means `None`,
false, 0 or empty. NULL is never written, and default values are not written at all, because
items are billed by the kilobyte.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from adapters.dynamodb import table
from adapters.dynamodb.attributes import Attributes, render_timestamp
from adapters.dynamodb.formats import (
    ADDRESS_FORMAT,
    BANNED_FORMAT,
    SCHEMA,
    SESSION_FORMAT,
    TWO_FACTOR_FORMAT,
    USER_FORMAT,
    ItemFormat,
)
from application.repository import HELD, BannedAddress
from domain.sessions import Session
from domain.tokens import OneTimeToken
from domain.user import AcceptedTerms, Ban, EmailChange, TwoFactor, User
from domain.values import EmailAddress

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

    from adapters.dynamodb.table import Item


# Fields of a user that are stored under their own name, by type.
_TEXTS: Final = (
    "password_hash",
    "deactivation_reason",
    "locale",
    "time_zone",
)
_COUNTS: Final = (
    "credential_version",
    "failed_logins",
    "lock_count",
    "last_totp_step",
)
_FLAGS: Final = (
    "email_verified",
    "password_hash_legacy",
    "deactivated",
    "erased",
    "two_factor_enabled",
    "two_factor_unverified",
)
_TIMES: Final = ("locked_until", "last_failure_at")

_SESSION_TIMES: Final = ("started_at", "last_used_at", "replaced_at")

# --- users ---------------------------------------------------------------------------------


def render_user(user: User) -> Item:
    """Render a user's own item, without sessions and second factor."""
    item: Item = {
        "pk": {"S": table.USER_PREFIX + user.user_id},
        "sk": {"S": table.USER},
        SCHEMA: {"N": str(USER_FORMAT.number)},
        "user_id": {"S": user.user_id},
        "version": {"N": str(user.version)},
        "created_at": {"S": render_timestamp(user.created_at)},
        "updated_at": {"S": render_timestamp(user.updated_at)},
        "first_name": {"S": user.first_name},
        "last_name": {"S": user.last_name},
    }
    _put_texts(item, user)
    _put_counts_and_flags(item, user)
    _put_maps(item, user)
    return USER_FORMAT.written(item, parse_user)


def _put_texts(item: Item, user: User) -> None:
    if user.email is not None:
        item["email"] = {"S": user.email.value}
    for name in _TEXTS:
        if (text := getattr(user, name)) is not None:
            item[name] = {"S": text}
    if user.roles:
        item["roles"] = {"L": [{"S": role} for role in user.roles]}
    for name in _TIMES:
        if (time := getattr(user, name)) is not None:
            item[name] = {"S": render_timestamp(time)}
    if user.live_sessions:
        words = (f"{key}:{to_epoch(end)}" for key, end in user.live_sessions.items())
        item["live_sessions"] = {"S": " ".join(words)}


def _put_counts_and_flags(item: Item, user: User) -> None:
    for name in _COUNTS:
        if count := getattr(user, name):
            item[name] = {"N": str(count)}
    for name in _FLAGS:
        if getattr(user, name):
            item[name] = {"BOOL": True}


def _put_maps(item: Item, user: User) -> None:
    if user.ban is not None:
        ban: Item = {"reason": {"S": user.ban.reason}}
        if user.ban.until is not None:
            ban["until"] = {"S": render_timestamp(user.ban.until)}
        if user.ban.address_hash is not None:
            ban["address_hash"] = {"S": user.ban.address_hash}
        item["ban"] = {"M": ban}
    if user.email_verification is not None:
        item["email_verification"] = _render_token(user.email_verification)
    if user.password_reset is not None:
        item["password_reset"] = _render_token(user.password_reset)
    if user.email_change is not None:
        change: Item = {
            "new_email": {"S": user.email_change.new_email.value},
            "token": _render_token(user.email_change.token),
        }
        item["email_change"] = {"M": change}
    if user.terms:
        item["terms"] = {
            "M": {
                document: {
                    "M": {
                        "version": {"S": accepted.version},
                        "accepted_at": {"S": render_timestamp(accepted.accepted_at)},
                    }
                }
                for document, accepted in user.terms.items()
            }
        }


def _render_token(token: OneTimeToken) -> AttributeValueTypeDef:
    return {
        "M": {
            "token_hash": {"S": token.token_hash},
            "expires_at": {"S": render_timestamp(token.expires_at)},
        }
    }


def parse_user(item: Item, item_format: ItemFormat = USER_FORMAT) -> User:
    """Parse a user item.

    Raises:
        MalformedItemError: the item is invalid.
    """
    read = item_format.read(item)
    email = read.optional_text("email")
    plain: dict[str, Any] = {name: read.optional_text(name) for name in _TEXTS}
    plain |= {name: read.integer(name, 0) for name in _COUNTS}
    plain |= {name: read.flag(name) for name in _FLAGS}
    plain |= {name: read.optional_time(name) for name in _TIMES}
    return User(
        user_id=read.text("user_id"),
        version=read.integer("version"),
        created_at=read.time("created_at"),
        updated_at=read.time("updated_at"),
        email=None if email is None else EmailAddress(email),
        first_name=read.text("first_name"),
        last_name=read.text("last_name"),
        roles=read.texts("roles"),
        ban=_parse_ban(read.nested("ban")),
        email_verification=_parse_token(read.nested("email_verification")),
        email_change=_parse_email_change(read.nested("email_change")),
        password_reset=_parse_token(read.nested("password_reset")),
        terms=_parse_terms(read.nested("terms")),
        live_sessions=_parse_live_sessions(read),
        **plain,
    )


def _parse_ban(read: Attributes | None) -> Ban | None:
    if read is None:
        return None
    return Ban(
        read.text("reason"),
        read.optional_time("until"),
        address_hash=read.optional_text("address_hash"),
    )


def _parse_token(read: Attributes | None) -> OneTimeToken | None:
    if read is None:
        return None
    return OneTimeToken(read.text("token_hash"), read.time("expires_at"))


def _parse_email_change(read: Attributes | None) -> EmailChange | None:
    if read is None:
        return None
    token = _parse_token(read.nested("token"))
    if token is None:
        raise read.malformed("token", "is missing")
    return EmailChange(EmailAddress(read.text("new_email")), token)


def _parse_terms(read: Attributes | None) -> dict[str, AcceptedTerms]:
    if read is None:
        return {}
    found: dict[str, AcceptedTerms] = {}
    for document in read.names():
        accepted = read.nested(document)
        assert accepted is not None
        found[document] = AcceptedTerms(accepted.text("version"), accepted.time("accepted_at"))
    return found


def _parse_live_sessions(read: Attributes) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for word in read.words("live_sessions"):
        session_id, _, end = word.partition(":")
        try:
            found[session_id] = datetime.fromtimestamp(int(end), UTC)
        except (ValueError, OverflowError, OSError):
            raise read.malformed("live_sessions", "has an invalid time") from None
    return found


# --- sessions ------------------------------------------------------------------------------


def to_epoch(time: datetime) -> str:
    """Render a time for DynamoDB's TTL: whole seconds, rounded down, not before 1970.

    A time before 1970 has expired all the same, and DynamoDB has no TTL below 0.
    """
    return str(max(0, int(time.timestamp())))


def render_session(user_id: str, session: Session) -> Item:
    """Render a session; its `expires_at` keeps whole seconds."""
    item: Item = {
        "pk": {"S": table.USER_PREFIX + user_id},
        "sk": {"S": table.SESSION_PREFIX + session.session_id},
        SCHEMA: {"N": str(SESSION_FORMAT.number)},
        "session_id": {"S": session.session_id},
        table.REFRESH_FAMILY_HASH: {"S": session.refresh_family_hash},
        "refresh_token_hashes": {"S": " ".join(session.refresh_token_hashes)},
        table.TTL_ATTRIBUTE: {"N": to_epoch(session.expires_at)},
        "revision": {"N": str(session.revision)},
    }
    for name in _SESSION_TIMES:
        if (time := getattr(session, name)) is not None:
            item[name] = {"S": render_timestamp(time)}
    if session.methods:
        item["methods"] = {"S": " ".join(session.methods)}
    if session.device is not None:
        item["device"] = {"S": session.device}
    if session.replaced_token_hash is not None:
        item["replaced_token_hash"] = {"S": session.replaced_token_hash}
    return SESSION_FORMAT.written(item, parse_session)


def parse_session(item: Item, item_format: ItemFormat = SESSION_FORMAT) -> Session:
    """Parse a session item.

    Raises:
        MalformedItemError: the item is invalid.
    """
    read = item_format.read(item)
    return Session(
        session_id=read.text("session_id"),
        refresh_family_hash=read.text(table.REFRESH_FAMILY_HASH),
        refresh_token_hashes=read.words("refresh_token_hashes"),
        expires_at=read.epoch(table.TTL_ATTRIBUTE),
        methods=read.words("methods"),
        device=read.optional_text("device"),
        replaced_token_hash=read.optional_text("replaced_token_hash"),
        replaced_at=read.optional_time("replaced_at"),
        started_at=read.optional_time("started_at"),
        last_used_at=read.optional_time("last_used_at"),
        revision=read.integer("revision"),
    )


# --- second factors ------------------------------------------------------------------------


def render_two_factor(user_id: str, two_factor: TwoFactor) -> Item:
    """Render a second factor."""
    item: Item = {
        "pk": {"S": table.USER_PREFIX + user_id},
        "sk": {"S": table.TWO_FACTOR},
        SCHEMA: {"N": str(TWO_FACTOR_FORMAT.number)},
        "secret_ciphertext": {"S": two_factor.secret_ciphertext},
        "revision": {"N": str(two_factor.revision)},
    }
    if two_factor.recovery_code_hashes:
        item["recovery_code_hashes"] = {"S": " ".join(two_factor.recovery_code_hashes)}
    return TWO_FACTOR_FORMAT.written(item, parse_two_factor)


def parse_two_factor(item: Item, item_format: ItemFormat = TWO_FACTOR_FORMAT) -> TwoFactor:
    """Parse a second factor's item.

    Raises:
        MalformedItemError: the item is invalid.
    """
    read = item_format.read(item)
    return TwoFactor(
        secret_ciphertext=read.text("secret_ciphertext"),
        recovery_code_hashes=read.words("recovery_code_hashes"),
        revision=read.integer("revision"),
    )


# --- addresses -----------------------------------------------------------------------------


def render_address(address: EmailAddress, user_id: str, *, held: bool = False) -> Item:
    """Render the item that names the owner of an address, or the erased user it is held for."""
    item: Item = {
        "pk": {"S": table.EMAIL_PREFIX + address.key},
        "sk": {"S": table.EMAIL},
        SCHEMA: {"N": str(ADDRESS_FORMAT.number)},
        "user_id": {"S": user_id},
    }
    if held:
        item["held"] = {"BOOL": True}
    return ADDRESS_FORMAT.written(item, parse_address)


def parse_address(item: Item, item_format: ItemFormat = ADDRESS_FORMAT) -> str:
    """Parse the user id of an address's owner; `HELD` if its user was erased.

    Raises:
        MalformedItemError: the item is invalid.
    """
    read = item_format.read(item)
    owner = read.text("user_id")
    return HELD if read.flag("held") else owner


# --- banned addresses ----------------------------------------------------------------------


def render_banned(banned: BannedAddress) -> Item:
    """Render a ban that outlives its user; DynamoDB deletes it after its end."""
    item = table.banned_key(banned.address_hash)
    item[SCHEMA] = {"N": str(BANNED_FORMAT.number)}
    item["user_id"] = {"S": banned.user_id}
    if banned.until is not None:
        item["until"] = {"S": render_timestamp(banned.until)}
        # The next whole second: `to_epoch` rounds down, and the ban lasts to its end.
        item[table.TTL_ATTRIBUTE] = {"N": str(int(to_epoch(banned.until)) + 1)}
    return BANNED_FORMAT.written(item, parse_banned)


def parse_banned(item: Item, item_format: ItemFormat = BANNED_FORMAT) -> BannedAddress:
    """Parse a ban that outlives its user.

    Raises:
        MalformedItemError: the item is invalid.
    """
    read = item_format.read(item)
    return BannedAddress(
        address_hash=read.text(table.PARTITION_KEY).removeprefix(table.BANNED_PREFIX),
        user_id=read.text("user_id"),
        until=read.optional_time("until"),
    )
