"""Read users for other services: by id, by address, and by session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from adapters.aws import client as aws
from adapters.aws.client import error_code
from adapters.dynamodb import DynamoDBUserRepository, MalformedItemError
from adapters.dynamodb.projection import OF_READERS
from application.addresses import parse_address
from application.ports import (
    CommandKey,
    LoadRequest,
    Snapshot,
    StoreUnavailableError,
    UserRepository,
)
from domain.policy import DEFAULT_POLICY
from domain.sessions import RefreshToken, Session
from domain.user import User
from domain.values import TokenHash, parse_id
from user_client.read_cache import ReadCache
from user_client.read_models import (
    OutcomeView,
    SecondFactorView,
    SessionCheck,
    SessionRefusal,
    SessionView,
    UnreadableError,
    UserView,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

DEFAULT_TABLE: Final = "users"


def _utc_now() -> datetime:
    return datetime.now(UTC)


class UserReader:
    """Reads the table of users; thread-safe, and never writes.

    Every read is consistent and current, unless the caller passes `cached=True`. All methods raise
    `StoreUnavailableError` if a read fails, for any exception of the SDK (try again; the
    `__cause__` contains it), `UnreadableError` if a stored item cannot be read, and
    `InvalidValueError`, a ValueError, for an invalid id, address or hash. See docs/reading.md.

    Create one in each process, after a fork: its client keeps connections open.

    Args:
        table: the table's name.
        client: a client for DynamoDB; by default it is created from the SDK's own settings, which
            raises `AwsConfigurationError` if there is no region, or no credentials.
        cache: the cache to use for `cached=True`, which has no effect without one.
        repository: replaces table and client, for example users in memory in tests.
        clock: returns the current time, with offset.
        refresh_leeway: how long a refresh token that was just replaced is accepted again; the
            worker's setting REFRESH_LEEWAY.
        credentials: False for a service that needs no hash of a password or a token, such as a
            mailer. The reader then works with the policy reader-without-credentials:
            `password_hash` of each view is `None`, and methods that need a credential raise
            `ValueError`. It has no effect on a given repository.
    """

    def __init__(
        self,
        table: str = DEFAULT_TABLE,
        *,
        client: DynamoDBClient | None = None,
        cache: ReadCache | None = None,
        repository: UserRepository | None = None,
        clock: Callable[[], datetime] = _utc_now,
        refresh_leeway: timedelta = DEFAULT_POLICY.refresh_leeway,
        credentials: bool = True,
    ) -> None:
        self._users: UserRepository = repository or DynamoDBUserRepository(
            client or aws.client("dynamodb"), table, attributes=None if credentials else OF_READERS
        )
        self._credentials = credentials
        self._cache = cache
        self._clock = clock
        self._leeway = refresh_leeway

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
            with self._reading() as read_at:
                read = self._users.get_many(missing)
            for user_id, user in read.items():
                found[user_id] = UserView.of(user)
                self._keep(user_id, found[user_id], read_at)
        return {user_id: found[user_id] for user_id in wanted if user_id in found}

    def by_email(self, email: str) -> UserView | None:
        """Read the user with an address, ignoring case; never from the cache."""
        address = parse_address(email)
        with self._reading() as read_at:
            user = self._users.get_by_email(address)
        return None if user is None else self._view(user, read_at)

    def second_factor(self, user_id: str | UUID) -> SecondFactorView | None:
        """Read a user's second factor, to check a one-time password; never from the cache.

        Return `None` if the user does not exist or has not enabled it. Send the step that was
        checked with StartSession: the worker accepts each step once.
        """
        user_id = _parse_id(user_id)
        self._require_credentials()
        with self._reading():
            snapshot = self._users.load(LoadRequest(two_factors={user_id}))
        if snapshot.unreadable:
            raise UnreadableError("the user's item or the item of the second factor is unreadable")
        user = snapshot.users.get(user_id)
        if user is None or user.two_factor is None:
            return None
        return SecondFactorView(user.two_factor.secret_ciphertext, user.last_totp_step)

    # --- sessions --------------------------------------------------------------------------

    def sessions(self, user_id: str | UUID) -> list[SessionView]:
        """Read the sessions of a user that have neither ended nor expired, oldest first.

        Costs two calls; the list is empty if the user does not exist.
        """
        user_id = _parse_id(user_id)
        with self._reading():
            known = self._users.get(user_id)
            named = {(user_id, key) for key in known.live_sessions} if known else set()
            snapshot = self._users.load(LoadRequest(sessions=named)) if named else Snapshot()
        if snapshot.unreadable:
            raise UnreadableError("the item of the user or of a session cannot be read")
        user, now = snapshot.users.get(user_id), self._clock()
        if user is None:
            return []
        live = [user.sessions[key] for key in user.live_sessions if key in user.sessions]
        return [SessionView.of(each) for each in live if user.has_session(each.session_id, now)]

    def by_refresh_token(
        self, refresh_family_hash: str, refresh_token_hash: str
    ) -> SessionCheck | None:
        """Check the session of a token, for callers that have only the token.

        Pass the hashes as in commands: SHA-256, 64 hexadecimal digits. Return `None` if no session
        has such a family. The index that is read first may lag behind the table, so a new session
        may not be found for a moment.
        """
        token = _parse_token(refresh_family_hash, refresh_token_hash)
        self._require_credentials()
        with self._reading() as read_at:
            user = self._users.get_by_refresh_family(token.family.stored)
        if user is None:
            return None
        (session,) = user.sessions.values()
        return self._check(
            user.user_id, session.session_id, self._view(user, read_at), session, token
        )

    def check_session(
        self,
        user_id: str | UUID,
        session_id: str | UUID,
        refresh_family_hash: str | None = None,
        refresh_token_hash: str | None = None,
        *,
        cached: bool = False,
    ) -> SessionCheck:
        """Return whether a session may continue, and if not, why.

        With the hashes of a refresh token (as in commands), the session must also accept this
        token; that is never decided by cached data.

        Raises:
            ValueError: one hash is given without the other, or both and `cached`, or both and the
                reader has no credentials.
        """
        user_id, session_id = _parse_id(user_id), _parse_id(session_id)
        token = None
        if refresh_family_hash is not None and refresh_token_hash is not None:
            token = _parse_token(refresh_family_hash, refresh_token_hash)
            self._require_credentials()
        elif refresh_family_hash != refresh_token_hash:
            raise ValueError("a refresh token has two hashes: pass both")
        if cached and token is not None:
            raise ValueError("a refresh token cannot be checked against the cache")
        if cached and (check := self._check_in_cache(user_id, session_id)):
            return check
        with self._reading() as read_at:
            snapshot = self._users.load(LoadRequest(sessions={(user_id, session_id)}))
        if snapshot.unreadable:
            raise UnreadableError("the item of the user or of the session cannot be read")
        user = snapshot.users.get(user_id)
        session = None if user is None else user.sessions.get(session_id)
        view = None if user is None else self._view(user, read_at)
        if view is not None and session is not None:
            self._keep((user_id, session_id), (view.version, session), read_at)
        return self._check(user_id, session_id, view, session, token)

    def session_is_good(
        self, user_id: str | UUID, session_id: str | UUID, *, cached: bool = False
    ) -> bool:
        """Return True if a session may continue."""
        return self.check_session(user_id, session_id, cached=cached).good

    def _check(
        self,
        user_id: str,
        session_id: str,
        user: UserView | None,
        session: Session | None,
        token: RefreshToken | None,
    ) -> SessionCheck:
        refusal = why_not(user, session, token, self._clock(), self._leeway)
        expires_at = None if session is None else session.expires_at
        return SessionCheck(refusal, user_id, session_id, expires_at, user)

    # --- commands --------------------------------------------------------------------------

    def outcome(self, user_id: str | UUID, command_id: str | UUID) -> OutcomeView | None:
        """Read how a command to a user ended; `None` if it is not decided yet.

        The outcome is stored in the transaction that changes the user, so what the command changed
        is stored too. A service that has sent a command can wait for it by repeated reads.
        """
        key = CommandKey(_parse_id(user_id), _parse_id(command_id))
        with self._reading():
            outcome = self._users.outcome(key)
        return None if outcome is None else OutcomeView.of(outcome)

    # --- the cache -------------------------------------------------------------------------

    def forget(self, user_id: str | UUID) -> None:
        """Invalidate the cached user and the user's sessions.

        Call it from a subscriber to the events: a ban or a logout is then known as soon as its
        event arrives.
        """
        if self._cache is not None:
            self._cache.forget(_parse_id(user_id))

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
        check = self._check(user_id, session_id, user, session, None) if known else None
        self._cache.count(hits=1 if check else 0, misses=0 if check else 1)
        return check

    def _view(self, user: User, read_at: float) -> UserView:
        view = UserView.of(user)
        self._keep(view.user_id, view, read_at)
        return view

    def _keep(self, key: object, value: object, read_at: float) -> None:
        if self._cache is not None:
            self._cache.keep(key, value, read_at)

    def _require_credentials(self) -> None:
        if not self._credentials:
            raise ValueError("this reader was created with credentials=False")

    @contextmanager
    def _reading(self) -> Iterator[float]:
        """Translate exceptions of a read; yield the cache's time at its start."""
        read_at = 0.0 if self._cache is None else self._cache.now()
        try:
            yield read_at
        except MalformedItemError as error:
            raise UnreadableError(str(error)) from error
        except StoreUnavailableError:
            raise
        except Exception as error:
            # from the SDK (credentials that cannot be refreshed), or a proxy's page as an answer
            raise StoreUnavailableError(f"a read failed with {error_code(error)}") from error


def _parse_id(given: str | UUID) -> str:
    return parse_id(str(given))


def _parse_token(refresh_family_hash: str, refresh_token_hash: str) -> RefreshToken:
    return RefreshToken(TokenHash.parse(refresh_family_hash), TokenHash.parse(refresh_token_hash))


def why_not(
    user: UserView | None,
    session: Session | None,
    token: RefreshToken | None,
    now: datetime,
    leeway: timedelta = DEFAULT_POLICY.refresh_leeway,
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
    if session.expires_at <= now:
        return SessionRefusal.SESSION_EXPIRED
    if session.session_id not in user.live_sessions:
        return SessionRefusal.SESSION_ENDED
    return None if token is None else _why_not_token(session, token, now, leeway)


def _why_not_token(
    session: Session, token: RefreshToken, now: datetime, leeway: timedelta
) -> SessionRefusal | None:
    if not session.is_of_family(token):
        return SessionRefusal.REFRESH_TOKEN_UNKNOWN
    accepted = session.accepts(token.part, now, leeway)
    return None if accepted else SessionRefusal.REFRESH_TOKEN_REUSED
