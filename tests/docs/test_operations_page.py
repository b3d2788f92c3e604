"""The lists in the settings, architecture and operations pages are complete and correct."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from application import batch
from application import batch_results as settling
from application.messages import MalformedCode
from application.permissions import NOT_PERMITTED
from cli.commands import app
from worker.errors import ExitCode
from worker.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "how-to" / "operations.md").read_text()
COMMAND_LINE = (ROOT / "docs" / "reference" / "command-line.md").read_text()
SETTINGS = (ROOT / "docs" / "reference" / "settings.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "explanation" / "architecture.md").read_text()


def rendered(value: object) -> str:
    """Render a default as it is written in the environment."""
    match value:
        case None | ():
            return "none"
        case tuple():
            return f"`{','.join(value)}`"
        case float():
            return f"`{value:g}`"
        case _:
            return f"`{value}`"


def test_the_page_lists_every_setting_with_its_default() -> None:
    """Running the worker does not require reading the code."""
    by_environment = {  # set at start
        "PERSONAL_TOPIC": "`EVENTS_TOPIC` with `-personal`, before `.fifo`",
        "HASH_KEYS": "a fixed key, in prod none",
        "CREATE_RESOURCES": "`true`, in prod `false`",
        "LOG_FORMAT": "in dev `console`, else `json`",
    }
    settings = {
        name.upper(): rendered(field.default) for name, field in Settings.model_fields.items()
    }

    listed = dict(re.findall(r"^- `(\w+)` \((.*?)\): ", SETTINGS, re.MULTILINE))

    assert listed == settings | by_environment
    assert f"prefix `{PREFIX}`" in SETTINGS


def test_the_defaults_by_environment_are_as_listed() -> None:
    """These two depend on the environment."""
    dev, test, prod = (Settings(env=env) for env in ("dev", "test", "prod"))
    assert (dev.create_resources, test.create_resources, prod.create_resources) == (
        True,
        True,
        False,
    )
    assert (dev.log_format, test.log_format, prod.log_format) == ("console", "json", "json")


def test_every_exit_code_is_listed() -> None:
    """A script can distinguish them."""
    listed = [int(code) for code in re.findall(r"^- \*\*(\d+)\*\*: ", OPERATIONS, re.MULTILINE)]
    assert listed == [int(code) for code in ExitCode]


def test_every_command_of_the_command_line_is_listed() -> None:
    """They are in the order of the help, each with its own section of the reference."""
    names = list(get_command(app).commands)  # type: ignore[attr-defined]  # a group
    listed = re.findall(r"^## `(\w+)(?: \w+)?`$", COMMAND_LINE, re.MULTILINE)
    assert list(dict.fromkeys(listed)) == names
    assert "(../reference/command-line.md)" in OPERATIONS


def test_every_code_of_a_dead_letter_is_listed() -> None:
    """The attribute `error_code` can be looked up."""
    failures = (
        settling.REUSED_ID,
        settling.OTHER_FIRST,
        batch.UNAVAILABLE,
        batch.THROTTLED,
        batch.CONTENDED,
        batch.UNREADABLE,
        batch.UNFORESEEN,
    )
    codes = OPERATIONS.partition("Values of `error_code`:\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^- \*\*(\w+)\*\*: ", codes, re.MULTILINE)
    assert sorted(listed) == sorted(
        [*MalformedCode, "UnknownType", NOT_PERMITTED, *(f.code for f in failures)]
    )


def test_no_page_links_to_what_is_not_there() -> None:
    """Files exist, and so do the headings of links."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "examples" / "README.md"]
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if "://" in link:
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page.name}: {link}"
            if anchor:
                assert anchor in anchors(target), f"{page.name}: {link}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub creates them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_files_that_the_architecture_names_exist() -> None:
    """A new developer can follow one command from message to event."""
    for path in re.findall(
        r"`((?:worker|domain|application|operations|cli|adapters|docs|examples)/[\w/]+\.\w+)`",
        ARCHITECTURE,
    ):
        assert (ROOT / path).is_file(), path
