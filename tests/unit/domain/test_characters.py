"""Characters: what is invisible, pasted or ambiguous is refused; what people are called is not."""

from __future__ import annotations

import sys
import unicodedata

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from application.addresses import parse_address
from domain import characters
from domain.characters import NEWEST_UNICODE, is_name
from domain.errors import InvalidValueError
from domain.values import parse_name, parse_reason

PASTED_QUOTES = "“”„‟‘’‚‛«»‹›「」『』〝〞〟＂＇｢｣′″´ʹʺʼʻˈˮꞌ՚׳״⹂"  # noqa: RUF001 - is the point
INVISIBLE = {
    "soft hyphen": "\u00ad",
    "combining grapheme joiner": "\u034f",
    "Arabic letter mark": "\u061c",
    "Hangul choseong filler": "\u115f",
    "Hangul jungseong filler": "\u1160",
    "Khmer inherent vowel": "\u17b4",
    "Mongolian variation selector": "\u180b",
    "zero-width space": "\u200b",
    "left-to-right mark": "\u200e",
    "direction override": "\u202e",
    "word joiner": "\u2060",
    "reserved as ignorable": "\u2065",
    "direction isolate": "\u2066",
    "braille blank": "\u2800",
    "Hangul filler": "\u3164",
    "variation selector": "\ufe0f",
    "byte order mark": "\ufeff",
    "half-width Hangul filler": "\uffa0",
    "reserved among specials": "\ufff0",
    "object replacement": "\ufffc",
    "shorthand overlap": "\U0001bca0",
    "null notehead": "\U0001d159",
    "musical begin beam": "\U0001d173",
    "tag": "\U000e0061",
    "variation selector of ideographs": "\U000e0100",
}
NO_TEXT = {
    "control": "\x07",
    "C1 control": "\x9b",
    "private use": "\ue000",
    "private use of plane 16": "\U0010fffd",
    "unassigned": "\u0378",
    "noncharacter": "\ufdd0",
    "noncharacter at the end of a plane": "\U0002fffe",
    "Hieroglyphic blank of Unicode 15": "\U00013441",
    "letter of Unicode 16": "\U00010d50",
    "emoji of Unicode 15": "\U0001fae8",
}
REFUSED = INVISIBLE | NO_TEXT


@pytest.mark.parametrize("quote", list(PASTED_QUOTES))
@pytest.mark.parametrize(
    "form", ["{}ada@example.com", "ada{}@example.com", "a{}da@example.com", "ada@example.com{}",
             "ada@{}example.com", "ada@exa{}mple.com", "{0}ada@example.com{0}"]
)  # fmt: skip
def test_a_pasted_quotation_mark_makes_no_second_user(form: str, quote: str) -> None:
    """Word processors turn straight ones into these; no mailbox has them."""
    with pytest.raises(InvalidValueError):
        parse_address(form.format(quote))


@pytest.mark.parametrize("character", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize(
    "form", ["{}ada@example.com", "ada{}@example.com", "a{}da@example.com", "ada@example.com{}",
             "ada@exa{}mple.com"]
)  # fmt: skip
def test_an_invisible_character_makes_no_second_user(form: str, character: str) -> None:
    """The same holds for a character that is not text, on either side of the @."""
    with pytest.raises(InvalidValueError):
        parse_address(form.format(character))


@pytest.mark.parametrize("character", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("form", ["{}", "{0}{0}", "{} {}", "{}Ada", "A{}da", "Ada{}"])
def test_a_name_and_a_reason_are_visible_text(form: str, character: str) -> None:
    """A name that looks empty or like another one, or that reverses the line, is invalid."""
    for parse in (parse_name, parse_reason):
        with pytest.raises(InvalidValueError):
            parse(form.format(character, character))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("ada\u2013l@example.com", id="en dash for a hyphen"),
        pytest.param("ada\u2011l@example.com", id="non-breaking hyphen"),
        pytest.param("ada\u2026@example.com", id="ellipsis"),
        pytest.param("ａｄａ@example.com", id="full width"),  # noqa: RUF001 - is the point
        pytest.param("\ufb01ona@example.com", id="ligature"),
        pytest.param("\U0001d41ada@example.com", id="mathematical letter"),
        pytest.param("ada\u00b2@example.com", id="superscript"),
        pytest.param("ada\u00aa@example.com", id="ordinal"),
        pytest.param("\u0301ada@example.com", id="mark on nothing"),
        pytest.param("ada\U0001f600@example.com", id="emoji"),
        pytest.param("ada\ufffd@example.com", id="replacement character"),
        pytest.param("ada@example\u00b2.com", id="superscript in the domain"),
        pytest.param("ada@example\u2122.com", id="trade mark in the domain"),
        pytest.param("ada@exam\u2013ple.com", id="en dash in the domain"),
        pytest.param("ada@i\u2764.ws", id="emoji in the domain"),
        pytest.param("ada@example.xn--com-9o0a", id="quotation mark in an ASCII form"),
        pytest.param("ada@xn--999999999.example", id="an ASCII form of nothing"),
        pytest.param("ada@\U00031350.example", id="ideograph of Unicode 15 in the domain"),
        pytest.param("ada@xn--929h.example", id="emoji of Unicode 15 in an ASCII form"),
        pytest.param("ada@xn--0y0c.example", id="private use in an ASCII form"),
    ],
)
def test_a_mistyped_address_is_refused(text: str) -> None:
    """Beyond ASCII an address has letters, digits and the marks on them."""
    with pytest.raises(InvalidValueError):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("o'brien@example.ie", "o'brien@example.ie"),
        ("用户@例子.广告", "用户@xn--fsqu00a.xn--4rr70v"),
        ("अजय@डाटा.भारत", "अजय@xn--c2bd1gb.xn--h2brj9c"),
        ("χρήστης@παράδειγμα.ελ", "χρήστης@xn--hxajbheg2az3al.xn--qxam"),
        ("квіточка@пошта.укр", "квіточка@xn--80a1acn3a.xn--j1amh"),
        ("น้ำ@ตัวอย่าง.ไทย", "น้ำ@xn--72c1a1bt4awk9o.xn--o3cw4h"),
        ("علی@فارسی.ایران", "علی@xn--mgbug7c06b.xn--mgba3a4f16a"),
        ("二ノ宮@黒川.日本", "二ノ宮@xn--5rtw95l.xn--wgv71a"),
        ("col·legi@example.cat", "col·legi@example.cat"),
        ("ada@ｅｘ－ａｍｐｌｅ．ｃｏｍ", "ada@ex-ample.com"),  # noqa: RUF001 - full width
        ("ada@xn--i-7iq.ws", "ada@xn--i-7iq.ws"),
        ("ada@xn--mgba3gch31f060k.com", "ada@xn--mgba3gch31f060k.com"),
        ("a\U00031350@example.com", "a\U00031350@example.com"),
        ("ada@straße.example", "ada@xn--strae-oqa.example"),
        ("ada@نامه\u200cای.com", "ada@xn--mgba3gch31f060k.com"),  # noqa: RUF001
    ],
)
def test_an_address_in_any_script_is_taken(text: str, value: str) -> None:
    """An emoji domain and one with a joiner are accepted too, in their ASCII form."""
    assert parse_address(text).value == value


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("O’Brien", id="typographic apostrophe"),  # noqa: RUF001 - is the point
        pytest.param("Kāʻeo", id="okina"),  # noqa: RUF001 - is the point
        pytest.param("Ada «the first»", id="quotation marks"),
        pytest.param("山田\u3000太郎", id="ideographic space"),
        pytest.param("葛\U000e0100城", id="variant of an ideograph"),
        pytest.param("\U00031350", id="ideograph of Unicode 15"),
        pytest.param("علی\u200cرضا", id="Persian with a non-joiner"),  # noqa: RUF001
        pytest.param("ക\u0d4d\u200cഷ", id="Malayalam with a non-joiner"),
        pytest.param("അനില\u0d4d\u200d", id="Malayalam with a joiner at the end"),
        pytest.param("ශ\u0dca\u200dරී", id="Sinhala with a joiner"),
        pytest.param("র\u200d\u09cdয", id="Bengali with a joiner before the virama"),
        pytest.param("ᠪᠠᠭᠠᠨ\u180eᠠ", id="Mongolian vowel separator"),
        pytest.param("ᠮ\u180bᠣ", id="Mongolian variant"),
        pytest.param("Ada \u2764\ufe0f", id="emoji with a variation selector"),
        pytest.param("👩🏽\u200d🚀", id="emoji of three"),
        pytest.param("\u2014", id="a dash for somebody with one name"),
    ],
)
def test_a_name_in_any_script_is_taken(name: str) -> None:
    """Joiners and variants are part of the spelling there."""
    assert parse_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["A\u200dda", "Ada\u200c", "\u200cAda", "A\ufe0fda", "Ж\u200dюк", "ع\u200d", "❤\ufe0f\ufe0f"],
)
def test_a_joiner_where_no_script_needs_one_is_refused(name: str) -> None:
    """It would be a second spelling that looks the same."""
    with pytest.raises(InvalidValueError):
        parse_name(name)


CHARACTERS = [chr(code) for code in range(sys.maxunicode + 1)]


def with_property(name: str) -> set[str]:
    """Return the characters that have a property, by an independent copy of Unicode's data."""
    return set(filter(regex.compile(rf"\p{{{name}}}").match, CHARACTERS))


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("Default_Ignorable_Code_Point", characters._IGNORABLE),
        ("Quotation_Mark", f"22 27 {characters._QUOTATION_MARKS}"),
    ],
)
def test_a_table_is_that_of_unicode(name: str, table: str) -> None:
    """Every code point of the property, and no other."""
    of_table = set(filter(regex.compile(f"[{characters._one_of(table)}]").match, CHARACTERS))

    assert of_table == with_property(name)


def test_every_invisible_or_directing_character_is_hidden() -> None:
    """Those that Unicode calls ignorable, and those that control direction."""
    hidden = set(filter(characters._HIDDEN.match, CHARACTERS))

    assert with_property("Default_Ignorable_Code_Point") < hidden
    assert with_property("Bidi_Control") < hidden
    assert with_property("White_Space").isdisjoint(hidden)


def test_every_newer_character_is_in_the_tables() -> None:
    """What Unicode has and this Python does not know is newer than Unicode 14, or an ideograph."""
    unknown = {char for char in CHARACTERS if unicodedata.category(char) == "Cn"}
    missed = {
        char
        for char in unknown - with_property("Unassigned")
        if not (characters._NEWER.match(char) or characters._IDEOGRAPHS.match(char))
    }

    assert missed == set()


@pytest.mark.parametrize("name", ["Private_Use", "Unassigned", "Bidi_Control"])
def test_no_character_of_these_kinds_is_accepted_anywhere(name: str) -> None:
    """Whole kinds, in both parts of an address and in a name."""
    some = sorted(with_property(name))
    for char in some[:: max(1, len(some) // 500)]:
        for parse, text in (
            (parse_address, f"a{char}b@example.com"),
            (parse_address, f"ada@a{char}b.example"),
            (parse_name, f"A{char}b"),
        ):
            with pytest.raises(InvalidValueError):
                parse(text)


def test_what_is_unassigned_does_not_depend_on_python() -> None:
    """Otherwise workers on different Pythons would differ: extend `_NEWER` and `_IDEOGRAPHS`."""
    newest = tuple(map(int, NEWEST_UNICODE.split(".")))

    assert tuple(map(int, unicodedata.unidata_version.split("."))) <= newest


def test_no_character_of_the_oldest_unicode_counts_as_newer() -> None:
    """Letters of Unicode 3.2, which every Python has beside its own, are all taken in names."""
    old = unicodedata.ucd_3_2_0
    letters = [
        chr(code)
        for code in range(sys.maxunicode + 1)
        if {old.category(chr(code)), unicodedata.category(chr(code))} == {"Lo"}
    ]
    blank = {"\u115f", "\u1160", "\u3164", "\uffa0"}

    assert len(letters) > 60_000
    assert {letter for letter in letters if not is_name(letter)} == blank


IDEOGRAPHIC_PLANES = range(0x20000, 0x40000)


@given(st.text(min_size=1, max_size=20))
@example("\U00031350")
def test_a_name_that_is_taken_reads_the_same_again(text: str) -> None:
    """The parsed name has a visible character; Python may not know an ideograph of it yet."""
    try:
        name = parse_name(text)
    except InvalidValueError:
        return
    assert parse_name(name) == name
    assert any(
        unicodedata.category(char)[0] in "LNPS" or ord(char) in IDEOGRAPHIC_PLANES for char in name
    )
