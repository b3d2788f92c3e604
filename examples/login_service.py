"""A login service: reads users, checks passwords, and sends what came of it as commands.

POST /login (e-mail and password) gives a refresh token; GET /session and POST /refresh take it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import signal
import sys
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from domain.commands import RecordLoginFailure, RotateRefreshToken, StartSession
from domain.values import TokenHash
from user_client import SessionCheck, SessionRefusal, UserCommands, UserReader

Answer = tuple[int, dict[str, str]]

LIFETIME = timedelta(days=30)
DECIDED_WITHIN = 10.0
"""Seconds to wait for the worker; a command takes a few hundredths."""
NO_SOONER = 0.3
"""Seconds until a wrong password is answered: more than hash, reads and message take."""
MOST_BYTES = 4096
WRONG: Answer = (401, {"error": "WrongEmailOrPassword"})
LATER: Answer = (503, {"error": "TryAgain"})


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
        family, part = (hashlib.sha256(each.encode()) for each in (self.family, self.part))
        return TokenHash(family.hexdigest()), TokenHash(part.hexdigest())


class LoginService:
    """Who may come in, by what the table says, and what has to be recorded of it."""

    def __init__(self, users: UserReader, commands: UserCommands) -> None:
        self._users = users
        self._commands = commands
        self._hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)
        # checked for those who are not there, so that the time taken does not tell who is
        self._nobody = self._hasher.hash(secrets.token_urlsafe(16))
        self._hashing = threading.Semaphore(4)  # 64 MiB each

    def login(self, email: str, password: str) -> Answer:
        """Check a password and begin a session; a wrong one is never answered sooner or later.

        One who is there costs a read and a message more than one who is not.
        """
        start = time.monotonic()
        answer = self._login(email, password)
        if answer == WRONG:
            time.sleep(max(0.0, start + NO_SOONER - time.monotonic()))
        return answer

    def _login(self, email: str, password: str) -> Answer:
        now = datetime.now(UTC)
        try:
            user = self._users.by_email(email)
        except ValueError:  # no address at all: nobody has it
            user = None
        right = self._verify(user.password_hash if user else None, password)
        if user is None or user.is_locked(now):  # in a lock even the right password tells nothing
            return WRONG
        if not right:
            self._commands.send(RecordLoginFailure(), user_id=user.user_id)
            return WRONG
        if refusal := user.login_refusal(now):  # told to who knows the password only
            return 403, {"error": refusal.value}
        if user.two_factor_enabled:
            return 403, {"error": "SecondFactorNeeded"}  # here the service asks for the code
        token = RefreshToken.new(user.user_id, str(uuid.uuid4()))
        expires_at = now + LIFETIME
        start = StartSession(
            token.session_id, *token.hashes, expires_at, user.credential_version, ("pwd",)
        )
        self._commands.send(start, user_id=user.user_id, expires_at=now + timedelta(minutes=1))
        return self._hand_out(token, expires_at)

    def session(self, token: RefreshToken) -> Answer:
        """Return whose session a token belongs to, if the session may continue."""
        check = self._check(token)
        if check.refusal is not None:
            return 401, {"error": check.refusal.value}
        return 200, {"user_id": token.user_id}

    def refresh(self, token: RefreshToken) -> Answer:
        """Exchange a token for the next one."""
        check = self._check(token)
        following = token.following()
        expires_at = datetime.now(UTC) + LIFETIME
        _, part = following.hashes
        rotate = RotateRefreshToken(token.session_id, *token.hashes, part, expires_at)
        if check.refusal is SessionRefusal.REFRESH_TOKEN_REUSED:
            self._commands.send(rotate, user_id=token.user_id)  # the worker ends the session
        if check.refusal is not None:
            return 401, {"error": check.refusal.value}
        self._commands.send(rotate, user_id=token.user_id)
        return self._hand_out(following, expires_at)

    def _check(self, token: RefreshToken) -> SessionCheck:
        hashes = (each.value for each in token.hashes)
        return self._users.check_session(token.user_id, token.session_id, *hashes)

    def _verify(self, password_hash: str | None, password: str) -> bool:
        try:
            with self._hashing:
                matches = self._hasher.verify(password_hash or self._nobody, password)
        except (VerificationError, InvalidHashError):
            return False
        return matches and password_hash is not None

    def _hand_out(self, token: RefreshToken, expires_at: datetime) -> Answer:
        """Give the token once the worker has stored its hash; if it refuses, that never comes."""
        deadline = time.monotonic() + DECIDED_WITHIN
        while time.monotonic() < deadline:
            if self._check(token):
                answer = {"refresh_token": token.text, "expires_at": expires_at.isoformat()}
                return 200, answer
            time.sleep(0.05)
        return LATER


class Handler(BaseHTTPRequestHandler):
    """The service by HTTP; behind something that speaks TLS and limits attempts by address."""

    service: LoginService
    timeout = 10

    def do_GET(self) -> None:
        """Answer GET /session."""
        self._answer({"/session": lambda: self.service.session(self._token())})

    def do_POST(self) -> None:
        """Answer POST /login and POST /refresh."""
        self._answer(
            {"/login": self._login, "/refresh": lambda: self.service.refresh(self._token())}
        )

    def _login(self) -> Answer:
        size = int(self.headers.get("Content-Length", ""))
        if not 0 < size <= MOST_BYTES:
            raise ValueError("the body is empty or too large")
        given = json.loads(self.rfile.read(size))
        email, password = given["email"], given["password"]
        if not (isinstance(email, str) and isinstance(password, str)):
            raise TypeError("e-mail address and password are strings")
        return self.service.login(email, password)

    def _token(self) -> RefreshToken:
        return RefreshToken.parse(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def _answer(self, routes: dict[str, object]) -> None:
        route = routes.get(self.path)
        try:
            status, body = route() if callable(route) else (404, {"error": "NotFound"})
        except (ValueError, KeyError, TypeError):
            status, body = 400, {"error": "BadRequest"}
        except Exception as error:  # noqa: BLE001 - never let in because of an error, never say more
            print(f"error: {type(error).__name__}", file=sys.stderr)
            status, body = LATER
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing: what is asked here is personal."""


def main() -> None:
    """Serve on 127.0.0.1 until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="0: any free one")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    Handler.service = LoginService(UserReader(), UserCommands(source="/login"))
    try:
        with ThreadingHTTPServer(("127.0.0.1", options.port), Handler) as server:
            print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        print("stopped")


if __name__ == "__main__":
    main()
