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
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from passwords import Passwords
from second_factor import DecryptionError, SecretCipher

from biome_users import (
    Login,
    LoginFlow,
    LoginReader,
    MailedTokens,
    NoAnswerError,
    RefreshToken,
    RefusedError,
    SessionRefusedError,
    UserCommands,
    token_hash,
)
from biome_users.commands import (
    ChangePassword,
    EnableTwoFactor,
    RequestPasswordReset,
    ResetPassword,
    RevokeOtherSessions,
    RevokeSession,
)
from biome_users.second_factor import (
    find_totp_step,
    new_recovery_codes,
    new_totp_secret,
    recovery_code_hash,
    setup_uri,
)

Answer = tuple[int, dict[str, Any]]

RESET_LIFETIME = timedelta(hours=1)
MAX_BYTES = 4096

DONE: Answer = (200, {})
BAD_REQUEST: Answer = (400, {"error": "BadRequest"})
NOT_FOUND: Answer = (404, {"error": "NotFound"})
WRONG: Answer = (401, {"error": "WrongEmailOrPassword"})
WRONG_CODE: Answer = (401, {"error": "WrongCode"})
TOKEN_INVALID: Answer = (401, {"error": "TokenInvalid"})
LATER: Answer = (503, {"error": "TryAgain"})
REJECTIONS: dict[str, Answer] = {
    "WrongEmailOrPassword": WRONG,
    "CredentialStale": WRONG,  # access has ended since the password was read
    "UserLocked": WRONG,
    "UserErased": WRONG,
    "UserBanned": (403, {"error": "UserBanned"}),
    "UserDeactivated": (403, {"error": "UserDeactivated"}),
    "SecondFactorRequired": (401, {"error": "SecondFactorRequired"}),
    "WrongCode": WRONG_CODE,
    "SecondFactorReplayed": WRONG_CODE,
    "CodeInvalid": WRONG_CODE,
    "TwoFactorAlreadyEnabled": (409, {"error": "TwoFactorAlreadyEnabled"}),
    "TokenInvalid": TOKEN_INVALID,
    "TokenExpired": TOKEN_INVALID,
    "SessionNotFound": (401, {"error": "SessionNotFound"}),
    "SessionExpired": (401, {"error": "SessionExpired"}),
    "RefreshTokenReused": (401, {"error": "RefreshTokenReused"}),
}
"""The answer by the code; after any other code, trying again may help."""


class LoginService:
    """Handle the requests; `LoginFlow` has the steps of a login."""

    def __init__(
        self,
        users: LoginReader,
        commands: UserCommands,
        cipher: SecretCipher,
        tokens: MailedTokens,
        **limits: Any,
    ) -> None:
        self._users = users
        self._commands = commands
        self._cipher = cipher
        self._tokens = tokens
        self._passwords = Passwords()
        self._flow = LoginFlow(users, commands, self._passwords, cipher.decrypt, **limits)

    # --- sessions ------------------------------------------------------------------------

    def login(self, email: str, password: str, **factor: str) -> Answer:
        """Check password and second factor, and start a session."""
        return _handed_out(self._flow.log_in(email, password, **factor))

    def session(self, token: RefreshToken) -> Answer:
        """Return whose session a token belongs to, if the session may continue."""
        return 200, {"user_id": self._flow.check(token).user_id}

    def refresh(self, token: RefreshToken) -> Answer:
        """Exchange a token for the next one."""
        return _handed_out(self._flow.refresh(token))

    def logout(self, token: RefreshToken) -> Answer:
        """End the session of a token."""
        self._flow.check(token)
        self._flow.decide(RevokeSession(session_id=uuid.UUID(token.session_id)), token.user_id)
        return DONE

    def sessions(self, token: RefreshToken) -> Answer:
        """List the sessions of the user to whom a token belongs."""
        self._flow.check(token)
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
        self._flow.check(token)
        self._flow.decide(
            RevokeOtherSessions(session_id=uuid.UUID(token.session_id)), token.user_id
        )
        return DONE

    # --- change and reset of the password ------------------------------------------------

    def change_password(self, token: RefreshToken, password: str, new_password: str) -> Answer:
        """Set a new password. All sessions end, so the person logs in again."""
        user = self._flow.authenticate(token, password)
        change = ChangePassword(
            password_hash=self._passwords.hash(new_password),
            credential_version=user.credential_version,
        )
        self._flow.decide(change, user.user_id)
        return DONE

    def request_reset(self, email: str) -> Answer:
        """Ask for a reset mail. The answer and its time are the same for an unknown address.

        The command names the user by address, so the service need not look for the user.
        """
        token_id = uuid.uuid4()
        request = RequestPasswordReset(
            email=email,
            token_id=token_id,
            token_hash=token_hash(self._tokens.token("reset", token_id)),
            expires_at=datetime.now(UTC) + RESET_LIFETIME,
        )
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
        hashed = self._passwords.hash(password)
        reset = ResetPassword(token_hash=token_hash(derived), password_hash=hashed)
        self._flow.decide(reset, user_id)
        return DONE

    # --- enabling the second factor ------------------------------------------------------

    def prepare_second_factor(self, token: RefreshToken) -> Answer:
        """Create a secret for an authenticator app. Nothing is stored yet."""
        user = self._flow.check(token)
        secret = new_totp_secret()
        return 200, {
            "secret": base64.b32encode(secret).decode(),
            "uri": setup_uri(secret, user.email or "", "Biome"),
            "setup": self._cipher.encrypt(secret, token.user_id),
        }

    def confirm_second_factor(
        self, token: RefreshToken, setup: str, code: str, password: str
    ) -> Answer:
        """Enable the second factor if a code shows that the app has the secret.

        The recovery codes are returned once; only their hashes are stored.
        """
        try:
            secret = self._cipher.decrypt(setup, token.user_id)
        except DecryptionError:
            return BAD_REQUEST
        user = self._flow.authenticate(token, password)
        if find_totp_step(secret, code, time.time()) is None:
            return WRONG_CODE
        codes = new_recovery_codes()
        hashes = [hashed for each in codes if (hashed := recovery_code_hash(each))]
        enable = EnableTwoFactor(secret_ciphertext=setup, recovery_code_hashes=hashes)
        # rejected if anything of the user has changed since the session was checked
        self._flow.decide(enable, user.user_id, expected_version=user.version)
        return 200, {"recovery_codes": codes}


def answer_of(request: Callable[[], Answer]) -> Answer:
    """Run a request; return its answer, also if it is refused."""
    try:
        return request()
    except SessionRefusedError as refused:
        return 401, {"error": refused.code}
    except RefusedError as refused:
        return REJECTIONS.get(refused.code, LATER)
    except NoAnswerError:
        return LATER


def _handed_out(login: Login) -> Answer:
    return 200, {"refresh_token": str(login.token), "expires_at": login.expires_at.isoformat()}


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


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
            status, body = NOT_FOUND if route is None else answer_of(route)
        except (ValueError, KeyError, TypeError, RecursionError):
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
    tokens = MailedTokens(read_key("TOKEN_KEY").encode())  # the text, as password_reset.py does
    Handler.service = LoginService(LoginReader(), UserCommands(source="/login"), cipher, tokens)
    try:
        with ThreadingHTTPServer(("127.0.0.1", options.port), Handler) as server:
            print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        print("stopped")


if __name__ == "__main__":
    main()
