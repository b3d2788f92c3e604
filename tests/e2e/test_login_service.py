"""The unchanged login service examples, in Python and in Node, run against a worker."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import secrets
import subprocess
import sys
import time
import uuid
from base64 import b32decode, b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from argon2 import PasswordHasher

from biome_users import LoginReader, UserView
from tests.e2e.account import ROOT, World, client, running, talk_of
from tests.e2e.worker_process import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(150),  # the first test with Node waits for a registry
    pytest.mark.xdist_group("readme"),
]

WRONG = (401, {"error": "WrongEmailOrPassword"})
WRONG_CODE = (401, {"error": "WrongCode"})
TOKEN_INVALID = (401, {"error": "TokenInvalid"})
DONE: tuple[int, dict[str, Any]] = (200, {})
KEYS = {
    "SECOND_FACTOR_KEY": b64encode(secrets.token_bytes(32)).decode(),
    "TOKEN_KEY": b64encode(secrets.token_bytes(32)).decode(),
}
"""Both services have the same keys, as the processes of one service do."""
HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


Reply = tuple[int, dict[str, Any]]
"""Status and answer."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running login service, and the worker behind it."""

    world: World
    port: int
    name: str
    output: Path

    def ask(self, method: str, path: str, body: Any = None, token: str | None = None) -> Reply:
        """Send an HTTP request; return status and answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        content = body if isinstance(body, str | None) else json.dumps(body)
        connection.request(method, path, content, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        return response.status, answer

    def login(self, email: str, password: str, **factor: str) -> Reply:
        """Log in, perhaps with a `code` or a `recovery_code`."""
        return self.ask("POST", "/login", {"email": email, "password": password, **factor})

    def token(self, email: str, password: str, **factor: str) -> str:
        """Log in, which must succeed; return the refresh token."""
        status, answer = self.login(email, password, **factor)
        assert status == 200, answer
        token: str = answer["refresh_token"]
        return token

    def refresh(self, token: str) -> str:
        """Exchange a token, which must succeed; return the next one."""
        status, answer = self.ask("POST", "/refresh", token=token)
        assert status == 200, answer
        following: str = answer["refresh_token"]
        return following

    def session(self, token: str) -> Reply:
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

    def user(self, user_id: str) -> UserView:
        """Read a user from the table."""
        view = LoginReader(client=client("dynamodb", self.world.environment)).get(user_id)
        assert view is not None
        return view

    def mailed_token(self, user_id: str) -> str:
        """Wait for the event of a reset; return the token that the mailer writes."""
        (event,) = eventually(lambda: self.events(user_id, "PasswordResetRequested"))
        token_id = event["data"]["token_id"]
        derived = hmac.new(
            KEYS["TOKEN_KEY"].encode(), f"reset\n{token_id}".encode(), hashlib.sha256
        ).hexdigest()
        return f"{event['subject']}.{derived}"

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
    with running(arguments, {**world.environment, **KEYS}, output, "listening on"):
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


Request = Callable[[Service], Reply]
MALFORMED: dict[str, Request] = {
    "no body": lambda s: s.ask("POST", "/login"),
    "no JSON": lambda s: s.ask("POST", "/login", "{"),
    "no object": lambda s: s.ask("POST", "/login", []),
    "nested too deeply": lambda s: s.ask("POST", "/login", "[" * 4000),
    "null": lambda s: s.ask("POST", "/login", "null"),
    "no password": lambda s: s.ask("POST", "/login", {"email": "a@example.com"}),
    "no text": lambda s: s.ask("POST", "/login", {"email": "a@example.com", "password": 1}),
    "too large": lambda s: s.ask("POST", "/login", {"email": "a" * 5000, "password": "x"}),
    "no token": lambda s: s.ask("GET", "/session"),
    "a short token": lambda s: s.session("token"),
    "a long token": lambda s: s.session(".".join([str(uuid.uuid4())] * 5)),
    "no ids": lambda s: s.session("user.session.secret"),
    "no token to renew": lambda s: s.ask("POST", "/refresh", token="..."),
    "an empty password": lambda s: s.login("a@example.com", ""),
    "a lone surrogate": lambda s: s.login("a@example.com", "\ud800"),
    "a code of five digits": lambda s: s.login("a@example.com", "x", code="12345"),
    "a code of other digits": lambda s: s.login("a@example.com", "x", code="\u0661" * 6),
    "a code that is no text": lambda s: s.ask(
        "POST", "/login", {"email": "a@example.com", "password": "x", "code": 123456}
    ),
    "a short recovery code": lambda s: s.login("a@example.com", "x", recovery_code="abcd"),
    "a recovery code of other letters": lambda s: s.login(
        "a@example.com", "x", recovery_code="abcd-efgh-0189-mnop"
    ),
    "no token to list": lambda s: s.ask("GET", "/sessions"),
    "no token to log out": lambda s: s.ask("DELETE", "/session", token="a.b"),
    "no token to end others": lambda s: s.ask("DELETE", "/sessions?others"),
    "no token to change the password": lambda s: s.ask(
        "POST", "/password", {"password": "a", "new_password": "b"}
    ),
    "no address": lambda s: s.ask("POST", "/reset-request", {}),
    "an invalid address": lambda s: s.ask("POST", "/reset-request", {"email": "ada"}),
    "an invalid domain": lambda s: s.ask("POST", "/reset-request", {"email": "a@b..example"}),
    "an IP address": lambda s: s.ask("POST", "/reset-request", {"email": "a@127.0.0.1"}),
    "two dots": lambda s: s.ask("POST", "/reset-request", {"email": "a..b@example.com"}),
    "a reset without a token": lambda s: s.ask("POST", "/reset", {"password": "a"}),
    "a reset without a user": lambda s: s.ask("POST", "/reset", {"token": "a", "password": "a"}),
    "a reset without a password": lambda s: s.ask("POST", "/reset", {"token": f"{uuid.uuid4()}.a"}),
    "a reset of no id": lambda s: s.ask("POST", "/reset", {"token": "ada.a", "password": "a"}),
    "no token to prepare": lambda s: s.ask("POST", "/second-factor"),
    "no token to confirm": lambda s: s.ask(
        "POST", "/second-factor/confirm", {"setup": "a", "code": "123456", "password": "a"}
    ),
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
    guess = f"{'guess' * 8}abc"  # as long as a real part
    guessed = ".".join([*token.split(".")[:2], guess, guess])
    assert service.session(guessed) == (401, {"error": "RefreshTokenUnknown"})
    assert service.ask("POST", "/refresh", token=guessed)[0] == 401
    assert service.session(token) == (200, {"user_id": user_id})
    other = f"{user_id}.{uuid.uuid4()}.{guess}.{guess}"
    assert service.session(other) == (401, {"error": "SessionNotFound"})
    nobody = f"{uuid.uuid4()}.{uuid.uuid4()}.{guess}.{guess}"
    assert service.session(nobody) == (401, {"error": "UserNotFound"})


# --- sessions ------------------------------------------------------------------------------


def test_a_user_lists_sessions_and_ends_them(service: Service) -> None:
    """A logout ends one session, and `others` ends all but the one that asks."""
    user_id, email, password = service.register("devices")
    first, second, third = (service.token(email, password) for _ in range(3))
    status, answer = service.ask("GET", "/sessions", token=second)
    assert status == 200
    assert [each["current"] for each in answer["sessions"]] == [False, True, False]
    assert [each["methods"] for each in answer["sessions"]] == [["pwd"]] * 3
    assert all(
        each["session_id"] in token
        for each, token in zip(answer["sessions"], (first, second, third), strict=True)
    )

    assert service.ask("DELETE", "/session", token=first) == DONE
    assert service.session(first) == (401, {"error": "SessionNotFound"})
    assert service.ask("DELETE", "/sessions?others", token=second) == DONE
    assert service.session(third) == (401, {"error": "SessionEnded"})
    assert service.session(second) == (200, {"user_id": user_id})
    for method, path in (
        ("GET", "/sessions"),
        ("DELETE", "/session"),
        ("DELETE", "/sessions?others"),
    ):
        assert service.ask(method, path, token=third) == (401, {"error": "SessionEnded"})


# --- second factor -------------------------------------------------------------------------


def code_of(secret: str, ahead: int = 0) -> str:
    """Return the one-time password of the present step, or of a later one (RFC 6238)."""
    step = int(time.time()) // 30 + ahead
    digest = hmac.new(b32decode(secret), step.to_bytes(8, "big"), hashlib.sha1).digest()
    start = digest[19] & 15
    return f"{(int.from_bytes(digest[start : start + 4], 'big') & 0x7FFFFFFF) % 10**6:06d}"


def enabled(service: Service, token: str, password: str) -> tuple[str, list[str]]:
    """Enable the second factor; return the secret and the recovery codes."""
    status, prepared = service.ask("POST", "/second-factor", token=token)
    assert status == 200
    assert f"secret={prepared['secret']}" in prepared["uri"]
    body = {"setup": prepared["setup"], "code": code_of(prepared["secret"]), "password": password}
    status, answer = service.ask("POST", "/second-factor/confirm", body, token)
    assert status == 200, answer
    codes: list[str] = answer["recovery_codes"]
    assert len(set(codes)) == 10
    return prepared["secret"], codes


def test_a_login_needs_the_second_factor_once_it_is_enabled(service: Service) -> None:
    """A wrong code is counted, and a code that was used starts no other session."""
    user_id, email, password = service.register("factor")
    first = service.token(email, password)
    secret, _ = enabled(service, first, password)

    required = (401, {"error": "SecondFactorRequired"})
    assert service.login(email, password) == required
    assert service.login(email, "not the password", code=code_of(secret)) == WRONG
    assert service.login(email, password, code=code_of(secret, 5)) == WRONG_CODE
    service.failed(user_id, 2)
    stages = [each["data"]["stage"] for each in service.events(user_id, "LoginFailed")]
    assert stages == ["password", "second_factor"]

    code = code_of(secret)
    token = service.token(email, password, code=f"{code[:3]} {code[3:]}")
    assert service.session(token) == (200, {"user_id": user_id})
    status, answer = service.ask("GET", "/sessions", token=token)
    assert (status, answer["sessions"][-1]["methods"]) == (200, ["pwd", "otp"])
    assert service.login(email, password, code=code) == WRONG_CODE
    assert len(service.user(user_id).live_sessions) == 2  # with that of the registration


def test_a_code_that_is_sent_twice_at_once_starts_one_session(service: Service) -> None:
    """Both logins may have read the same last step, so the worker decides."""
    user_id, email, password = service.register("twice")
    secret, _ = enabled(service, service.token(email, password), password)
    code = code_of(secret)
    with ThreadPoolExecutor(2) as tabs:
        replies = list(tabs.map(lambda _: service.login(email, password, code=code), range(2)))
    statuses = sorted(status for status, _ in replies)
    assert statuses == [200, 401]
    assert WRONG_CODE in replies
    assert len(service.user(user_id).live_sessions) == 2  # with that of the registration


def test_a_recovery_code_is_accepted_once(service: Service) -> None:
    """A person may type it in any case and grouping. A wrong one counts as a failure."""
    user_id, email, password = service.register("recovery")
    _, codes = enabled(service, service.token(email, password), password)
    typed = codes[3].upper().replace("-", " ")
    token = service.token(email, password, recovery_code=typed)
    assert service.session(token) == (200, {"user_id": user_id})
    assert service.login(email, password, recovery_code=codes[3]) == WRONG_CODE
    service.failed(user_id, 1)
    assert service.events(user_id, "LoginFailed")[0]["data"]["stage"] == "second_factor"
    assert service.login(email, "not the password", recovery_code=codes[4]) == WRONG
    service.token(email, password, recovery_code=codes[4])


def test_the_second_factor_is_enabled_by_session_password_and_code(service: Service) -> None:
    """None of the three alone is enough, and the setup of another user is refused."""
    user_id, email, password = service.register("enabling")
    token = service.token(email, password)
    _, prepared = service.ask("POST", "/second-factor", token=token)
    right = {
        "setup": prepared["setup"],
        "code": code_of(prepared["secret"]),
        "password": password,
    }

    def confirm(token: str = token, **other: str) -> Reply:
        return service.ask("POST", "/second-factor/confirm", {**right, **other}, token)

    _, other_email, other_password = service.register("enabling.other")
    other_token = service.token(other_email, other_password)
    bad = (400, {"error": "BadRequest"})
    assert confirm(other_token, password=other_password) == bad
    assert confirm(setup="no Base64!") == bad
    assert confirm(setup="AAAA") == bad
    assert confirm(setup=right["setup"][:-8] + "AAAAAAA=") == bad
    assert confirm(code=code_of(prepared["secret"], 5)) == WRONG_CODE
    assert confirm(password="not the password") == WRONG
    service.failed(user_id, 1)
    assert not service.user(user_id).two_factor_enabled

    assert confirm()[0] == 200
    assert confirm() == (409, {"error": "TwoFactorAlreadyEnabled"})
    service.send(user_id, "RevokeAllSessions", {})
    assert confirm() == (401, {"error": "SessionEnded"})


def test_one_service_reads_the_secret_that_the_other_has_encrypted(
    python_service: Service, node_service: Service
) -> None:
    """Both have the same key and format, so that a service can be replaced."""
    for made_by, read_by in ((python_service, node_service), (node_service, python_service)):
        user_id, email, password = made_by.register("ciphertext")
        secret, codes = enabled(made_by, made_by.token(email, password), password)
        token = read_by.token(email, password, code=code_of(secret))
        assert made_by.session(token) == (200, {"user_id": user_id})
        read_by.token(email, password, recovery_code=codes[0])


# --- passwords -----------------------------------------------------------------------------

SALT = bytes(range(16))


def unpadded(data: bytes) -> str:
    """Return Base64 as in PHC strings."""
    return b64encode(data).decode().rstrip("=")


def passlib(data: bytes) -> str:
    """Return Base64 as passlib writes it for PBKDF2."""
    return unpadded(data).replace("+", ".")


def imported(password: str) -> dict[str, str]:
    """Return a hash of each kind that CreateUser accepts, with little work."""
    text = password.encode()
    pbkdf2 = hashlib.pbkdf2_hmac
    scrypt = hashlib.scrypt(text, salt=SALT, n=2**14, r=8, p=1, dklen=32)
    django = b64encode(pbkdf2("sha256", text, b"SaltOfDjango", 10_000)).decode()
    blowfish = bcrypt.hashpw(text, bcrypt.gensalt(10)).decode()
    return {
        "bcrypt": blowfish.replace("$2b$", "$2y$"),  # as PHP writes it
        "scrypt": f"$scrypt$ln=14,r=8,p=1${unpadded(SALT)}${unpadded(scrypt)}",
        "pbkdf2-sha256": "$pbkdf2-sha256$i=10000,l=32${}${}".format(
            unpadded(SALT), unpadded(pbkdf2("sha256", text, SALT, 10_000))
        ),
        "pbkdf2-sha512": "$pbkdf2-sha512$10000${}${}".format(
            passlib(SALT), passlib(pbkdf2("sha512", text, SALT, 10_000))
        ),
        "django": f"pbkdf2_sha256$10000$SaltOfDjango${django}",
    }


def test_an_imported_hash_is_replaced_at_the_first_login(service: Service) -> None:
    """The session continues, and the password stays."""
    password = secrets.token_urlsafe(12)

    def log_in(kind: str, password_hash: str) -> None:
        user_id, email = str(uuid.uuid4()), f"{kind}.{service.name}@example.com"
        data = {"email": email, "first_name": "Ada", "roles": [], "password_hash": password_hash}
        service.send(user_id, "CreateUser", data)
        assert service.user(user_id).password_hash_legacy, kind
        assert service.login(email, "not the password") == WRONG, kind

        token = service.token(email, password)
        eventually(lambda: service.events(user_id, "PasswordHashUpgraded"))
        user = service.user(user_id)
        assert not user.password_hash_legacy, kind
        assert user.password_hash is not None, kind
        assert HASHER.verify(user.password_hash, password), kind
        assert service.session(token) == (200, {"user_id": user_id}), kind

    hashes = imported(password)
    with ThreadPoolExecutor(len(hashes)) as people:
        assert len(list(people.map(log_in, hashes, hashes.values()))) == 5


def test_a_reset_ends_all_sessions_and_works_once(service: Service) -> None:
    """The old password is no longer accepted, and the token of the mail is used up."""
    user_id, email, password = service.register("reset")
    token = service.token(email, password)
    assert service.ask("POST", "/reset-request", {"email": email.upper()}) == (202, {})
    mailed = service.mailed_token(user_id)
    guess = {"token": f"{user_id}.{'0' * 64}", "password": "another password"}
    assert service.ask("POST", "/reset", guess) == TOKEN_INVALID
    assert service.session(token) == (200, {"user_id": user_id})

    body = {"token": mailed, "password": "another password"}
    assert service.ask("POST", "/reset", body) == DONE
    assert service.session(token) == (401, {"error": "SessionEnded"})
    assert service.login(email, password) == WRONG
    assert service.session(service.token(email, "another password"))[0] == 200
    assert service.ask("POST", "/reset", body) == TOKEN_INVALID


def test_a_reset_request_does_not_reveal_who_is_a_user(service: Service) -> None:
    """An unknown address gets the same answer, by the same steps: the service reads no user."""
    user_id, email, _ = service.register("requested")
    replies = [
        service.ask("POST", "/reset-request", {"email": address})
        for address in (email, f"unknown.{email}")
    ]
    assert replies == [(202, {}), (202, {})]
    eventually(lambda: service.events(user_id, "PasswordResetRequested"))
    unknown = {"token": f"{uuid.uuid4()}.{'0' * 64}", "password": "another password"}
    assert service.ask("POST", "/reset", unknown) == TOKEN_INVALID


def test_the_erased_cannot_reset_a_password(service: Service) -> None:
    """They get the answer of an unknown user."""
    user_id, email, _ = service.register("reset.erased")
    service.ask("POST", "/reset-request", {"email": email})
    mailed = service.mailed_token(user_id)
    service.send(user_id, "EraseUser", {})
    body = {"token": mailed, "password": "another password"}
    assert service.ask("POST", "/reset", body) == TOKEN_INVALID


def test_a_change_of_the_password_needs_the_old_one_and_ends_all_sessions(
    service: Service,
) -> None:
    """A wrong old password counts as a failure, as at a login."""
    user_id, email, password = service.register("change")
    token = service.token(email, password)

    def change(old: str) -> Reply:
        body = {"password": old, "new_password": "another password"}
        return service.ask("POST", "/password", body, token)

    assert change("not the password") == WRONG
    service.failed(user_id, 1)
    assert change(password) == DONE
    assert service.session(token) == (401, {"error": "SessionEnded"})
    assert change("another password") == (401, {"error": "SessionEnded"})
    assert service.login(email, password) == WRONG
    assert service.session(service.token(email, "another password"))[0] == 200


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("SECOND_FACTOR_KEY", ""),
        ("TOKEN_KEY", "A" * 42 + "=="),
    ],
    ids=["missing", "short"],
)
@pytest.mark.parametrize("program", ["login_service.py", "login.mjs"])
def test_a_service_does_not_start_without_its_keys(
    world: World, node: Path, program: str, name: str, key: str
) -> None:
    """It writes one line that names the variable."""
    python: list[str | Path] = [sys.executable, ROOT / "examples" / program]
    command = python if program.endswith(".py") else ["node", node / program]
    done = subprocess.run(
        [*command, "--port", "0"],
        check=False,
        # the SDK warns that it will not support an old version of Node for ever
        env={**world.environment, **KEYS, "NODE_NO_WARNINGS": "1", name: key},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{name} must contain 32 bytes in Base64.")
    assert done.stdout == ""
