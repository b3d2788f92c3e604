"""The password example accepts the hashes that CreateUser accepts."""

from __future__ import annotations

import contextlib
import hashlib
from base64 import b64encode

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.values import PasswordHash
from tests.unit.examples.loading import load

MODULE = load("passwords")
SALT = bytes(range(16))
SCRYPT = hashlib.scrypt(b"secret", salt=SALT, n=2**14, r=8, p=1, dklen=32)


def base64(data: bytes) -> str:
    """Return Base64 without padding."""
    return b64encode(data).decode().rstrip("=")


def pbkdf2(name: str, salt: bytes) -> bytes:
    """Return the key of the password."""
    return hashlib.pbkdf2_hmac(name, b"secret", salt, 10_000)


HASHES = {
    "bcrypt": bcrypt.hashpw(b"secret", bcrypt.gensalt(10)).decode(),
    "bcrypt of PHP": bcrypt.hashpw(b"secret", bcrypt.gensalt(10)).decode().replace("$2b", "$2y"),
    "scrypt": f"$scrypt$ln=14,r=8,p=1${base64(SALT)}${base64(SCRYPT)}",
    "PBKDF2-SHA256": f"$pbkdf2-sha256$10000${base64(SALT)}${base64(pbkdf2('sha256', SALT))}",
    "PBKDF2-SHA256 of PHC": "$pbkdf2-sha256$i=10000,l=32"
    f"${base64(SALT)}${base64(pbkdf2('sha256', SALT))}",
    "PBKDF2-SHA512 of PHC": "$pbkdf2-sha512$i=10000"
    f"${base64(SALT)}${base64(pbkdf2('sha512', SALT))}",
    "PBKDF2-SHA512 of passlib": f"$pbkdf2-sha512$10000${base64(SALT)}$"
    + base64(pbkdf2("sha512", SALT)).replace("+", "."),
    "Django": f"pbkdf2_sha256$10000$Salt0${b64encode(pbkdf2('sha256', b'Salt0')).decode()}",
}
PASSLIB = {
    "$pbkdf2-sha256$29000$N2YMIWQsBWBMae09x1jrPQ$1t8iyB2A.WF/Z5JZv.lfCIhXXN33N23OSgQYThBYRfk": (
        "toomanysecrets"
    ),
    "$2b$12$GhvMmNVjRW29ulnudl.LbuAnUtN/LRfe1JsBm1Xu6LE3059z5Tr8m": "password",
    "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E": (
        "password"
    ),
}
"""Hashes that the documentation of passlib shows, and their passwords."""


@pytest.mark.parametrize("kind", HASHES)
def test_each_kind_of_imported_hash_is_checked(kind: str) -> None:
    """CreateUser accepts the hash, and only the right password matches."""
    text = PasswordHash.parse_imported(HASHES[kind]).value
    assert MODULE.matches_imported(text, b"secret")
    for wrong in (b"", b"Secret", b"secret "):
        assert not MODULE.matches_imported(text, wrong)


@pytest.mark.parametrize("text", PASSLIB, ids=lambda text: text[1:8])
def test_hashes_of_other_software_are_checked(text: str) -> None:
    """They were not computed by this project."""
    PasswordHash.parse_imported(text)
    assert MODULE.matches_imported(text, PASSLIB[text].encode())
    assert not MODULE.matches_imported(text, b"another")


def test_bcrypt_uses_the_first_72_bytes() -> None:
    """A longer password is accepted, as by the system that has hashed it."""
    long = "ä" * 50
    text = bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(10)).decode()
    assert MODULE.matches_imported(text, long.encode())


@given(st.text())
def test_a_damaged_hash_matches_nothing(text: str) -> None:
    """It raises no other error than the one that the service handles."""
    with contextlib.suppress(ValueError):
        assert not MODULE.matches_imported(text, b"secret")
