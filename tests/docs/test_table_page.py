"""The read contract on docs/table.md is what the mapper writes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.dynamodb import mapper
from domain.sessions import Session
from domain.tokens import OneTimeToken
from domain.user import Ban, EmailChange, User
from domain.values import EmailAddress

PAGE = (Path(__file__).parents[2] / "docs" / "table.md").read_text()
NOW = datetime(2026, 11, 22, tzinfo=UTC)
ADA = EmailAddress.parse("ada@example.com")
TOKEN = OneTimeToken("0" * 64, NOW)
USER = User(
    user_id="5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77",
    version=7,
    created_at=NOW,
    updated_at=NOW,
    email=ADA,
    first_name="Ada",
    last_name="Lovelace",
    email_verified=True,
    password_hash="$argon2id$",
    credential_version=1,
    roles=("admin",),
    session_epoch=1,
    failed_logins=1,
    lock_count=1,
    locked_until=NOW,
    ban=Ban("spam", NOW),
    deactivated=True,
    deactivation_reason="on leave",
    erased=True,
    two_factor_enabled=True,
    email_verification=TOKEN,
    email_change=EmailChange(ADA, TOKEN),
    password_reset=TOKEN,
)
SESSION = Session("6a1d5a1f-302c-4b69-8b40-1e4c9a2a0d88", "0" * 64, ("0" * 16,), 1, NOW)


def contract(heading: str) -> dict[str, str]:
    """Give the attributes listed under a heading, with their types."""
    section = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (text,) = (part for part in section if part.startswith(f"{heading}\n"))
    rows = re.findall(r"^\| (`.*?`) \| (\w+(?: of \w+)?) \|", text, re.MULTILINE)
    return {name: kind for names, kind in rows for name in re.findall(r"`(\w+)`", names)}


def kinds(item: Any) -> dict[str, str]:
    """Give the types of an item's attributes, as the page writes them."""
    found = {}
    for name, value in item.items():
        (kind,) = value
        found[name] = f"L of {next(iter(value['L'][0]))}" if kind == "L" else kind
    return found


@pytest.mark.parametrize(
    ("heading", "item"),
    [
        ("User", mapper.render_user(USER)),
        ("Session", mapper.render_session(USER.user_id, SESSION)),
        ("Address", mapper.render_address(ADA, USER.user_id)),
    ],
    ids=["user", "session", "address"],
)
def test_an_items_attributes_are_those_of_the_page(heading: str, item: Any) -> None:
    """Whoever reads the table can rely on the page, attribute by attribute."""
    assert contract(heading) == kinds(item)


def test_every_field_of_a_user_is_set_in_the_example() -> None:
    """Else an attribute that is left out when empty could be missing here and there."""
    assert all(getattr(USER, name) for name in USER.__dataclass_fields__ if name not in APART)


APART = {"sessions", "two_factor"}
"""Kept in items of their own."""
