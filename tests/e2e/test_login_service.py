"""The unchanged login service examples, in Python and in Node, run against a worker."""

from __future__ import annotations

import http.client
import json
import secrets
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from tests.e2e.account import ROOT, World, running, talk_of
from tests.e2e.worker_process import eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(150),  # the first test with Node waits for a registry
    pytest.mark.xdist_group("readme"),
]

WRONG = (401, {"error": "WrongEmailOrPassword"})
HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


@dataclass(frozen=True, slots=True)
class Service:
    """A running login service, and the worker behind it."""

    world: World
    port: int
    name: str
    output: Path

    def ask(
        self, method: str, path: str, body: Any = None, token: str | None = None
    ) -> tuple[int, dict[str, str]]:
        """Send an HTTP request; return status and answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        content = body if isinstance(body, str | None) else json.dumps(body)
        connection.request(method, path, content, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        return response.status, answer

    def login(self, email: str, password: str) -> tuple[int, dict[str, str]]:
        """Log in."""
        return self.ask("POST", "/login", {"email": email, "password": password})

    def token(self, email: str, password: str) -> str:
        """Log in, which must succeed; return the refresh token."""
        status, answer = self.login(email, password)
        assert status == 200, answer
        return answer["refresh_token"]

    def refresh(self, token: str) -> str:
        """Exchange a token, which must succeed; return the next one."""
        status, answer = self.ask("POST", "/refresh", token=token)
        assert status == 200, answer
        return answer["refresh_token"]

    def session(self, token: str) -> tuple[int, dict[str, str]]:
        """Ask to which user a token's session belongs."""
        return self.ask("GET", "/session", token=token)

    def send(self, user_id: str, command: str, data: dict[str, Any]) -> dict[str, Any]:
        """Send a command, as another service; return its event."""
        return self.world.send(user_id, command, data)

    def register(self, who: str) -> tuple[str, str, str]:
        """Register a user; return the user id, the address and the password."""
        user_id, password = str(uuid.uuid4()), secrets.token_urlsafe(12)
        email = f"{who}.{self.name}@example.com"
        data = {"email": email, "first_name": "Ada", "last_name": "Lovelace"}
        made = self.send(user_id, "RegisterUser", {**data, "password_hash": HASHER.hash(password)})
        assert made["type"] == "biome.user.UserRegistered.v1"
        return user_id, email, password

    def failed(self, user_id: str, times: int) -> None:
        """Wait until this number of failures was recorded."""
        eventually(lambda: len(self.events(user_id, "LoginFailed")) == times)

    def events(self, user_id: str, name: str) -> list[dict[str, Any]]:
        """Return a user's events of a type so far."""
        return self.world.events(subject=user_id, type=f"biome.user.{name}.v1")


@contextmanager
def serving(world: World, name: str, command: list[str | Path]) -> Iterator[Service]:
    """Run a service on a free port."""
    output = world.folder / f"login-{name}"
    arguments = [*map(str, command), "--port", "0"]
    with running(arguments, world.environment, output, "listening on"):
        port = int(output.read_text().strip().rpartition(":")[2])
        yield Service(world, port, name, output)


@pytest.fixture(scope="module")
def python_service(world: World) -> Iterator[Service]:
    """The example in Python."""
    program = ROOT / "examples" / "login_service.py"
    with serving(world, "python", [sys.executable, program]) as service:
        yield service
    assert_ended_cleanly(service)


@pytest.fixture(scope="module")
def node_service(world: World, node: Path) -> Iterator[Service]:
    """The example in Node."""
    with serving(world, "node", ["node", node / "login.mjs"]) as service:
        yield service
    assert_ended_cleanly(service)


def assert_ended_cleanly(service: Service) -> None:
    """Check that it logged one line at SIGTERM, and no error before."""
    assert service.output.read_text().splitlines()[1:] == ["stopped"]
    assert "error: " not in talk_of(service.output).read_text()


@pytest.fixture(params=["python_service", "node_service"])
def service(request: pytest.FixtureRequest) -> Service:
    """Each example in turn."""
    found: Service = request.getfixturevalue(request.param)
    return found


def test_a_good_login_starts_a_session_that_can_be_renewed(service: Service) -> None:
    """The letter case of the address is ignored. Renewal replaces the previous token."""
    user_id, email, password = service.register("good")
    token = service.token(f" {email.upper()}", password)
    assert service.session(token) == (200, {"user_id": user_id})
    (started,) = eventually(lambda: service.events(user_id, "SessionStarted"))
    assert started["data"]["session_id"] in token

    renewed = service.refresh(service.refresh(token))
    assert service.session(renewed) == (200, {"user_id": user_id})
    assert service.session(token) == (401, {"error": "RefreshTokenReused"})


def test_two_tabs_that_share_a_token_both_continue(service: Service) -> None:
    """So does a client that repeats an exchange because the answer was lost. No alarm is raised."""
    user_id, email, password = service.register("tabs")
    shared = service.token(email, password)
    with ThreadPoolExecutor(2) as tabs:
        renewed = list(tabs.map(service.refresh, [shared, shared]))
    assert len(set(renewed)) == 2
    for token in renewed:
        assert service.session(service.refresh(token)) == (200, {"user_id": user_id})
    assert service.events(user_id, "RefreshTokenReuseDetected") == []


def test_the_reuse_of_a_token_ends_its_session(service: Service) -> None:
    """The token may be stolen, so the session ends for everyone, after any number of exchanges."""
    user_id, email, password = service.register("reused")
    stolen = first = service.token(email, password)
    for _ in range(3):
        stolen = service.refresh(stolen)

    assert service.ask("POST", "/refresh", token=first) == (401, {"error": "RefreshTokenReused"})
    eventually(lambda: service.events(user_id, "RefreshTokenReuseDetected"))
    assert service.session(stolen) == (401, {"error": "SessionNotFound"})


def test_five_wrong_passwords_lock_and_an_unlock_lets_in(service: Service) -> None:
    """While locked, the right password gets the same answer as a wrong one."""
    user_id, email, password = service.register("locked")
    for failures in range(1, 6):
        assert service.login(email, "not the password") == WRONG
        service.failed(user_id, failures)
    eventually(lambda: service.events(user_id, "UserLocked"))
    assert service.login(email, password) == WRONG
    assert service.login(email, "not the password") == WRONG

    service.send(user_id, "UnlockUser", {})
    assert service.session(service.token(email, password)) == (200, {"user_id": user_id})
    assert len(service.events(user_id, "LoginFailed")) == 5


@pytest.mark.parametrize(
    ("command", "data", "code"),
    [
        ("BanUser", {"reason": "chargeback fraud"}, "UserBanned"),
        ("DeactivateUser", {}, "UserDeactivated"),
    ],
)
def test_who_is_shut_out_loses_the_session_and_gets_no_other(
    service: Service, command: str, data: dict[str, str], code: str
) -> None:
    """The reason is given only with the right password."""
    user_id, email, password = service.register(command)
    token = service.token(email, password)
    service.send(user_id, command, data)
    assert service.session(token) == (401, {"error": code})
    assert service.ask("POST", "/refresh", token=token) == (401, {"error": code})
    assert service.login(email, password) == (403, {"error": code})
    assert service.login(email, "not the password") == WRONG


def test_a_new_password_ends_the_sessions_of_the_old_one(service: Service) -> None:
    """The old password is no longer accepted."""
    user_id, email, password = service.register("changed")
    token = service.token(email, password)
    change = {"password_hash": HASHER.hash("another password"), "credential_version": 1}
    service.send(user_id, "ChangePassword", change)
    assert service.session(token) == (401, {"error": "SessionEnded"})
    assert service.ask("POST", "/refresh", token=token) == (401, {"error": "SessionEnded"})
    assert service.login(email, password) == WRONG
    assert service.session(service.token(email, "another password"))[0] == 200


def test_the_erased_and_the_unknown_get_one_answer(service: Service) -> None:
    """The answer is also equally slow, so that it does not reveal who is, or was, a user."""
    user_id, email, password = service.register("erased")
    token = service.token(email, password)
    service.send(user_id, "EraseUser", {})
    for address in (email, "nobody@example.com", "no address"):
        start = time.monotonic()
        assert service.login(address, password) == WRONG
        assert time.monotonic() - start >= 0.3
    assert service.session(token) == (401, {"error": "UserErased"})


def test_a_user_without_a_password_gets_none_by_guessing(service: Service) -> None:
    """An admin created the user, who has to set a password first."""
    user_id, email = str(uuid.uuid4()), f"created.{service.name}@example.com"
    data = {"email": email, "first_name": "Alan", "last_name": "Turing", "roles": ["customer"]}
    service.send(user_id, "CreateUser", data)
    assert service.login(email, "a guess") == WRONG


def test_an_address_beyond_ascii_is_found_in_other_letters(service: Service) -> None:
    """Addresses are compared by Unicode case folding, as for their uniqueness."""
    user_id, email, password = service.register("straße.γιώργος")
    other = email.replace("straße", "STRASSE").replace("γιώργος", "ΓΙΏΡΓΟΣ")
    assert service.session(service.token(other, password)) == (200, {"user_id": user_id})


Request = Callable[[Service], tuple[int, dict[str, str]]]
MALFORMED: dict[str, Request] = {
    "no body": lambda s: s.ask("POST", "/login"),
    "no JSON": lambda s: s.ask("POST", "/login", "{"),
    "no object": lambda s: s.ask("POST", "/login", []),
    "null": lambda s: s.ask("POST", "/login", "null"),
    "no password": lambda s: s.ask("POST", "/login", {"email": "a@example.com"}),
    "no text": lambda s: s.ask("POST", "/login", {"email": "a@example.com", "password": 1}),
    "too large": lambda s: s.ask("POST", "/login", {"email": "a" * 5000, "password": "x"}),
    "no token": lambda s: s.ask("GET", "/session"),
    "a short token": lambda s: s.session("token"),
    "a long token": lambda s: s.session(".".join([str(uuid.uuid4())] * 5)),
    "no ids": lambda s: s.session("user.session.secret"),
    "no token to renew": lambda s: s.ask("POST", "/refresh", token="..."),
}


def test_malformed_requests_are_refused(service: Service) -> None:
    """Every malformed request gets the same answer, which repeats no input."""
    for name, request in MALFORMED.items():
        assert request(service) == (400, {"error": "BadRequest"}), name
    assert service.ask("GET", "/admin") == (404, {"error": "NotFound"})


def test_a_made_up_token_opens_nothing(service: Service) -> None:
    """A token with the right ids and another secret is refused too, and ends no session."""
    user_id, email, password = service.register("guessed")
    token = service.token(email, password)
    guessed = ".".join([*token.split(".")[:2], "guess", "guess"])
    assert service.session(guessed) == (401, {"error": "RefreshTokenUnknown"})
    assert service.ask("POST", "/refresh", token=guessed)[0] == 401
    assert service.session(token) == (200, {"user_id": user_id})
    other = f"{user_id}.{uuid.uuid4()}.guess.guess"
    assert service.session(other) == (401, {"error": "SessionNotFound"})
    nobody = f"{uuid.uuid4()}.{uuid.uuid4()}.guess.guess"
    assert service.session(nobody) == (401, {"error": "UserNotFound"})
