"""A small stream of commands that shows every kind of outcome to new users."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from application.command_id import new_command_id
from application.messages import render_command
from application.ports import CommandKey
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

SECOND_FACTOR = {
    "secret_ciphertext": "bm90LWEtc2VjcmV0",
    "recovery_code_hashes": [hashlib.sha256(secrets.token_bytes(16)).hexdigest() for _ in range(8)],
}
"""A made-up second factor; the samples state the step of a one-time password."""
ACCEPTED = "accepted"
DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Sample:
    """A command, and its expected result."""

    name: str
    about: str
    """Short description."""
    key: CommandKey
    body: str
    expected: str


class _Person:
    """A person who sends commands."""

    def __init__(self, first_name: str, last_name: str, mark: str, password_hash: str) -> None:
        self._first_name = first_name
        self.user_id = str(uuid4())
        self.tokens = [hashlib.sha256(secrets.token_bytes(32)).hexdigest() for _ in range(4)]
        """Hashes of the changing parts of refresh tokens, as an edge service sends them."""
        self.session = {
            "session_id": str(uuid4()),
            "refresh_family_hash": hashlib.sha256(secrets.token_bytes(32)).hexdigest(),
            "refresh_token_hash": self.tokens[0],
            "expires_at": render_time(datetime.now(UTC) + SESSION_LIFETIME),
        }
        self.registration = {
            "email": f"{first_name.lower()}{mark}@example.org",
            "first_name": first_name,
            "last_name": last_name,
            "password_hash": password_hash,
        }

    def command(
        self, name: str, about: str, data: dict[str, Any], expected: str = ACCEPTED
    ) -> Sample:
        """Create a command of this person."""
        key = CommandKey(self.user_id, new_command_id())
        body = render_command(
            name,
            data,
            command_id=key.command_id,
            source=SOURCE,
            user_id=self.user_id,
            time=datetime.now(UTC),
        )
        return Sample(name, f"{self._first_name} {about}", key, body, expected)

    def login(self, about: str, expected: str = ACCEPTED, **second_factor: Any) -> Sample:
        """Start the session after a check of the first password."""
        data = {**self.session, "credential_version": 1, "methods": ["pwd"], **second_factor}
        return self.command("StartSession", about, data, expected)

    def rotation(self, about: str, shown: int, following: int, expected: str = ACCEPTED) -> Sample:
        """Exchange one refresh token for another, by their numbers."""
        data = {
            **self.session,
            "refresh_token_hash": self.tokens[shown],
            "next_refresh_token_hash": self.tokens[following],
        }
        return self.command("RotateRefreshToken", about, data, expected)


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
    return [
        [
            first,
            grace.command("RegisterUser", "signs up", grace.registration),
            mallory.command("RegisterUser", "signs up", mallory.registration),
        ],
        [
            replace(first, about="Ada, message repeated", expected=DUPLICATE),
            eve.command("RegisterUser", "uses ADA@...", taken, "rejected EmailTaken"),
            eve.command("RegisterUser", "sends a password", plain, "dead letter InvalidField"),
            ada.login("logs in"),
            mallory.command("BanUser", "is banned", {"reason": "sample"}),
        ],
        [
            ada.rotation("rotates the token", 0, 1),
            mallory.login("logs in, banned", "rejected UserBanned"),
            grace.command("UnbanUser", "is not banned", {}, "accepted, no effect"),
            grace.command("EnableTwoFactor", "enables a factor", SECOND_FACTOR),
        ],
        [
            ada.rotation("rotates it again", 1, 2),
            grace.login("logs in without a code", "rejected SecondFactorRequired"),
        ],
        [
            ada.rotation("reuses the old token", 0, 3, "rejected RefreshTokenReused"),
            grace.login("logs in with a code", totp_step=int(time.time()) // 30),
        ],
    ]
