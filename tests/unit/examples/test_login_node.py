"""The login service in Node looks for a user by the same key as the worker."""

from __future__ import annotations

import json
import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest

from application.addresses import parse_address
from domain.errors import InvalidValueError

PROGRAM = (Path(__file__).parents[3] / "examples/node/login.mjs").read_text()
NODE = """
import { readFileSync } from "node:fs";
import { domainToASCII } from "node:url";
%s
const keys = JSON.parse(readFileSync(0, "utf8")).map(addressKey);
console.log(JSON.stringify(keys));
"""
# An older Node has an older UTS 46, which refuses these capitals of Georgian, Cyrillic and Latin.
REFUSED_BY_NODE_20 = {*map(chr, range(0x10A0, 0x10C6)), "\u04c0", "\u2132", "\u2183"}


def in_node(addresses: list[str]) -> list[str]:
    """Return the keys that the example computes."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    start = PROGRAM.index("function addressKey")
    function = PROGRAM[start : PROGRAM.index("\n}\n", start) + 3]
    done = subprocess.run(
        ["node", "--input-type=module", "-e", NODE % function],
        input=json.dumps(addresses),
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    keys: list[str] = json.loads(done.stdout)
    return keys


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
    assert dict(zip(keys, in_node(list(keys)), strict=True)) == keys
