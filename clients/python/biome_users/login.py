"""The steps of a login service, in the order that docs/how-to/reading.md describes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from biome_users._models import Command
from biome_users.commands import (
    RecordLoginFailure,
    RotateRefreshToken,
    StartSession,
    UpgradePasswordHash,
)
from biome_users.errors import (
    NoAnswerError,
    RefusedError,
    SessionRefusedError,
    UnavailableError,
)
from biome_users.reader import LoginReader
from biome_users.second_factor import find_totp_step, recovery_code_hash
from biome_users.sender import UserCommands
from biome_users.tokens import RefreshToken
from biome_users.views import SessionRefusal, UserView

WRONG: Final = "WrongEmailOrPassword"
WRONG_CODE: Final = "WrongCode"
SECOND_FACTOR_REQUIRED: Final = "SecondFactorRequired"
_SHOWN_AS_WRONG: Final = frozenset({WRONG, "CredentialStale", "UserLocked", "UserErased"})
"""Access has ended since the password was read; the person must not learn more."""
_SHOWN_AS_WRONG_CODE: Final = frozenset({"SecondFactorReplayed", "CodeInvalid"})
_PAUSE: Final = 0.05
"""Seconds between two reads of an outcome; the worker takes a few hundredths."""


class Passwords(Protocol):
    """Hashes and checks passwords; examples/passwords.py implements it with argon2id."""

    def hash(self, password: str) -> str:
        """Return the argon2id hash of a password."""
        ...

    def verify(self, password_hash: str | None, password: str) -> bool:
        """Return True if a password is the one that was hashed.

        Without a hash, check a dummy hash, which must take equally long, and return False.
        """
        ...


@dataclass(frozen=True, slots=True)
class Login:
    """A session that was started or continued; give the token to the person."""

    token: RefreshToken
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class _Proof:
    """The proof of a second factor, as StartSession carries it."""

    methods: tuple[str, ...] = ("pwd",)
    totp_step: int | None = None
    recovery_code_hash: str | None = None


class LoginFlow:
    """Log users in, continue their sessions, and check their passwords again.

    All methods raise `RefusedError` with the code for the person, `SessionRefusedError` if the
    session of a token may not continue, and `NoAnswerError` if the worker does not decide in time.
    Limit attempts by network address before all of them.
    """

    def __init__(
        self,
        users: LoginReader,
        commands: UserCommands,
        passwords: Passwords,
        decrypt: Callable[[str, str], bytes],
        *,
        lifetime: timedelta = timedelta(days=30),
        timeout: float = 10.0,
        wrong_after: float = 0.3,
    ) -> None:
        """Set what the flow works with; makes no call.

        Args:
            users: reads users.
            commands: sends commands.
            passwords: hashes and checks passwords.
            decrypt: decrypts the secret of a second factor, given its ciphertext and the user id.
            lifetime: of a session after its last use.
            timeout: seconds to wait for the outcome of a command.
            wrong_after: seconds after which a wrong password is answered: longer than a hash, the
                reads and a message take, so that the time does not reveal who is a user.
        """
        self._users = users
        self._commands = commands
        self._passwords = passwords
        self._decrypt = decrypt
        self._lifetime = lifetime
        self._timeout = timeout
        self._wrong_after = wrong_after

    def log_in(
        self,
        email: str,
        password: str,
        *,
        code: str | None = None,
        recovery_code: str | None = None,
    ) -> Login:
        """Check password and second factor, and start a session.

        Raises:
            RefusedError: WrongEmailOrPassword, SecondFactorRequired, WrongCode, UserBanned,
                UserDeactivated, or another code of StartSession.
            ValueError: `code` or `recovery_code` cannot be one.
        """
        start = time.monotonic()
        if code is not None and not re.fullmatch(r"[0-9]{6}", "".join(code.split())):
            raise ValueError("a one-time password has six digits")
        recovery = None if recovery_code is None else recovery_code_hash(recovery_code)
        if recovery_code is not None and recovery is None:
            raise ValueError("not a recovery code")
        try:
            return self._log_in(email, password, code, recovery)
        except RefusedError as refused:
            if refused.code in _SHOWN_AS_WRONG_CODE:
                raise RefusedError(WRONG_CODE) from refused
            if refused.code not in _SHOWN_AS_WRONG:
                raise
            time.sleep(max(0.0, start + self._wrong_after - time.monotonic()))
            raise RefusedError(WRONG) from refused

    def _log_in(self, email: str, password: str, code: str | None, recovery: str | None) -> Login:
        try:
            user = self._users.by_email(email)
        except ValueError:  # not an address, so no user has it
            user = None
        user = self._check_password(user, password)
        # only a person who knows the password is told the reason
        if refusal := user.login_refusal(datetime.now(UTC)):
            raise RefusedError(refusal.value)
        return self._start_session(user, password, self._check_second_factor(user, code, recovery))

    def _check_password(self, user: UserView | None, password: str) -> UserView:
        """Return the user if the password is right, or else record a failure.

        During a lock no password is accepted.
        """
        matches = self._passwords.verify(user.password_hash if user else None, password)
        if user is None or user.is_locked(datetime.now(UTC)):
            raise RefusedError(WRONG)
        if not matches:
            self._commands.send(RecordLoginFailure(), user_id=user.user_id)
            raise RefusedError(WRONG)
        return user

    def _check_second_factor(
        self, user: UserView, code: str | None, recovery: str | None
    ) -> _Proof:
        """Check a one-time password; the worker checks a recovery code."""
        factor = self._users.second_factor(user.user_id) if user.two_factor_enabled else None
        if factor is None:
            return _Proof()
        if recovery is not None:
            return _Proof(("pwd", "mfa"), recovery_code_hash=recovery)
        if code is None:
            raise RefusedError(SECOND_FACTOR_REQUIRED)
        secret = self._decrypt(factor.secret_ciphertext, user.user_id)
        step = find_totp_step(secret, code, time.time(), after=factor.last_totp_step)
        if step is None:
            self._commands.send(RecordLoginFailure(stage="second_factor"), user_id=user.user_id)
            raise RefusedError(WRONG_CODE)
        return _Proof(("pwd", "otp"), totp_step=step)

    def _start_session(self, user: UserView, password: str, proof: _Proof) -> Login:
        now = datetime.now(UTC)
        login = Login(RefreshToken.new(user.user_id), now + self._lifetime)
        start = StartSession(
            **login.token.fields(),
            expires_at=login.expires_at,
            credential_version=user.credential_version,
            methods=[*proof.methods],
            totp_step=proof.totp_step,
            recovery_code_hash=proof.recovery_code_hash,
        )
        self.decide(start, user.user_id, expires_at=now + timedelta(minutes=1))
        if user.password_hash_legacy:  # the hash of another system is replaced now
            upgrade = UpgradePasswordHash(
                password_hash=self._passwords.hash(password),
                credential_version=user.credential_version,
            )
            self._commands.send(upgrade, user_id=user.user_id)
        return login

    def check(self, token: RefreshToken) -> UserView:
        """Check that the session of a token may continue; return its user."""
        hashes = token.refresh_family_hash, token.refresh_token_hash
        check = self._users.check_token(token.user_id, token.session_id, *hashes)
        if check.refusal is not None:
            raise SessionRefusedError(check.refusal.value)
        assert check.user is not None  # otherwise the check is refused
        return check.user

    def refresh(self, token: RefreshToken) -> Login:
        """Exchange a token for the next one; two tabs may exchange the same one within a moment."""
        login = Login(token.next(), datetime.now(UTC) + self._lifetime)
        rotate = RotateRefreshToken(
            **token.fields(),
            next_refresh_token_hash=login.token.refresh_token_hash,
            expires_at=login.expires_at,
        )
        try:
            self.check(token)
        except SessionRefusedError as refused:
            if refused.code == SessionRefusal.REFRESH_TOKEN_REUSED:
                # the worker ends the session of a token that was used twice
                self._commands.send(rotate, user_id=token.user_id)
            raise
        try:
            self.decide(rotate, token.user_id)
        except RefusedError as refused:  # the session has ended since the check
            raise SessionRefusedError(refused.code) from refused
        return login

    def authenticate(self, token: RefreshToken, password: str) -> UserView:
        """Check session and password, before a change that a stolen session must not make."""
        return self._check_password(self.check(token), password)

    def decide(self, command: Command, user_id: str, **envelope: Any) -> None:
        """Send a command and wait until the worker accepts it.

        The worker stores the outcome together with the change, under the id of the command.

        Args:
            command: what to do.
            user_id: whose command it is.
            **envelope: further arguments of `UserCommands.send`, such as `expected_version`.

        Raises:
            RefusedError: the worker rejected it.
            NoAnswerError: no outcome in time; the command may still be accepted.
        """
        command_id = self._commands.send(command, user_id=user_id, **envelope)
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            try:
                outcome = self._users.outcome(user_id, command_id)
            except UnavailableError:  # the command was sent: read again while there is time
                outcome = None
            if outcome is not None:
                if outcome.code is not None:
                    raise RefusedError(outcome.code)
                return
            time.sleep(_PAUSE)
        raise NoAnswerError(f"no outcome in {self._timeout} s")
