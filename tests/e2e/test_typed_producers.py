"""The page for producers in Java and Go: its steps, and the message that each program prints."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest

from application.addresses import parse_address
from application.messages import MessageParser
from application.messages.outgoing import check_outgoing
from application.repository import Status
from tests.builders import PASSWORD
from tests.docs.pages import blocks_of
from tests.e2e.system import Message, System
from tests.node_packages import copy_with_packages

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "producers-in-java-and-go.md"
JACKSON = [
    Path("/usr/share/java") / f"jackson-{part}.jar" for part in ("annotations", "core", "databind")
]
"""Folder of Debian's package libjackson2-databind-java."""
NEEDED = {"Java": ("javac", "jq"), "Go": ("go", "jq")}


def steps(language: str) -> str:
    """Return the shell commands of the page up to the printed message, without installations."""
    first, *sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    (section,) = (each for each in sections if each.startswith(f"{language}\n"))
    blocks = [*blocks_of(PAGE.name, first), *blocks_of(PAGE.name, section)]
    script = "\n".join(block.text for block in blocks if block.language == "sh")
    assert script.count("npm ci\n") == script.count("ada@example.com") == 1
    return script.replace("npm ci\n", "").replace("ada@example.com", '"$email"')


def printed(language: str, folder: Path, email: str) -> str:
    """Follow the steps of a language in a copy of the examples; return the message."""
    for program in NEEDED[language]:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if language == "Java" and not all(jar.exists() for jar in JACKSON):
        pytest.skip("Jackson (Debian: libjackson2-databind-java) is not installed")
    (folder / "contracts").symlink_to(ROOT / "contracts")
    copy = copy_with_packages(ROOT / "examples" / "producers", folder / "examples" / "producers")
    own = {
        "hash": PASSWORD.value,
        "email": email,
        "jackson": ":".join(map(str, JACKSON)),
        "GOFLAGS": "-mod=mod",
        "GOPROXY": "off",  # a module of its own needs no other
    }
    done = subprocess.run(
        ["sh", "-euc", steps(language)],
        cwd=copy,
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return (copy / "build" / "message.json").read_text()


@pytest.mark.parametrize("language", NEEDED)
def test_the_steps_of_the_page_print_a_message_that_the_worker_applies(
    language: str, tmp_path: Path, system: System
) -> None:
    """The types are those of the whole message, and a real worker registers the user."""
    email = f"{language}.{system.names.table}@example.com"
    body = printed(language, tmp_path, email)
    message = json.loads(body)
    schema = json.loads((ROOT / "contracts" / "commands" / "RegisterUser.v1.json").read_text())
    jsonschema.validate(message, schema)
    assert message.keys() == {"specversion", "type", "id", "source", "time", "subject", "data"}
    assert check_outgoing(body, MessageParser(("customer",))).name == "RegisterUser"

    with system.worker() as worker:
        worker.ready()
        (outcome,) = system.do(Message(message["id"], message["subject"], body))
    assert outcome.status is Status.ACCEPTED
    user = system.user(message["subject"])
    assert (user.email, user.first_name) == (parse_address(email), "Ada")
