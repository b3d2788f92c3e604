"""The examples of the second factor, in Python and in Node, follow RFC 6238."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from typing import Any

import pytest

from biome_users import second_factor
from domain.values import parse_ciphertext
from tests.unit.examples.loading import EXAMPLES, load

MODULE = load("second_factor")
SECRET = b"12345678901234567890"
# RFC 6238, appendix B, for SHA-1: the last six of the eight digits
VECTORS = {
    59: "287082",
    1_111_111_109: "081804",
    1_111_111_111: "050471",
    1_234_567_890: "005924",
    2_000_000_000: "279037",
    20_000_000_000: "353130",
}
KEY = bytes(range(32))
USER = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77"
NODE = """
import { readFileSync } from "node:fs";
const totp = await import(process.argv[1]);
const { secret, key, user, vectors, sealed, code } = JSON.parse(readFileSync(0, "utf8"));
const bytes = Buffer.from(secret), k = Buffer.from(key, "hex");
const now = Date.now;
const steps = {};
for (const [time, code] of Object.entries(vectors)) {
  Date.now = () => Number(time) * 1000;
  steps[time] = totp.findStep(bytes, code);
}
Date.now = now;
const refused = (f) => { try { f(); return false; } catch { return true; } };
const made = totp.encrypt(k, bytes, user);
console.log(JSON.stringify({
  steps,
  base32: totp.base32(bytes),
  uri: totp.setupUri(bytes, "ada+1@example.com"),
  opened: totp.decrypt(k, sealed, user).toString(),
  made,
  refused: [
    () => totp.decrypt(k, made, user.replace("5", "6")),
    () => totp.decrypt(Buffer.alloc(32), made, user),
    () => totp.decrypt(k, made.slice(0, -4) + "AAAA", user),
    () => totp.decrypt(k, "", user),
    () => totp.decrypt(k, made.slice(0, 20), user),
  ].map(refused),
  hash: totp.recoveryCodeHash(code),
  codes: totp.newRecoveryCodes(),
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
    """Codes, ciphertexts, URIs and hashes are those of Python."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    cipher, code = MODULE.SecretCipher(KEY), second_factor.new_recovery_codes()[0]
    given = {
        "secret": SECRET.decode(),
        "key": KEY.hex(),
        "user": USER,
        "vectors": VECTORS,
        "sealed": cipher.encrypt(SECRET, USER),
        "code": code.upper(),
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
    assert made["steps"] == {str(time): time // 30 for time in VECTORS}
    assert made["base32"] == base64.b32encode(SECRET).decode()
    assert made["uri"] == second_factor.setup_uri(SECRET, "ada+1@example.com", "Biome")
    assert made["opened"] == SECRET.decode()
    assert cipher.decrypt(made["made"], USER) == SECRET
    assert made["refused"] == [True] * 5
    assert made["hash"] == second_factor.recovery_code_hash(code)
    assert len({second_factor.recovery_code_hash(each) for each in made["codes"]}) == 10
