"""The login service example checks one hash for every login, so that all take equally long."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.memory import MemoryStore, MemoryUserRepository
from application.ports import UserChange
from domain.commands import RecordLoginFailure, StartSession
from domain.user import Ban, User
from tests.builders import NOW, PASSWORD
from tests.persistence import new_user
from user_client import UserReader

PROGRAM = Path(__file__).parents[3] / "examples" / "login_service.py"
SOON = datetime.now(UTC) + timedelta(hours=1)
RIGHT = "the password"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("login_service", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULE = _load()


class CountingHasher:
    """Replaces argon2, and counts the checks."""

    def __init__(self) -> None:
        self.checked: list[str] = []

    def verify(self, password_hash: str, password: str) -> bool:
        """Match what the user's password is."""
        self.checked.append(password_hash)
        if password == RIGHT:
            return True
        raise MODULE.VerificationError


class Sent:
    """Takes the commands, and lets them go."""

    def __init__(self) -> None:
        self.commands: list[type] = []

    def send(self, command: Any, **_: object) -> None:
        """Keep its class."""
        self.commands.append(type(command))


USERS: dict[str, User | None] = {
    "known": new_user("ada"),
    "unknown": None,
    "locked": replace(new_user("ada"), locked_until=SOON),
    "banned": replace(new_user("ada"), ban=Ban("spam", None)),
    "deactivated": replace(new_user("ada"), deactivated=True),
    "with a second factor": replace(new_user("ada"), two_factor_enabled=True),
    "without a password": replace(new_user("ada"), password_hash=None),
}
RIGHT_ANSWERS = {
    "known": (503, [StartSession]),  # no worker starts it
    "unknown": (401, []),
    "locked": (401, []),
    "banned": (403, []),
    "deactivated": (403, []),
    "with a second factor": (403, []),
    "without a password": (401, [RecordLoginFailure]),
}


def service_of(user: User | None) -> tuple[Any, CountingHasher, Sent]:
    """Create a service whose table holds one user, or none."""
    repository = MemoryUserRepository(MemoryStore())
    if user is not None:
        repository.commit([UserChange(user.user_id, (), 0, user, claimed=user.email)], NOW)
    hasher, sent = CountingHasher(), Sent()
    made = MODULE.LoginService(UserReader(repository=repository), sent)
    made._hasher = hasher
    return made, hasher, sent


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "DECIDED_WITHIN", 0.0)
    monkeypatch.setattr(MODULE, "NO_SOONER", 0.0)


@pytest.fixture(scope="module", autouse=True)
def _one_hash() -> Any:
    """Avoid the creation of a dummy hash of 64 MiB for each service."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE.PasswordHasher, "hash", lambda *_: "a dummy hash")
        yield


@pytest.mark.parametrize("password", [RIGHT, "not the password"])
@pytest.mark.parametrize("who", USERS)
def test_one_hash_is_checked_whoever_asks(who: str, password: str) -> None:
    """It is the user's own hash, or a dummy, so that the duration reveals nothing."""
    user = USERS[who]
    service, hasher, _ = service_of(user)
    service.login("ada@example.com", password)
    dummy = user is None or user.password_hash is None
    assert hasher.checked == ["a dummy hash" if dummy else PASSWORD.value]


@pytest.mark.parametrize("who", USERS)
def test_a_correct_password_is_accepted_unless_another_rule_forbids_it(who: str) -> None:
    """A password that happens to match the dummy is not accepted."""
    service, _, sent = service_of(USERS[who])
    status, _ = service.login("ada@example.com", RIGHT)
    assert (status, sent.commands) == RIGHT_ANSWERS[who]


@pytest.mark.parametrize("who", USERS)
def test_a_wrong_password_gets_one_answer_and_counts_unless_in_a_lock(who: str) -> None:
    """Nothing of the user shows, not even that there is one."""
    service, _, sent = service_of(USERS[who])
    assert service.login("ada@example.com", "not the password") == MODULE.WRONG
    counts = who not in {"unknown", "locked"}
    assert sent.commands == ([RecordLoginFailure] if counts else [])
