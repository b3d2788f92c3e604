"""A login service: reads users, checks passwords and second factors, and sends commands.

| request | body (JSON) | answer |
|---|---|---|
| POST /login | email, password; code or recovery_code | a refresh token |
| GET /session | | the user id of the session |
| POST /refresh | | the next refresh token |
| DELETE /session | | logs out |
| GET /sessions, DELETE /sessions?others | | lists the sessions; ends all others |
| POST /password | password, new_password | changes the password and ends all sessions |
| POST /reset-request | email | sends a reset mail, if a user has the address |
| POST /reset | token, password | sets the password and ends all sessions |
| POST /second-factor | | secret and URI for an authenticator app, and `setup` |
| POST /second-factor/confirm | setup, code, password | enables it; returns the recovery codes |

All but /login, /reset-request and /reset take the refresh token as `Authorization: Bearer`.
`setup` is the encrypted secret: nothing is stored until a code shows that the app has the secret.

Two environment variables, each 32 random bytes in Base64: SECOND_FACTOR_KEY encrypts the secrets of
second factors; TOKEN_KEY derives the tokens of reset mails, and the mailer has it too.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import secrets
import signal
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import second_factor
from passwords import Passwords
from second_factor import DecryptionError, SecretCipher

from domain.commands import (
    ChangePassword,
    Command,
    EnableTwoFactor,
    RecordLoginFailure,
    RequestPasswordReset,
    ResetPassword,
    RevokeOtherSessions,
    RevokeSession,
    RotateRefreshToken,
    StartSession,
    UpgradePasswordHash,
)
from domain.values import EmailAddress, PasswordHash, TokenHash
from user_client import (
    InvalidCommandError,
    SessionCheck,
    SessionRefusal,
    UserCommands,
    UserReader,
    UserView,
)

Answer = tuple[int, dict[str, Any]]

LIFETIME = timedelta(days=30)
RESET_LIFETIME = timedelta(hours=1)
DECIDED_WITHIN = 10.0
"""Seconds to wait for the worker; a command takes a few hundredths."""
NO_SOONER = 0.3
"""Seconds until a wrong password is answered: longer than hash, reads and message take."""
MAX_BYTES = 4096

DONE: Answer = (200, {})
BAD_REQUEST: Answer = (400, {"error": "BadRequest"})
NOT_FOUND: Answer = (404, {"error": "NotFound"})
WRONG: Answer = (401, {"error": "WrongEmailOrPassword"})
WRONG_CODE: Answer = (401, {"error": "WrongCode"})
SECOND_FACTOR_REQUIRED: Answer = (401, {"error": "SecondFactorRequired"})
TOKEN_INVALID: Answer = (401, {"error": "TokenInvalid"})
LATER: Answer = (503, {"error": "TryAgain"})
REJECTIONS: dict[str, Answer] = {
    "CredentialStale": WRONG,  # access has ended since the password was read
    "UserLocked": WRONG,
    "UserErased": WRONG,
    "UserBanned": (403, {"error": "UserBanned"}),
    "UserDeactivated": (403, {"error": "UserDeactivated"}),
    "SecondFactorRequired": SECOND_FACTOR_REQUIRED,
    "SecondFactorReplayed": WRONG_CODE,
    "CodeInvalid": WRONG_CODE,
    "TwoFactorAlreadyEnabled": (409, {"error": "TwoFactorAlreadyEnabled"}),
    "TokenInvalid": TOKEN_INVALID,
    "TokenExpired": TOKEN_INVALID,
    "SessionNotFound": (401, {"error": "SessionNotFound"}),
    "SessionExpired": (401, {"error": "SessionExpired"}),
    "RefreshTokenReused": (401, {"error": "RefreshTokenReused"}),
}
"""The answer by the worker's code; after any other code, trying again may help."""


class RefreshToken(NamedTuple):
    """Opaque to clients: names its session; `family` and `part` are 256 random bits each."""

    user_id: str
    session_id: str
    family: str
    part: str

    @classmethod
    def new(cls, user_id: str, session_id: str) -> RefreshToken:
        """Create the first token of a session."""
        return cls(user_id, session_id, secrets.token_urlsafe(32), secrets.token_urlsafe(32))

    @classmethod
    def parse(cls, text: str) -> RefreshToken:
        """Read what a client sends; raise ValueError if it is not a token."""
        user_id, session_id, family, part = text.split(".")
        return cls(str(uuid.UUID(user_id)), str(uuid.UUID(session_id)), family, part)

    def following(self) -> RefreshToken:
        """Create the next token of the session: of the same family, with another part."""
        return self._replace(part=secrets.token_urlsafe(32))

    @property
    def text(self) -> str:
        """Return the token as the client stores it."""
        return ".".join(self)

    @property
    def hashes(self) -> tuple[TokenHash, TokenHash]:
        """Return the hashes of family and part: only these are sent to the worker."""
        return sha256(self.family), sha256(self.part)


def sha256(text: str) -> TokenHash:
    """Return the SHA-256 of a token, as commands carry it."""
    return TokenHash(hashlib.sha256(text.encode()).hexdigest())


class Proof(NamedTuple):
    """How a person has proved the second factor, as StartSession carries it."""

    methods: tuple[str, ...] = ("pwd",)
    totp_step: int | None = None
    recovery_code_hash: TokenHash | None = None


class LoginService:
    """Decides by the stored users, and sends what has to be recorded as commands."""

    def __init__(
        self, users: UserReader, commands: UserCommands, cipher: SecretCipher, token_key: bytes
    ) -> None:
        self._users = users
        self._commands = commands
        self._cipher = cipher
        self._token_key = token_key
        self._passwords = Passwords()

    # --- login ---------------------------------------------------------------------------

    def login(
        self, email: str, password: str, code: str | None = None, recovery_code: str | None = None
    ) -> Answer:
        """Check password and second factor, and start a session.

        A wrong password is answered after a fixed time: a known user costs a read and a message
        more than an unknown one.
        """
        start = time.monotonic()
        code = None if code is None else second_factor.parse_code(code)
        recovery = (
            None if recovery_code is None else second_factor.recovery_code_hash(recovery_code)
        )
        answer = self._login(email, password, code, recovery)
        if answer == WRONG:
            time.sleep(max(0.0, start + NO_SOONER - time.monotonic()))
        return answer

    def _login(
        self, email: str, password: str, code: str | None, recovery: TokenHash | None
    ) -> Answer:
        try:
            user = self._users.by_email(email)
        except ValueError:  # not an address, so no user has it
            user = None
        if not self._knows_password(user, password) or user is None:
            return WRONG
        # only a person who knows the password is told the reason
        if refusal := user.login_refusal(datetime.now(UTC)):
            return 403, {"error": refusal.value}
        proof = self._check_second_factor(user, code, recovery)
        return self._start_session(user, password, proof) if isinstance(proof, Proof) else proof

    def _knows_password(self, user: UserView | None, password: str) -> bool:
        """Check a password and record a failure; during a lock no password is accepted."""
        matches = self._passwords.verify(user.password_hash if user else None, password)
        if user is None or user.is_locked(datetime.now(UTC)):
            return False
        if not matches:
            self._commands.send(RecordLoginFailure(), user_id=user.user_id)
        return matches

    def _check_second_factor(
        self, user: UserView, code: str | None, recovery: TokenHash | None
    ) -> Proof | Answer:
        """Check a one-time password; the worker checks a recovery code."""
        factor = self._users.second_factor(user.user_id) if user.two_factor_enabled else None
        if factor is None:
            return Proof()
        if recovery is not None:
            return Proof(("pwd", "mfa"), recovery_code_hash=recovery)
        if code is None:
            return SECOND_FACTOR_REQUIRED
        secret = self._cipher.decrypt(factor.secret_ciphertext, user.user_id)
        step = second_factor.find_step(secret, code, time.time(), after=factor.last_totp_step)
        if step is None:
            self._commands.send(RecordLoginFailure("second_factor"), user_id=user.user_id)
            return WRONG_CODE
        return Proof(("pwd", "otp"), totp_step=step)

    def _start_session(self, user: UserView, password: str, proof: Proof) -> Answer:
        token = RefreshToken.new(user.user_id, str(uuid.uuid4()))
        now = datetime.now(UTC)
        start = StartSession(
            token.session_id,
            *token.hashes,
            now + LIFETIME,
            user.credential_version,
            **proof._asdict(),
        )
        refused = self._decide(start, user.user_id, expires_at=now + timedelta(minutes=1))
        if refused is not None:
            return refused
        if user.password_hash_legacy:  # the hash of another system is replaced now
            better = PasswordHash(self._passwords.hash(password))
            upgrade = UpgradePasswordHash(better, user.credential_version)
            self._commands.send(upgrade, user_id=user.user_id)
        return self._hand_out(token, now + LIFETIME)

    @staticmethod
    def _hand_out(token: RefreshToken, expires_at: datetime) -> Answer:
        return 200, {"refresh_token": token.text, "expires_at": expires_at.isoformat()}

    def _decide(self, command: Command, user_id: str, **envelope: Any) -> Answer | None:
        """Send a command and wait for its outcome; return the answer if it was not accepted.

        The worker stores the outcome together with the change, under the id of the command.
        """
        command_id = self._commands.send(command, user_id=user_id, **envelope)
        deadline = time.monotonic() + DECIDED_WITHIN
        while time.monotonic() < deadline:
            if (outcome := self._users.outcome(user_id, command_id)) is not None:
                return None if outcome.code is None else REJECTIONS.get(outcome.code, LATER)
            time.sleep(0.05)
        return LATER

    # --- sessions ------------------------------------------------------------------------

    def session(self, token: RefreshToken) -> Answer:
        """Return whose session a token belongs to, if the session may continue."""
        check = self._check(token)
        return _refused(check) or (200, {"user_id": token.user_id})

    def refresh(self, token: RefreshToken) -> Answer:
        """Exchange a token for the next one."""
        check = self._check(token)
        following = token.following()
        expires_at = datetime.now(UTC) + LIFETIME
        _, part = following.hashes
        rotate = RotateRefreshToken(token.session_id, *token.hashes, part, expires_at)
        if check.refusal is SessionRefusal.REFRESH_TOKEN_REUSED:
            self._commands.send(rotate, user_id=token.user_id)  # the worker ends the session
        refused = _refused(check) or self._decide(rotate, token.user_id)
        return refused or self._hand_out(following, expires_at)

    def logout(self, token: RefreshToken) -> Answer:
        """End the session of a token."""
        revoke = RevokeSession(token.session_id)
        return _refused(self._check(token)) or self._decide(revoke, token.user_id) or DONE

    def sessions(self, token: RefreshToken) -> Answer:
        """List the sessions of the user to whom a token belongs."""
        if refused := _refused(self._check(token)):
            return refused
        listed = [
            {
                "session_id": each.session_id,
                "current": each.session_id == token.session_id,
                "started_at": _text(each.started_at),
                "last_used_at": _text(each.last_used_at),
                "methods": each.methods,
            }
            for each in self._users.sessions(token.user_id)
        ]
        return 200, {"sessions": listed}

    def end_other_sessions(self, token: RefreshToken) -> Answer:
        """End all sessions of the user except that of the token."""
        revoke = RevokeOtherSessions(token.session_id)
        return _refused(self._check(token)) or self._decide(revoke, token.user_id) or DONE

    def _check(self, token: RefreshToken) -> SessionCheck:
        hashes = (each.value for each in token.hashes)
        return self._users.check_session(token.user_id, token.session_id, *hashes)

    def _authenticate(self, token: RefreshToken, password: str) -> UserView | Answer:
        """Check session and password, before a change that a stolen session must not make."""
        check = self._check(token)
        if check.user is None or check.refusal is not None:
            return _refused(check) or WRONG
        return check.user if self._knows_password(check.user, password) else WRONG

    # --- change and reset of the password ------------------------------------------------

    def change_password(self, token: RefreshToken, password: str, new_password: str) -> Answer:
        """Set a new password. All sessions end, so the person logs in again."""
        user = self._authenticate(token, password)
        if not isinstance(user, UserView):
            return user
        hashed = PasswordHash(self._passwords.hash(new_password))
        change = ChangePassword(hashed, user.credential_version)
        return self._decide(change, user.user_id) or DONE

    def request_reset(self, email: str) -> Answer:
        """Ask for a reset mail. The answer and its time are the same for an unknown address.

        The command names the user by address, so the service need not look for the user.
        """
        token_id = str(uuid.uuid4())
        expires_at = datetime.now(UTC) + RESET_LIFETIME
        token_hash = sha256(self.derive_token(token_id))
        request = RequestPasswordReset(token_id, token_hash, expires_at, EmailAddress(email))
        self._commands.send(request)
        return 202, {}

    def reset(self, token: str, password: str) -> Answer:
        """Set a new password with the token of the mail. All sessions end.

        The mailer writes `<user id>.<derived token>`: PasswordResetRequested has the user id as its
        subject, and the id to derive the token from as `token_id`.
        """
        user_id, derived = token.split(".")
        user = self._users.get(user_id)
        if user is None or user.erased:
            return TOKEN_INVALID
        hashed = PasswordHash(self._passwords.hash(password))
        reset = ResetPassword(sha256(derived), hashed)
        return self._decide(reset, user_id) or DONE

    def derive_token(self, token_id: str) -> str:
        """Derive the token of a mail; in production with GenerateMac of KMS."""
        message = f"reset\n{token_id}".encode()  # a token of another kind of mail is not valid
        return hmac.new(self._token_key, message, hashlib.sha256).hexdigest()

    # --- enabling the second factor ------------------------------------------------------

    def prepare_second_factor(self, token: RefreshToken) -> Answer:
        """Create a secret for an authenticator app. Nothing is stored yet."""
        check = self._check(token)
        if check.user is None or check.refusal is not None:
            return _refused(check) or WRONG
        secret = second_factor.new_secret()
        return 200, {
            "secret": second_factor.base32(secret),
            "uri": second_factor.setup_uri(secret, check.user.email or ""),
            "setup": self._cipher.encrypt(secret, token.user_id),
        }

    def confirm_second_factor(
        self, token: RefreshToken, setup: str, code: str, password: str
    ) -> Answer:
        """Enable the second factor if a code shows that the app has the secret.

        The recovery codes are returned once; only their hashes are stored.
        """
        code = second_factor.parse_code(code)
        try:
            secret = self._cipher.decrypt(setup, token.user_id)
        except DecryptionError:
            return BAD_REQUEST
        user = self._authenticate(token, password)
        if not isinstance(user, UserView):
            return user
        if second_factor.find_step(secret, code, time.time()) is None:
            return WRONG_CODE
        codes = second_factor.new_recovery_codes()
        enable = EnableTwoFactor(setup, tuple(map(second_factor.recovery_code_hash, codes)))
        # rejected if anything of the user has changed since the session was checked
        refused = self._decide(enable, user.user_id, expected_version=user.version)
        return refused or (200, {"recovery_codes": codes})


def _refused(check: SessionCheck) -> Answer | None:
    return None if check.refusal is None else (401, {"error": check.refusal.value})


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


# --- HTTP ----------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """The service over HTTP; a proxy in front of it speaks TLS and limits attempts by address."""

    service: LoginService
    timeout = 10

    def _route(self) -> Callable[[], Answer] | None:
        service, token, fields = self.service, self._token, self._fields
        routes: dict[str, Callable[[], Answer]] = {
            "POST /login": lambda: service.login(
                **fields("email", "password", optional=("code", "recovery_code"))
            ),
            "GET /session": lambda: service.session(token()),
            "POST /refresh": lambda: service.refresh(token()),
            "DELETE /session": lambda: service.logout(token()),
            "GET /sessions": lambda: service.sessions(token()),
            "DELETE /sessions?others": lambda: service.end_other_sessions(token()),
            "POST /password": lambda: service.change_password(
                token(), **fields("password", "new_password")
            ),
            "POST /reset-request": lambda: service.request_reset(**fields("email")),
            "POST /reset": lambda: service.reset(**fields("token", "password")),
            "POST /second-factor": lambda: service.prepare_second_factor(token()),
            "POST /second-factor/confirm": lambda: service.confirm_second_factor(
                token(), **fields("setup", "code", "password")
            ),
        }
        return routes.get(f"{self.command} {self.path}")

    def _token(self) -> RefreshToken:
        return RefreshToken.parse(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def _fields(self, *required: str, optional: tuple[str, ...] = ()) -> dict[str, str]:
        """Read the fields of the body, which are non-empty strings."""
        size = int(self.headers.get("Content-Length", ""))
        if not 0 < size <= MAX_BYTES:
            raise ValueError("the body is empty or too large")
        body = json.loads(self.rfile.read(size))
        if not isinstance(body, dict):
            raise TypeError("the body is not an object")
        names = [*required, *(name for name in optional if body.get(name) is not None)]
        fields = {name: body[name] for name in names}
        for text in fields.values():
            if not isinstance(text, str) or not text.encode():
                raise TypeError("a field is missing, empty or not a string")
        return fields

    def do_GET(self) -> None:
        """Answer a request."""
        route = self._route()
        try:
            status, body = NOT_FOUND if route is None else route()
        except (ValueError, KeyError, TypeError, RecursionError, InvalidCommandError):
            status, body = BAD_REQUEST
        except Exception as error:  # noqa: BLE001 - an error never admits a person, and shows no cause
            print(f"error: {type(error).__name__}", file=sys.stderr)
            status, body = LATER
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_DELETE = do_GET  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        """Log nothing: requests contain personal data."""


def read_key(name: str) -> str:
    """Read 32 bytes in Base64 from an environment variable; exit if it is missing or invalid."""
    key = os.environ.get(name, "")
    try:
        valid = len(base64.b64decode(key, validate=True)) == 32  # noqa: PLR2004 - AES-256
    except ValueError:
        valid = False
    if not valid:
        sys.exit(
            f'{name} must contain 32 bytes in Base64. Create it with "openssl rand -base64 32".'
        )
    return key


def main() -> None:
    """Serve on 127.0.0.1 until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="Login service; see the docstring of the file.")
    parser.add_argument("--port", type=int, default=8080, help="0: any free one")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cipher = SecretCipher(base64.b64decode(read_key("SECOND_FACTOR_KEY")))
    token_key = read_key("TOKEN_KEY").encode()  # the text, as password_reset.py uses it
    Handler.service = LoginService(UserReader(), UserCommands(source="/login"), cipher, token_key)
    try:
        with ThreadingHTTPServer(("127.0.0.1", options.port), Handler) as server:
            print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        print("stopped")


if __name__ == "__main__":
    main()
