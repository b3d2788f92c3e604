"""Texts that are safe and correct to show."""

from __future__ import annotations

import pytest

from operations.printable import counted, printable, readable


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "letter", "0 letters"),
        (1, "letter", "1 letter"),
        (2, "letter", "2 letters"),
        (12_345, "letter", "12,345 letters"),
    ],
)
def test_a_noun_agrees_with_its_number(number: int, noun: str, text: str) -> None:
    """One has no plural ending."""
    assert counted(number, noun) == text
    assert counted(2, "entry", "entries") == "2 entries"
    assert counted(1, "entry", "entries") == "1 entry"


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\u202eb", "a\r\nb", "\ue000"])
def test_characters_that_control_a_terminal_are_replaced(text: str) -> None:
    """Neither colours nor the direction of a text come from a stored value."""
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)


def test_json_is_indented_and_other_text_is_printable() -> None:
    """A body is shown whatever it is."""
    assert readable('{"a":1}') == '{\n  "a": 1\n}'
    assert readable("\x1b{") == "\N{REPLACEMENT CHARACTER}{"
