"""Read users: by id, by address and by session."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final
from uuid import UUID

from biome_users import _aws, _items
from biome_users._addresses import address_key, folded
from biome_users._items import RawItem, StoredSession
from biome_users._table import WITHOUT_CREDENTIALS, Key, UserTable
from biome_users.read_cache import ReadCache
from biome_users.views import (
    OutcomeView,
    SecondFactorView,
    SessionCheck,
    SessionRefusal,
    SessionView,
    UserView,
)

DEFAULT_TABLE: Final = "users"
REFRESH_LEEWAY: Final = timedelta(seconds=10)
"""The worker's default for its setting REFRESH_LEEWAY."""
OWNER_READS: Final = 3
"""Attempts to read an address and its owner consistently: its owner may change between the
reads."""
_UUID: Final = re.compile("[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_HASH: Final = re.compile("[0-9a-fA-F]{64}")
_NO_USER: Final = ({"0", "-"}, {"f", "-"})
"""Characters of the nil UUID and of the max UUID."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class UserReader:
    """Reads users without their credentials; thread-safe, and never writes.

    It works with the policy reader-without-credentials: `password_hash` of each view is `None`. A
    login service uses `LoginReader`.

    Every read is consistent and current, unless the caller passes `cached=True`. All methods raise
    `UnavailableError` if a read fails (try again), `UnreadableError` if a stored item cannot be
    read, and `ValueError` for an invalid id, address or hash. See docs/how-to/reading.md.

    Create one in each process, after a fork: its client keeps connections open.
    """

    _attributes: ClassVar[tuple[str, ...] | None] = WITHOUT_CREDENTIALS
    """Attributes to request; `None`: all."""

    def __init__(
        self,
        table: str = DEFAULT_TABLE,
        *,
        client: Any = None,
        cache: ReadCache | None = None,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        """Set the table.

        Args:
            table: the table's name.
            client: a boto3 client for DynamoDB; by default it is created from the SDK's own
                environment variables and files.
            cache: the cache to use for `cached=True`, which has no effect without one.
            clock: returns the current time, with offset.
        """
        self._table = UserTable(client or _aws.client("dynamodb"), table, self._attributes)
        self._cache = cache
        self._clock = clock

    # --- users -----------------------------------------------------------------------------

    def get(self, user_id: str | UUID, *, cached: bool = False) -> UserView | None:
        """Read a user by id; `None` if not found. An erased user is returned, with `erased` set."""
        return self.get_many([user_id], cached=cached).get(_parse_id(user_id))

    def get_many(
        self, user_ids: Iterable[str | UUID], *, cached: bool = False
    ) -> dict[str, UserView]:
        """Read users by their ids, 100 per call; users that do not exist are absent.

        It raises for all if one user cannot be read: ask for fewer to find that user.
        """
        wanted = list(dict.fromkeys(_parse_id(each) for each in user_ids))
        found = self._find_users(wanted) if cached else {}
        missing = [each for each in wanted if each not in found]
        if missing:
            read_at = self._now()
            items = self._table.get(_user_key(each) for each in missing)
            for item in items.values():
                view = self._view(item, read_at)
                found[view.user_id] = view
        return {user_id: found[user_id] for user_id in wanted if user_id in found}

    def by_email(self, email: str) -> UserView | None:
        """Read the user with an address, ignoring case; never from the cache.

        A domain with letters outside ASCII needs the package `idna` (`biome-users[idna]`).
        """
        address = address_key(email)
        key = (f"EMAIL#{address}", "EMAIL")
        for _ in range(OWNER_READS):
            item = self._table.get([key]).get(key)
            owner = None if item is None else _items.parse_owner(item)
            if owner is None:
                return None
            user = self.get(owner)
            if user is not None and user.email is not None and folded(user.email) == address:
                return user
        return None

    # --- sessions --------------------------------------------------------------------------

    def sessions(self, user_id: str | UUID) -> list[SessionView]:
        """Read the sessions of a user that have neither ended nor expired, oldest first.

        Costs two calls; the list is empty if the user does not exist.
        """
        user_id = _parse_id(user_id)
        key, now = _user_key(user_id), self._clock()
        user = self._table.get([key]).get(key)
        if user is None or not (named := _items.live_sessions(user)):
            return []
        items = self._table.get([key, *(_session_key(user_id, each) for each in named)])
        if (user := items.pop(key, None)) is None:
            return []
        found = {sort: self._session(item).view for (_, sort), item in items.items()}
        live = _items.live_sessions(user)
        current = [found.get(f"SESSION#{each}") for each, end in live.items() if end > now]
        return [each for each in current if each is not None]

    def check_session(
        self, user_id: str | UUID, session_id: str | UUID, *, cached: bool = False
    ) -> SessionCheck:
        """Return whether a session may continue, and if not, why."""
        user_id, session_id = _parse_id(user_id), _parse_id(session_id)
        if cached and (check := self._check_in_cache(user_id, session_id)):
            return check
        user, session = self._read_session(user_id, session_id)
        return self._check(user_id, session_id, user, session)

    def session_is_good(
        self, user_id: str | UUID, session_id: str | UUID, *, cached: bool = False
    ) -> bool:
        """Return True if a session may continue."""
        return self.check_session(user_id, session_id, cached=cached).good

    def _read_session(
        self, user_id: str, session_id: str
    ) -> tuple[UserView | None, StoredSession | None]:
        read_at = self._now()
        keys = _user_key(user_id), _session_key(user_id, session_id)
        found = self._table.get(keys)
        user_item, session_item = (found.get(key) for key in keys)
        user = None if user_item is None else self._view(user_item, read_at)
        session = None if session_item is None else self._session(session_item)
        if user is not None and session is not None:
            self._keep((user_id, session_id), (user.version, session), read_at)
        return user, session

    def _session(self, item: RawItem) -> StoredSession:
        return StoredSession.parse(item, credentials=self._attributes is None)

    def _check(
        self,
        user_id: str,
        session_id: str,
        user: UserView | None,
        session: StoredSession | None,
    ) -> SessionCheck:
        refusal = session_refusal(user, session, self._clock())
        expires_at = None if session is None else session.view.expires_at
        return SessionCheck(refusal, user_id, session_id, expires_at, user)

    # --- commands --------------------------------------------------------------------------

    def outcome(self, user_id: str | UUID, command_id: str | UUID) -> OutcomeView | None:
        """Read how a command to a user ended; `None` if it is not decided yet.

        The outcome is stored in the transaction that changes the user, so what the command changed
        is stored too. A service that has sent a command can wait for it by repeated reads.
        """
        key = (f"USER#{_parse_id(user_id)}", f"COMMAND#{_parse_id(command_id)}")
        item = self._table.get([key]).get(key)
        return None if item is None else _items.parse_outcome(item)

    # --- the cache -------------------------------------------------------------------------

    def forget(self, user_id: str | UUID) -> None:
        """Invalidate the cached user and the user's sessions.

        Call it from a subscriber to the events: a ban or a logout is then known as soon as its
        event arrives.
        """
        user_id = _parse_id(user_id)
        if self._cache is not None:
            self._cache.forget(user_id)

    def _find_users(self, user_ids: Iterable[str]) -> dict[str, UserView]:
        if self._cache is None:
            return {}
        asked = {user_id: self._cache.find(user_id) for user_id in user_ids}
        found = {user_id: view for user_id, view in asked.items() if view is not None}
        self._cache.count(hits=len(found), misses=len(asked) - len(found))
        return found

    def _check_in_cache(self, user_id: str, session_id: str) -> SessionCheck | None:
        """Check a session by cached data; return the check only if the session may continue.

        A negative result is always read again: otherwise a session that has just started would be
        rejected.
        """
        if self._cache is None:
            return None
        user = self._cache.find(user_id)
        version, session = self._cache.find((user_id, session_id)) or (None, None)
        # every change of a session increments the version of its user, so with an unchanged
        # version the session is unchanged
        known = user is not None and user.version == version
        check = self._check(user_id, session_id, user, session) if known else None
        self._cache.count(hits=1 if check else 0, misses=0 if check else 1)
        return check

    def _view(self, item: RawItem, read_at: float) -> UserView:
        view = _items.parse_user(item)
        self._keep(view.user_id, view, read_at)
        return view

    def _now(self) -> float:
        """Return the cache's time, for a read that starts."""
        return 0.0 if self._cache is None else self._cache.now()

    def _keep(self, key: object, value: object, read_at: float) -> None:
        if self._cache is not None:
            self._cache.keep(key, value, read_at)


class LoginReader(UserReader):
    """Reads users with their credentials, for a login service. It works with the policy reader."""

    _attributes = None

    def __init__(
        self,
        table: str = DEFAULT_TABLE,
        *,
        client: Any = None,
        cache: ReadCache | None = None,
        clock: Callable[[], datetime] = _utc_now,
        refresh_leeway: timedelta = REFRESH_LEEWAY,
    ) -> None:
        """Set the table; see `UserReader`.

        Args:
            table: the table's name.
            client: a boto3 client for DynamoDB.
            cache: the cache to use for `cached=True`.
            clock: returns the current time, with offset.
            refresh_leeway: how long a refresh token that was just replaced is accepted again; the
                worker's setting REFRESH_LEEWAY.
        """
        super().__init__(table, client=client, cache=cache, clock=clock)
        self._leeway = refresh_leeway

    def second_factor(self, user_id: str | UUID) -> SecondFactorView | None:
        """Read a user's second factor, to check a one-time password; never from the cache.

        Return `None` if the user does not exist or has not enabled it. Send the step that was
        checked with StartSession: the worker accepts each step once.
        """
        key = _user_key(_parse_id(user_id))
        factor_key = (key[0], "TWO_FACTOR")
        found = self._table.get([key, factor_key])
        if not found.keys() >= {key, factor_key}:
            return None
        secret = _items.parse_secret(found[factor_key])
        return SecondFactorView(secret, _items.last_totp_step(found[key]))

    def check_token(
        self,
        user_id: str | UUID,
        session_id: str | UUID,
        refresh_family_hash: str,
        refresh_token_hash: str,
    ) -> SessionCheck:
        """Return whether a session may continue and accepts a refresh token; never by cached data.

        Pass the hashes as in commands: SHA-256, 64 hexadecimal digits.
        """
        user_id, session_id = _parse_id(user_id), _parse_id(session_id)
        token = _parse_hash(refresh_family_hash), _parse_hash(refresh_token_hash)
        user, session = self._read_session(user_id, session_id)
        return self._check_token(user_id, session_id, user, session, token)

    def by_refresh_token(
        self, refresh_family_hash: str, refresh_token_hash: str
    ) -> SessionCheck | None:
        """Check the session of a token, for callers that have only the token.

        Pass the hashes as in commands. Return `None` if no session has such a family. The index
        that is read first may lag behind the table, so a new session may not be found for a moment.
        """
        token = _parse_hash(refresh_family_hash), _parse_hash(refresh_token_hash)
        for partition, sort in self._table.sessions_of_family(_items.at_rest(token[0])):
            user_id, session_id = partition.removeprefix("USER#"), sort.removeprefix("SESSION#")
            user, session = self._read_session(user_id, session_id)
            if user is not None and session is not None and session.has_family(token[0]):
                return self._check_token(user_id, session_id, user, session, token)
        return None

    def _check_token(
        self,
        user_id: str,
        session_id: str,
        user: UserView | None,
        session: StoredSession | None,
        token: tuple[str, str],
    ) -> SessionCheck:
        check = self._check(user_id, session_id, user, session)
        if check.refusal is not None or session is None:
            return check
        refusal = token_refusal(session, *token, self._clock(), self._leeway)
        return SessionCheck(refusal, user_id, session_id, check.expires_at, user)


def session_refusal(
    user: UserView | None, session: StoredSession | None, now: datetime
) -> SessionRefusal | None:
    """Return why a session may not continue; `None` if it may."""
    if user is None:
        return SessionRefusal.USER_NOT_FOUND
    shut_out = (
        (user.erased, SessionRefusal.USER_ERASED),
        (user.is_banned(now), SessionRefusal.USER_BANNED),
        (user.deactivated, SessionRefusal.USER_DEACTIVATED),
    )
    for applies, refusal in shut_out:
        if applies:
            return refusal
    if session is None:
        return SessionRefusal.SESSION_NOT_FOUND
    if session.view.expires_at <= now:
        return SessionRefusal.SESSION_EXPIRED
    if session.view.session_id not in user.live_sessions:
        return SessionRefusal.SESSION_ENDED
    return None


def token_refusal(
    session: StoredSession, family: str, part: str, now: datetime, leeway: timedelta
) -> SessionRefusal | None:
    """Return why a session that may continue does not accept a refresh token."""
    if not session.has_family(family):
        return SessionRefusal.REFRESH_TOKEN_UNKNOWN
    if not session.accepts(part, now, leeway):
        return SessionRefusal.REFRESH_TOKEN_REUSED
    return None


def _user_key(user_id: str) -> Key:
    return f"USER#{user_id}", "USER"


def _session_key(user_id: str, session_id: str) -> Key:
    return f"USER#{user_id}", f"SESSION#{session_id}"


def _parse_id(given: str | UUID) -> str:
    text = str(given).lower()
    if not _UUID.fullmatch(text) or set(text) in _NO_USER:
        raise ValueError("must be a UUID of the form 8-4-4-4-12, not nil or max")
    return text


def _parse_hash(given: str) -> str:
    if not _HASH.fullmatch(given):
        raise ValueError("must be 64 hexadecimal digits (SHA-256)")
    return given
