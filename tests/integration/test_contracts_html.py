"""The AsyncAPI document under AsyncAPI's own parser, and its page in a browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domain.commands import COMMANDS
from domain.events import EVENTS
from operations.contracts.asyncapi import message_key
from tests.node_packages import copy_with_packages

CONTRACTS = Path(__file__).parents[2] / "contracts"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("contracts_html"),
]
Generate = Callable[[Path, Path], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def generate(tmp_path_factory: pytest.TempPathFactory) -> Generate:
    """Run contracts/node/html.mjs on a folder of contracts."""
    folder = copy_with_packages(CONTRACTS / "node", tmp_path_factory.mktemp("contracts") / "node")

    def run(contracts: Path, output: Path) -> subprocess.CompletedProcess[str]:
        command = ["node", str(folder / "html.mjs"), str(contracts), str(output)]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture(scope="module")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return the text of a page as the browser shows it, without a network."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)}")
    profile = tmp_path_factory.mktemp("profile")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    # virtual time stands still while there is work, so this is no race
    options += ["--virtual-time-budget=20000", "--host-resolver-rules=MAP * ~NOTFOUND"]

    def show(url: str) -> str:
        command = [browser, *options, "--dump-dom", url]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        seen = done.stdout.split('<div id="reference">')[1].split('<script src="reference.js">')[0]
        return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", seen)))

    return show


def reduced(folder: Path, *keys: str) -> Path:
    """Copy the contracts with these messages alone, which a browser opens in a moment."""
    shutil.copytree(CONTRACTS, folder, ignore=shutil.ignore_patterns("node", "released"))
    document: dict[str, Any] = json.loads((folder / "asyncapi.json").read_text())
    for holder in (document["components"], *document["channels"].values()):
        holder["messages"] = {
            key: holder["messages"][key] for key in keys if key in holder["messages"]
        }
    (folder / "asyncapi.json").write_text(json.dumps(document))
    return folder


def test_the_document_is_valid_and_its_page_shows_every_message(
    generate: Generate, browse: Callable[[str], str], tmp_path: Path
) -> None:
    """Servers, security, channels, and of each message the words and an example."""
    done = generate(CONTRACTS, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")

    text = browse((tmp_path / "index.html").as_uri())

    for kind, message in (COMMANDS | EVENTS).items():
        assert f"Message ID {message_key(kind)} " in text
        assert " ".join(str(message.__doc__).split()) in text
    for word in ("User worker", "AWS4-HMAC-SHA256", "user-commands-dlq", "user-events", "REPLY"):
        assert word in text
    assert "$argon2id$v=19$" in text  # of an example


def test_opened_the_page_shows_every_field(
    generate: Generate, browse: Callable[[str], str], tmp_path: Path
) -> None:
    """Description, limits and form; bindings and message attributes, too."""
    contracts = reduced(tmp_path / "contracts", "BanUser.v1", "UserBanned.v1", "DeadLetter")
    assert generate(contracts, tmp_path).returncode == 0

    text = browse((tmp_path / "index.html").as_uri() + "#all")

    assert "The reason, for administrators: visible text." in text
    assert "[ 1 .. 500 ] characters" in text
    assert "Additional properties are NOT allowed." in text
    for word in (
        "command_source",
        "error_code",
        "visibilityTimeout",
        "maxReceiveCount",
        "causationid",
    ):
        assert word in text


def test_a_document_that_is_not_valid_gives_no_page(generate: Generate, tmp_path: Path) -> None:
    """The parser's own words say what is wrong, and where."""
    contracts = reduced(tmp_path / "contracts", "BanUser.v1", "UserBanned.v1", "DeadLetter")
    document = json.loads((contracts / "asyncapi.json").read_text())
    document["operations"]["publishEvent"]["action"] = "shout"
    document["channels"]["userCommands"]["messages"]["Lost"] = {
        "$ref": "#/components/messages/Lost"
    }
    (contracts / "asyncapi.json").write_text(json.dumps(document))

    done = generate(contracts, tmp_path / "page")

    assert done.returncode == 1
    assert "channels.userCommands.messages.Lost" in done.stderr
    assert not (tmp_path / "page").exists()
