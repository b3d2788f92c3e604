"""Which characters an e-mail address and a name may hold (docs/adr/0028-characters-of-a-text.md).

Python's `unicodedata` knows neither which characters are invisible nor when a character was added
to Unicode, and its version depends on Python's. Both tables below are facts of the Unicode
Character Database 18.0: `Default_Ignorable_Code_Point` of DerivedCoreProperties.txt, and
the code points assigned after 14.0 of DerivedAge.txt.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

NEWEST_UNICODE: Final = "18.0.0"
"""The version up to which `_NEWER` is complete; a Python with a newer one needs a longer table."""


def _one_of(ranges: str) -> str:
    """Return the inside of a regular expression's character class for ranges in hexadecimal."""
    bounds = (part.split("-") for part in ranges.split())
    return "".join(f"{chr(int(each[0], 16))}-{chr(int(each[-1], 16))}" for each in bounds)


_IGNORABLE: Final = """
    AD 34F 61C 115F-1160 17B4-17B5 180B-180F 200B-200F 202A-202E 2060-206F 3164 FE00-FE0F FEFF FFA0
    FFF0-FFF8 1BCA0-1BCA3 1D173-1D17A E0000-E0FFF
"""
# Visible to Unicode, blank or a placeholder in fonts: braille blank, object replacement, null
# notehead, and the blanks among the Egyptian hieroglyphs.
_BLANK: Final = "2800 FFFC 1D159 13441-13442"
_HIDDEN = re.compile(f"[{_one_of(_IGNORABLE + _BLANK)}]")

# Python 3.11, the oldest that is supported, has Unicode 14. What came later has no letter case and
# no composition there, so two workers could see two addresses where there is one.
_NEWER = re.compile(
    "["
    + _one_of("""
    558 58B-58C 5C8-5C9 88F 897 B53-B54 C5C CDC CF3 ECE 1ACF-1AF0 1B4E-1B4F 1B7F 1C89-1C8A 208F
    209D-209F 20C1-20C4 2427-2429 2B96 2E60-2E63 2FFC-2FFF 31E4-31EF A7CB-A7CF A7D2 A7D4 A7DA-A7F1
    AB6C-AB6D FBC3-FBD2 FD90-FD91 FDC8-FDCE 105C0-105F3 107BB-107BF 10940-10959 10D40-10D8F
    10EC2-10EFF 1123F-11241 11380-113E2 116D0-116E3 11B00-11BF9 11DB0-11DF1 11F00-11F5A 1246F
    12475-1247F 12550-12686 1342F 13439-143FA 16100-16139 16D40-16D79 16EA0-16ED3 16FF2-16FF6
    187F8-187FF 18CD6-18CFF 18D09-191D2 1B123-1B132 1B155 1B168 1CC00-1CEFD 1D127-1D128 1D1EB-1D1FF
    1D250-1D2D3 1D6A6 1DB00-1DB1C 1DF1F-1DFFF 1E030-1E08F 1E4D0-1E6FF 1F1AE 1F6D8-1F6DC 1F774-1F77F
    1F7D9-1F7DB 1F7F1-1F7FF 1F8B2-1F8D8 1FA54-1FA57 1FA75-1FA77 1FA87-1FA8F 1FAAD-1FAAF 1FABB-1FABF
    1FAC6-1FACF 1FADA-1FADF 1FAE8-1FAEF 1FAF7-1FAFA 1FBCB-1FBEF 1FBFA 3D000-3FC3F
    """)
    + "]"
)
# But newer Chinese characters, which people are registered under, have neither.
_IDEOGRAPHS = re.compile(f"[{_one_of('2B739-2B73F 2B81E 2CEA2-2CEAD 2EBF0-2EE5D 31350-33479')}]")

# Letters to Unicode, and quotation marks or apostrophes to whoever sees them.
_QUOTE_LETTERS: Final = frozenset("ʹʺʻʼʽˈˊˋˮʹꞋꞌߴߵ")
# Quotation_Mark of PropList.txt beyond ASCII.
_QUOTATION_MARKS: Final = """
    AB BB 2018-201F 2039-203A 2E42 300C-300F 301D-301F FE41-FE44 FF02 FF07 FF62-FF63
"""
_QUOTES = re.compile(f"[{_one_of(_QUOTATION_MARKS)}]")
# Not letters to Unicode, and part of words: the middle dots of Catalan and Japanese (RFC 5892, A.3
# and A.7), and the zero of Chinese (RFC 5892, 2.6).
_WORD_SIGNS: Final = frozenset("\u00b7\u30fb\u3007")
# What UTS 46 maps to a dot or a hyphen.
_DOMAIN_SIGNS: Final = frozenset("\u3002\uff0e\uff61\uff0d")

_ZERO_WIDTH_JOINERS: Final[dict[int, None]] = {0x200C: None, 0x200D: None}
_JOINERS: Final = frozenset("\u200c\u200d\u180e")
_SELECTORS = re.compile(f"[{_one_of('180B-180D 180F FE00-FE0F E0100-E01EF')}]")
_VIRAMA: Final = 9  # its canonical combining class


def is_visible_word(text: str) -> bool:
    """Return True if all characters beyond ASCII may stand before the `@` of an address.

    These are letters, digits and the marks on them. Not those that stand for ASCII characters
    (full width, ligatures, superscripts), which nobody means to be another address.
    """
    if text.isascii():
        return True
    return not _is_mark(text[0]) and all(
        char.isascii()
        or (
            _is_word_character(char)
            and not any(map(str.isascii, unicodedata.normalize("NFKC", char)))
        )
        for char in text
    )


def is_domain_word(text: str) -> bool:
    """Return True if all characters beyond ASCII may stand in the Unicode form of a domain.

    Full width and the like are accepted: UTS 46 maps them to the one domain that they mean. So are
    joiners, whose context the caller must check by IDNA 2008.
    """
    return text.isascii() or all(
        char.isascii()
        or char in _DOMAIN_SIGNS
        or (_is_word_character(char) and not _is_newer(char))
        for char in text.translate(_ZERO_WIDTH_JOINERS)
    )


def is_domain_label(text: str) -> bool:
    """Return True if a decoded `xn--` label has no invisible, unassigned or quotation character.

    Symbols are accepted, since domains of emoji exist. So are joiners, whose context the caller
    must check by IDNA 2008.
    """
    rest = text.translate(_ZERO_WIDTH_JOINERS)
    if _HIDDEN.search(rest) or _QUOTES.search(rest) or _QUOTE_LETTERS & set(rest):
        return False
    return not any(_is_newer(char) or unicodedata.category(char)[0] == "C" for char in rest)


def is_name(text: str) -> bool:
    """Return True if a trimmed name or reason can be read, and read in one way only.

    It has a visible character, and none that is a control, a direction, private, unassigned or
    invisible. Joiners and variation selectors are right where a script, or an emoji, needs them.
    """
    if text.isascii():
        return text.isprintable()
    return any(_is_base(char) for char in text) and all(
        (char.isascii() and char.isprintable()) or _may_be_in_name(text, place)
        for place, char in enumerate(text)
    )


def _may_be_in_name(text: str, place: int) -> bool:
    char = text[place]
    if char in _JOINERS:
        return _joins(text, place)
    if _SELECTORS.match(char):
        return place > 0 and _takes_joiners(text[place - 1]) and not _is_mark(text[place - 1])
    if _HIDDEN.match(char) or _is_unassigned(char):
        return False
    return unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def _joins(text: str, place: int) -> bool:
    """Return True if the joiner there stands between two characters that it acts on.

    After a virama it acts on what is before, also at the end of a word.
    """
    before, after = text[max(place - 1, 0) : place], text[place + 1 : place + 2]
    if before and unicodedata.combining(before) == _VIRAMA:
        return True
    return bool(before and after) and _takes_joiners(before) and _takes_joiners(after)


def _takes_joiners(char: str) -> bool:
    """Return True for Arabic, Indic and Mongolian letters, and for emoji: all without case."""
    return (
        not char.isascii()
        and char.upper() == char.lower()
        and unicodedata.category(char)[0] in "LMS"
        and char not in _JOINERS
    )


def _is_word_character(char: str) -> bool:
    if char in _WORD_SIGNS or _IDEOGRAPHS.match(char):
        return True
    if char in _QUOTE_LETTERS or _HIDDEN.match(char) or _is_unassigned(char):
        return False
    return unicodedata.category(char) in {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd"}


def _is_base(char: str) -> bool:
    visible = unicodedata.category(char)[0] in "LNPS" or _IDEOGRAPHS.match(char)
    return bool(visible) and not _HIDDEN.match(char)


def _is_unassigned(char: str) -> bool:
    if _IDEOGRAPHS.match(char):
        return False
    return unicodedata.category(char) == "Cn" or bool(_NEWER.match(char))


def _is_newer(char: str) -> bool:
    """Return True if the oldest Python does not know the character, an ideograph or not.

    The rules of IDNA on direction need Python's own data, so that Pythons would differ on it.
    """
    return bool(_NEWER.match(char) or _IDEOGRAPHS.match(char))


def _is_mark(char: str) -> bool:
    return unicodedata.category(char)[0] == "M"
