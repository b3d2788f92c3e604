"""The read contract in docs/reference/table.md agrees with the mapper."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from adapters.dynamodb import mapper, records
from application.repository import BannedAddress
from domain.errors import RejectionCode
from domain.sessions import Session
from domain.tokens import OneTimeToken
from domain.user import AcceptedTerms, Ban, EmailChange, User
from domain.values import EmailAddress
from scripts.reference_tables import APART
from tests.persistence import outcome, two_factor

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "table.md").read_text()
NOW = datetime(2026, 11, 22, tzinfo=UTC)
ADA = EmailAddress.parse("ada@example.com")
TOKEN = OneTimeToken("0" * 64, NOW)
EXAMPLES: dict[Any, Any] = {
    str: "text",
    int: 1,
    bool: True,
    datetime: NOW,
    EmailAddress: ADA,
    tuple[str, ...]: ("admin",),
    Ban: Ban("spam", NOW),
    EmailChange: EmailChange(ADA, TOKEN),
    dict[str, datetime]: {"6a1d5a1f-302c-4b69-8b40-1e4c9a2a0d88": NOW},
    dict[str, AcceptedTerms]: {"terms": AcceptedTerms("1", NOW)},
    OneTimeToken: TOKEN,
}
"""A value of each type that a field of a user has."""


def example_user() -> User:
    """Return a user with a value in every field that is stored in its own item."""
    values = {}
    for name, hint in get_type_hints(User).items():
        if name not in APART:
            kind = next(part for part in (*get_args(hint), hint) if part is not type(None))
            kind = hint if get_origin(hint) in (tuple, dict) else kind
            assert kind in EXAMPLES, f"User.{name}: add a value of its type to EXAMPLES above"
            values[name] = EXAMPLES[kind]
    return User(**values)


USER = example_user()
SESSION = Session(
    "6a1d5a1f-302c-4b69-8b40-1e4c9a2a0d88",
    "0" * 64,
    ("0" * 32,),
    NOW,
    replaced_token_hash="0" * 32,
    replaced_at=NOW,
    started_at=NOW,
    last_used_at=NOW,
    methods=("pwd",),
    device="Phone",
)
OUTCOME = replace(
    outcome("command", "ada", by_email=True, code=RejectionCode.TOKEN_INVALID),
    traceparent="00-" + "1" * 32 + "-" + "1" * 16 + "-01",
    tracestate="a=b",
    actor="support/7",
    producer="signup",
    principal="AROASIGNUP",
)


def contract(heading: str) -> dict[str, str]:
    """Return the attributes listed for every item and under a heading, with their types."""
    common, *sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (text,) = (part for part in sections if part.startswith(f"{heading}\n"))
    rows = re.findall(r"^- (`[^:(]*`) \((\w+(?: of \w+)?)\)", common + text, re.MULTILINE)
    return {name: kind for names, kind in rows for name in re.findall(r"`(\w+)`", names)}


def kinds(item: Any) -> dict[str, str]:
    """Return the types of an item's attributes, as the page writes them."""
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
        ("Second factor", mapper.render_two_factor(USER.user_id, two_factor())),
        ("Address", mapper.render_address(ADA, USER.user_id, held=True)),
        ("Banned address", mapper.render_banned(BannedAddress("0" * 64, USER.user_id, NOW))),
        ("Outcome", records.render_outcome(OUTCOME)),
    ],
    ids=["user", "session", "second factor", "address", "banned address", "outcome"],
)
def test_an_items_attributes_are_those_of_the_page(heading: str, item: Any) -> None:
    """Readers of the table can rely on the page for every attribute."""
    assert contract(heading) == kinds(item)


def test_every_field_of_a_user_is_set_in_the_example() -> None:
    """Otherwise an attribute that is omitted if empty might not be tested."""
    assert all(getattr(USER, name) for name in USER.__dataclass_fields__ if name not in APART)
