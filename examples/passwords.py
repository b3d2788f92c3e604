"""Passwords of a login service: argon2id, and the hashes of imported users.

`Passwords.hash` creates argon2id hashes only. `Passwords.verify` also checks bcrypt, scrypt and
PBKDF2 in the forms in which CreateUser accepts them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError


class Passwords:
    """Hashes and checks passwords, a few at a time because each takes a lot of memory."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)
        self._hashing = threading.Semaphore(4)  # 64 MiB each
        self._dummy = self.hash(secrets.token_urlsafe(16))

    def hash(self, password: str) -> str:
        """Return the argon2id hash of a password."""
        with self._hashing:
            return self._hasher.hash(password)

    def verify(self, password_hash: str | None, password: str) -> bool:
        """Return True if a password is the one that was hashed.

        Without a hash (unknown user, or no password set) a dummy hash is checked, so that the
        duration does not reveal whether the user exists.
        """
        with self._hashing:
            matches = self._matches(password_hash or self._dummy, password)
        return matches and password_hash is not None

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            if password_hash.startswith("$argon2"):
                return self._hasher.verify(password_hash, password)
            return matches_imported(password_hash, password.encode())
        except (VerificationError, InvalidHashError, ValueError):
            return False


def matches_imported(password_hash: str, password: bytes) -> bool:
    """Check a password against a hash of another system.

    Raises:
        ValueError: not such a hash, or scrypt that needs more than 2 GiB.
    """
    if password_hash.startswith("$2"):  # bcrypt uses the first 72 bytes only
        return bcrypt.checkpw(password[:72], password_hash.encode())
    *_, algorithm, parameters, salt, digest = password_hash.split("$")
    expected = decode(digest)
    if algorithm == "scrypt":
        found = scrypt(password, decode(salt), parameters, len(expected))
    elif algorithm in {"pbkdf2-sha256", "pbkdf2-sha512"}:  # the forms of passlib and of PHC
        found = pbkdf2(algorithm[-6:], password, decode(salt), parameters, len(expected))
    elif algorithm == "pbkdf2_sha256":  # Django's form: its salt is text
        found = pbkdf2("sha256", password, salt.encode(), parameters, len(expected))
    else:
        raise ValueError("an unknown form of password hash")
    return hmac.compare_digest(found, expected)


def scrypt(password: bytes, salt: bytes, parameters: str, length: int) -> bytes:
    """Return the scrypt key of a password; the parameters are written `ln=16,r=8,p=1`."""
    ln, r, p = (int(each.partition("=")[2]) for each in parameters.split(","))
    memory = 128 * r * ((1 << ln) + p + 2)
    return hashlib.scrypt(password, salt=salt, n=1 << ln, r=r, p=p, maxmem=memory, dklen=length)


def pbkdf2(name: str, password: bytes, salt: bytes, parameters: str, length: int) -> bytes:
    """Return the PBKDF2 key of a password; the rounds are written `29000` or `i=29000,l=32`."""
    rounds = int(parameters.partition(",")[0].removeprefix("i="))
    return hashlib.pbkdf2_hmac(name, password, salt, rounds, length)


def decode(text: str) -> bytes:
    """Decode Base64 with or without padding; passlib writes `.` instead of `+`."""
    text = text.rstrip("=").replace(".", "+")
    return base64.b64decode(text + "=" * (-len(text) % 4))
