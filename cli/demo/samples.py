"""A small stream of commands that shows every kind of outcome to new users."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from application.messages import render_command
from domain.values import render_time

SOURCE = "/user-worker/samples"
SESSION_LIFETIME = timedelta(days=30)

# Generated once from random passwords that were not kept, with argon2-cffi's `PasswordHasher`,
# time_cost=2, memory_cost=19456, parallelism=1 and `hash` of `secrets.token_urlsafe(32)`.
PASSWORD_HASHES = (
    "$argon2id$v=19$m=19456,t=2,p=1$SozvRNUKuA7HTe2K2fhYRg$wXhzswWI2gwDWkqoBvLAETSkgeCqsph2//w99esuMQE",
    "$argon2id$v=19$m=19456,t=2,p=1$SunPEctUbxopjN6nk0UbQQ$2WmWiCsrUyDBy48xWirGYh5augz8Soes+o9K+d8I5Zk",
    "$argon2id$v=19$m=19456,t=2,p=1$nRmu0jpuSsO8e8c/v3vE8Q$QNKLiCdoM3CalLtwMwulYmi1LS4mhh+F5ak8qjebKZk",
)
PLAINTEXT = "correct horse battery staple"

ACCEPTED = "accepted"
NO_EFFECT = "accepted, no effect"
DUPLICATE = "duplicate"


def rejected(code: str) -> str:
    """Return the name of a rejection with `code`."""
    return f"rejected {code}"


def dead(code: str) -> str:
    """Return the name of the end of a message that is dead-lettered with `code`."""
    return f"dead letter {code}"


@dataclass(frozen=True, slots=True)
class Sample:
    """A command, and its expected result."""

    name: str
    about: str
    """Short description."""
    command_id: str
    user_id: str
    body: str
    expected: str
    repeats: bool = False
    """Whether this repeats a message that was sent before."""


class _Person:
    """A person who sends commands."""

    def __init__(self, first_name: str, last_name: str, mark: str, password_hash: str) -> None:
        self.first_name = first_name
        self.user_id = str(uuid4())
        self.session_id = str(uuid4())
        self.tokens = [_token_hash() for _ in range(3)]
        self.registration = {
            "email": f"{first_name.lower()}{mark}@example.org",
            "first_name": first_name,
            "last_name": last_name,
            "password_hash": password_hash,
        }

    def command(
        self,
        name: str,
        about: str,
        data: dict[str, Any] | None = None,
        expected: str = ACCEPTED,
    ) -> Sample:
        """Create a command of this person."""
        command_id = str(uuid4())
        body = render_command(
            name,
            data or {},
            command_id=command_id,
            source=SOURCE,
            user_id=self.user_id,
            time=datetime.now(UTC),
        )
        about = f"{self.first_name} {about}"
        return Sample(name, about, command_id, self.user_id, body, expected)

    def rotation(self, current: int, about: str, expected: str = ACCEPTED) -> Sample:
        """Exchange the refresh token with this number for the next one."""
        data = {
            "session_id": self.session_id,
            "refresh_token_hash": self.tokens[current],
            "next_refresh_token_hash": self.tokens[current + 1 + (expected != ACCEPTED)],
            "expires_at": _in_a_month(),
        }
        return self.command("RotateRefreshToken", about, data, expected)

    def login(self, about: str, expected: str = ACCEPTED) -> Sample:
        """Start a session."""
        data = {
            "session_id": self.session_id,
            "refresh_token_hash": self.tokens[0],
            "expires_at": _in_a_month(),
        }
        return self.command("StartSession", about, data, expected)


def sample_stages(mark: str = "") -> list[list[Sample]]:
    """Create the samples, in stages: each stage depends on the results of the earlier ones.

    Args:
        mark: appended to the addresses, for a table where the plain ones may be taken.
    """
    ada = _Person("Ada", "Lovelace", mark, PASSWORD_HASHES[0])
    grace = _Person("Grace", "Hopper", mark, PASSWORD_HASHES[1])
    mallory = _Person("Mallory", "Moe", mark, PASSWORD_HASHES[2])
    eve = _Person("Eve", "Doe", mark, PASSWORD_HASHES[2])
    taken = {**eve.registration, "email": ada.registration["email"].upper()}
    plain = {**eve.registration, "password_hash": PLAINTEXT}
    first = ada.command("RegisterUser", "signs up", ada.registration)
    again = replace(first, about="Ada, message repeated", expected=DUPLICATE, repeats=True)
    return [
        [
            first,
            grace.command("RegisterUser", "signs up", grace.registration),
            mallory.command("RegisterUser", "signs up", mallory.registration),
        ],
        [
            again,
            eve.command("RegisterUser", "uses ADA@...", taken, rejected("EmailTaken")),
            eve.command("RegisterUser", "sends a password", plain, dead("InvalidField")),
            ada.login("logs in"),
            mallory.command("BanUser", "is banned", {"reason": "sample"}),
        ],
        [
            ada.rotation(0, "rotates the token"),
            mallory.login("logs in, banned", rejected("UserBanned")),
            grace.command("UnbanUser", "is not banned", None, NO_EFFECT),
        ],
        [ada.rotation(0, "reuses the old token", rejected("RefreshTokenReused"))],
    ]


def _token_hash() -> str:
    """Return what an edge service sends for a new refresh token: its SHA-256."""
    return hashlib.sha256(secrets.token_bytes(32)).hexdigest()


def _in_a_month() -> str:
    return render_time(datetime.now(UTC) + SESSION_LIFETIME)
