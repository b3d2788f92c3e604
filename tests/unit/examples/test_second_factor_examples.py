"""The examples encrypt the secrets of second factors alike in Python and in Node."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from domain.values import parse_ciphertext
from tests.unit.examples.loading import EXAMPLES, load

MODULE = load("second_factor")
SECRET = b"12345678901234567890"
KEY = bytes(range(32))
USER = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77"
NODE = """
import { readFileSync } from "node:fs";
const cipher = await import(process.argv[1]);
const { secret, key, user, sealed } = JSON.parse(readFileSync(0, "utf8"));
const k = Buffer.from(key, "hex");
const refused = (f) => { try { f(); return false; } catch { return true; } };
const made = cipher.encrypt(k, Buffer.from(secret), user);
console.log(JSON.stringify({
  opened: cipher.decrypt(k, sealed, user).toString(),
  made,
  refused: [
    () => cipher.decrypt(k, made, user.replace("5", "6")),
    () => cipher.decrypt(Buffer.alloc(32), made, user),
    () => cipher.decrypt(k, made.slice(0, -4) + "AAAA", user),
    () => cipher.decrypt(k, "", user),
    () => cipher.decrypt(k, made.slice(0, 20), user),
  ].map(refused),
}));
"""


def test_a_ciphertext_fits_one_key_and_one_user_only() -> None:
    """A ciphertext that is copied to another user cannot be decrypted, nor can a changed one."""
    cipher = MODULE.SecretCipher(KEY)
    made = cipher.encrypt(SECRET, USER)
    assert parse_ciphertext(made) == made
    assert cipher.decrypt(made, USER) == SECRET
    assert cipher.encrypt(SECRET, USER) != made
    others = [(cipher, made, USER.replace("5", "6")), (MODULE.SecretCipher(bytes(32)), made, USER)]
    damaged = ["", "AAAA", "!", made[:-4] + "AAAA", made[:20], "ä" * 40]
    for other, text, user in [*others, *((cipher, text, USER) for text in damaged)]:
        with pytest.raises(MODULE.DecryptionError):
            other.decrypt(text, user)


def test_node_does_the_same() -> None:
    """Each decrypts what the other encrypts, and refuses the same."""
    cipher = MODULE.SecretCipher(KEY)
    given = {
        "secret": SECRET.decode(),
        "key": KEY.hex(),
        "user": USER,
        "sealed": cipher.encrypt(SECRET, USER),
    }
    program = EXAMPLES / "node" / "second_factor.mjs"
    done = subprocess.run(
        ["node", "--input-type=module", "-e", NODE, str(program)],
        input=json.dumps(given),
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    assert made["opened"] == SECRET.decode()
    assert cipher.decrypt(made["made"], USER) == SECRET
    assert made["refused"] == [True] * 5
