"""The login service in Node looks for a user by the same key as the worker."""

from __future__ import annotations

import json
import shutil
import subprocess
import unicodedata

import pytest

from application.addresses import parse_address
from domain.errors import InvalidValueError
from tests.unit.examples.loading import EXAMPLES

NODE = """
import { readFileSync } from "node:fs";
import { domainToASCII } from "node:url";
%s
const results = JSON.parse(readFileSync(0, "utf8")).map((text) => {
  try { return %s(text); } catch { return null; }
});
console.log(JSON.stringify(results));
"""
# An older Node has an older UTS 46, which refuses these capitals of Georgian, Cyrillic and Latin.
REFUSED_BY_NODE_20 = {*map(chr, range(0x10A0, 0x10C6)), "\u04c0", "\u2132", "\u2183"}


def in_node(name: str, addresses: list[str]) -> list[str | None]:
    """Return the results of a function of the example; `None` for an exception."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    file = "users.mjs" if name == "addressKey" else "login.mjs"
    program = (EXAMPLES / "node" / file).read_text()
    start = program.index(f"function {name}(")
    function = program[start : program.index("\n}\n", start) + 3]
    done = subprocess.run(
        ["node", "--input-type=module", "-e", NODE % (function, name)],
        input=json.dumps(addresses),
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    results: list[str | None] = json.loads(done.stdout)
    return results


def accepted() -> dict[str, str]:
    """Return addresses with one letter of many scripts in each part, and their keys."""
    keys = {" Ada@EXAMPLE.com": "ada@example.com"}
    for code in (*range(0x80, 0x3100), *range(0xA640, 0xAC00), *range(0xFF00, 0xFFF0)):
        letter = chr(code)
        if unicodedata.category(letter)[0] not in "LMN" or letter in REFUSED_BY_NODE_20:
            continue
        for text in (f"a{letter}@example.com", f"ada@a{letter}a.example"):
            try:
                keys[text] = parse_address(text).key
            except InvalidValueError:
                continue
    return keys


def test_node_finds_an_address_by_the_key_of_the_worker() -> None:
    """Otherwise a person could not sign in, or would sign in to another account."""
    keys = accepted()

    assert len(keys) > 5_000
    assert dict(zip(keys, in_node("addressKey", list(keys)), strict=True)) == keys


def is_accepted(text: str) -> bool:
    """Return True if the worker accepts an address."""
    try:
        parse_address(text)
    except InvalidValueError:
        return False
    return True


MALFORMED = (
    "",
    "ada",
    "@example.com",
    "ada@",
    "ada@example",
    "ada@@example.com",
    "a b@example.com",
    ".ada@example.com",
    "ada.@example.com",
    "a..b@example.com",
    '"ada"@example.com',
    "ada,@example.com",
    "ada\0@example.com",
    "ada\u200b@example.com",
    "ada@example..com",
    "ada@-a.example",
    "ada@a-.example",
    "ada@a_b.example",
    "ada@127.0.0.1",
    "ada@1.2",
    "ada@[::1]",
    "ada@example.123",
    f"{'a' * 65}@example.com",
    f"ada@{'a' * 64}.example",
    f"ada@{'a.' * 130}example",
)


def test_node_requests_a_reset_for_the_addresses_of_the_worker() -> None:
    """A command with an address that the worker refuses would be a dead letter."""
    assert not any(map(is_accepted, MALFORMED))
    assert in_node("parseAddress", list(MALFORMED)) == [None] * len(MALFORMED)
    addresses = list(accepted())
    assert in_node("parseAddress", addresses) == [text.strip() for text in addresses]
