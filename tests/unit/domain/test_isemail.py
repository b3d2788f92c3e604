"""Our rule for addresses agrees with the is_email test set and docs/reference/addresses.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from application.addresses import parse_address
from domain.errors import InvalidValueError
from domain.values import MAX_ADDRESS, MAX_LOCAL_PART
from tests.unit.domain.isemail_cases import CASES

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "addresses.md").read_text()
CATEGORY_OF = {text: category for category, cases in CASES.items() for text in cases.values()}
TAKEN = ("VALID", "DNSWARN")
EACH = [
    pytest.param(category, text, id=f"{number}-{category}")
    for category, cases in CASES.items()
    for number, text in cases.items()
]


def taken(text: str) -> bool:
    """Return True if the text is accepted as an address."""
    try:
        parse_address(text)
    except InvalidValueError:
        return False
    return True


@pytest.mark.parametrize(("category", "text"), EACH)
def test_an_address_is_taken_if_the_set_calls_it_plain(category: str, text: str) -> None:
    """VALID or DNSWARN, once the white space around it is gone: the one rule, without exception."""
    trimmed = text.strip()
    expected = CATEGORY_OF.get(trimmed, category if trimmed == text else "none") in TAKEN
    assert taken(text) is expected


def test_what_is_taken_only_for_its_white_space_is_one_address() -> None:
    """A line end that was copied along does not make another user."""
    padded = [text for text in CATEGORY_OF if taken(text) and CATEGORY_OF[text] not in TAKEN]
    assert {parse_address(text).value for text in padded} == {"test@iana.org"}


def test_no_case_was_lost_in_writing_them_down() -> None:
    """164 cases of the set, less one that repeats another's address."""
    assert sum(map(len, CASES.values())) == len(CATEGORY_OF) == 163


def test_the_page_counts_what_is_taken_of_each_category() -> None:
    """A row for each: its cases, and those of them that are taken."""
    rows = re.findall(r"\b([A-Z0-9]+)(?: \([^)]*\))? (\d+) of (\d+)\b", PAGE)
    counted = [
        (category, str(sum(map(taken, cases.values()))), str(len(cases)))
        for category, cases in CASES.items()
    ]
    assert rows == counted


def test_the_page_shows_what_is_refused_and_taken() -> None:
    """The page's examples and limits are correct."""
    takes, refuses = (
        re.findall(r"^- `([^`]+)`", part, re.MULTILINE) for part in PAGE.split("## Refused")
    )
    assert takes
    assert refuses
    assert all(map(taken, takes)), takes
    assert not any(map(taken, refuses)), refuses
    assert f"{MAX_LOCAL_PART} bytes" in PAGE
    assert f"{MAX_ADDRESS} bytes" in PAGE
