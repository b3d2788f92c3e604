"""The reference tables of the pages are generated from the definitions, and current."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from domain.commands import COMMANDS
from domain.events import EVENTS
from domain.fields import fields_of
from scripts import reference_tables
from scripts.reference_tables import PAGES, render, stale_pages

ROOT = Path(__file__).parents[2]


def test_the_tables_are_current() -> None:
    """A change of a message, a field or a user's attribute changes the pages in the same commit."""
    assert list(stale_pages()) == [], "run `make reference`"


def test_every_table_is_on_a_page_once() -> None:
    """A table without its markers would go unwritten."""
    text = "".join((ROOT / page).read_text() for page in PAGES)
    for name in reference_tables._TABLES:
        assert text.count(f"<!-- table {name} -->\n") == 1, name


def test_the_tables_name_every_message_and_every_field_of_a_command() -> None:
    """With all of its fields, in order; a producer and a subscriber find each."""
    page = (ROOT / "docs" / "reference" / "messages.md").read_text()
    commands = page.partition("<!-- table commands -->")[2].partition("<!-- end of table -->")[0]
    for command in COMMANDS.values():
        fields = [field.name + ("" if field.required else "?") for field in fields_of(command)]
        shown = f" ({', '.join(fields)})" if fields else ""
        [rest] = re.findall(rf"^- \*\*{command.__name__}\*\*(.*)$", commands, re.MULTILINE)
        assert rest.startswith(shown)
        for field in fields_of(command):
            assert f"\n- `{field.name}`" in page
    for event in EVENTS.values():
        names = ", ".join(field.name for field in fields_of(event))
        shown = event.__name__ + (f" ({names})" if names else "")
        [events] = re.findall(rf"^- \*\*{event.category}\*\*: (.*)$", page, re.MULTILINE)
        assert shown in re.findall(r"\w+(?: \([^)]*\))?", events)


def test_a_stale_table_is_found_and_other_text_stays(tmp_path: Path) -> None:
    """Only what stands between the markers is written."""
    for page in PAGES:
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / page, tmp_path / page)
    messages = tmp_path / "docs" / "reference" / "messages.md"
    current = messages.read_text()
    row = "- **UnbanUser**, 24 h\n"
    assert row in current
    messages.write_text(current.replace(row, "") + "\nMore text.\n")

    assert stale_pages(tmp_path) == {"docs/reference/messages.md": current + "\nMore text.\n"}
    assert render("a\n- **UnbanUser**, 1 h\nb") == "a\n- **UnbanUser**, 1 h\nb"
