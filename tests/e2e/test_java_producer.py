"""The page for producers in Java: its steps, and the message that the program prints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest

from application.messages import MessageParser
from application.messages.outgoing import check_outgoing
from tests.builders import PASSWORD
from tests.docs.pages import blocks_of
from tests.node_packages import copy_with_packages

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "producers-in-java.md"
EMAIL = 'ada"\\ü@example.com'


def test_the_steps_of_the_page_print_a_message_that_the_worker_accepts(tmp_path: Path) -> None:
    """The class is generated from the schema and compiled; the texts are escaped."""
    if any(shutil.which(program) is None for program in ("javac", "jq", "npm")):
        pytest.skip("the JDK, jq or npm is not installed")
    (tmp_path / "contracts").symlink_to(ROOT / "contracts")
    folder = copy_with_packages(ROOT / "examples" / "java", tmp_path / "examples" / "java")
    blocks = blocks_of(PAGE.name, PAGE.read_text())
    steps = [block.text for block in blocks if block.language == "sh" and "aws " not in block.text]
    script = "\n".join(steps).replace("npm ci\n", "").replace("ada@example.com", '"$email"')
    subprocess.run(
        ["sh", "-euc", script],
        cwd=folder,
        env=os.environ | {"hash": PASSWORD.value, "email": EMAIL},
        check=True,
        timeout=200,
    )
    body = (folder / "build" / "message.json").read_text()
    message = json.loads(body)
    assert message["data"]["email"] == EMAIL
    message["data"]["email"] = "ada@example.com"
    schema = json.loads((ROOT / "contracts" / "commands" / "RegisterUser.v1.json").read_text())
    jsonschema.validate(message, schema)
    assert check_outgoing(json.dumps(message), MessageParser(("customer",))).name == "RegisterUser"
