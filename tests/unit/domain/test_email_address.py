"""E-mail addresses: one form each, and one key for all letter cases."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.characters import is_visible_word
from domain.errors import InvalidValueError
from domain.values import EmailAddress

SURROGATE = "\ud800"
LABEL_63 = "d" * 63


def address_of(length: int) -> str:
    """Write an address of so many bytes, with a local part of 64."""
    domain = f"{LABEL_63}.{LABEL_63}.{'d' * (length - 65 - 128 - 4)}.com"
    return f"{'l' * 64}@{domain}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("Ada@Example.COM", "Ada@example.com", id="only the domain is lower-cased"),
        pytest.param("  ada@example.com\n", "ada@example.com", id="trimmed"),
        pytest.param("ada+tag@example.com", "ada+tag@example.com", id="tag"),
        pytest.param("a.b-c_d!#$%&'*/=?^`{|}~@x.org", "a.b-c_d!#$%&'*/=?^`{|}~@x.org", id="atom"),
        pytest.param("ada@127.example", "ada@127.example", id="a number among the labels"),
        pytest.param("zoe\u0308@example.com", "zoë@example.com", id="local part composed"),
        pytest.param("ada@bücher.example", "ada@xn--bcher-kva.example", id="IDNA"),
        pytest.param("ada@BU\u0308CHER.example", "ada@xn--bcher-kva.example", id="IDNA composed"),
        pytest.param("ada@例え。jp", "ada@xn--r8jz45g.jp", id="ideographic full stop"),
        pytest.param("ada@XN--STRAE-OQA.example", "ada@xn--strae-oqa.example", id="A-label"),
        pytest.param("юзер@пример.рф", "юзер@xn--e1afmkfd.xn--p1ai", id="Cyrillic"),
        pytest.param("é" * 32 + "@x.org", "é" * 32 + "@x.org", id="64 bytes before @"),
        pytest.param(address_of(254), address_of(254), id="254 bytes"),
    ],
)
def test_an_address_is_kept_in_one_form(text: str, value: str) -> None:
    """Trimmed, composed, its domain in lower-case ASCII, its local part as given."""
    assert EmailAddress.parse(text).value == value


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("ada", id="no @"),
        pytest.param("@example.com", id="no local part"),
        pytest.param("ada@", id="no domain"),
        pytest.param("ada@@example.com", id="two @"),
        pytest.param("a@b@example.com", id="@ in the local part"),
        pytest.param('"a b"@example.com', id="quoted"),
        pytest.param("a b@example.com", id="space"),
        pytest.param("a\u00a0b@example.com", id="no-break space"),
        pytest.param("a\x00b@example.com", id="NUL"),
        pytest.param("a\x81b@example.com", id="C1 control"),
        pytest.param("a\u200bb@example.com", id="zero-width space"),
        pytest.param("a\u202eb@example.com", id="direction override"),
        pytest.param("a\u037eb@example.com", id="becomes a semicolon when composed"),
        pytest.param(".ada@example.com", id="leading dot"),
        pytest.param("ada.@example.com", id="trailing dot"),
        pytest.param("a..b@example.com", id="two dots"),
        pytest.param("Ada <ada@example.com>", id="display name"),
        pytest.param("a,b@example.com", id="comma"),
        pytest.param("ada@localhost", id="domain without a dot"),
        pytest.param("ada@example.com.", id="root dot"),
        pytest.param("ada@.example.com", id="empty label"),
        pytest.param("ada@-x.com", id="leading hyphen"),
        pytest.param("ada@x-.com", id="trailing hyphen"),
        pytest.param("ada@ex_ample.com", id="underscore"),
        pytest.param("ada@exa mple.com", id="space in the domain"),
        pytest.param("ada@127.0.0.1", id="IP address"),
        pytest.param("ada@[127.0.0.1]", id="address literal"),
        pytest.param(f"ada@{'d' * 64}.com", id="label of 64"),
        pytest.param(f"ada@{'ü' * 64}.com", id="IDNA label too long"),
        pytest.param("ada@straße.example", id="IDNA deviation: sharp s"),
        pytest.param("ada@STRAẞE.example", id="IDNA deviation: capital sharp s"),
        pytest.param("ada@βόλος.example", id="IDNA deviation: final sigma"),
        pytest.param("ada@a\u200db.example", id="IDNA deviation: joiner"),
        pytest.param("ada@a\u200cb.example", id="IDNA deviation: non-joiner"),
        pytest.param("l" * 65 + "@example.com", id="65 bytes before @"),
        pytest.param("é" * 33 + "@example.com", id="66 bytes in 33 characters before @"),
        pytest.param(address_of(255), id="255 bytes"),
        pytest.param(f"ada@{'ü' * 100_000}.com", id="a domain that would take long"),
        pytest.param(f"a{SURROGATE}@example.com", id="lone surrogate in the local part"),
        pytest.param(f"ada@{SURROGATE}.com", id="lone surrogate in the domain"),
    ],
)
def test_an_invalid_address_is_refused(text: str) -> None:
    """The error names a rule; no part of the address is in it."""
    with pytest.raises(InvalidValueError) as error:
        EmailAddress.parse(text)
    assert not text or text not in str(error.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("Ada@Example.com", "aDA@eXAMPLE.com", id="ASCII"),
        pytest.param("ZOË@example.com", "zoe\u0308@example.com", id="composed or not"),
        pytest.param("STRASSE@example.com", "straße@example.com", id="sharp s folds to ss"),
        pytest.param("ΣΊΣΥΦΟΣ@example.com", "σίσυφος@example.com", id="final sigma"),
        pytest.param("ada@BÜCHER.example", "ada@xn--bcher-kva.example", id="both forms of IDNA"),
    ],
)
def test_addresses_that_differ_by_letter_case_share_a_key(one: str, other: str) -> None:
    """So they belong to one user."""
    assert EmailAddress.parse(one).key == EmailAddress.parse(other).key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("ada@example.com", "ada@example.org", id="domain"),
        pytest.param("ada@example.com", "ada+x@example.com", id="tag"),
        pytest.param("ada.l@example.com", "adal@example.com", id="dot"),
        pytest.param("zoë@example.com", "zoe@example.com", id="accent"),
    ],
)
def test_other_addresses_have_other_keys(one: str, other: str) -> None:
    """Only letter case and composition are ignored."""
    assert EmailAddress.parse(one).key != EmailAddress.parse(other).key


ATOM = st.text(
    st.characters(categories=["L", "N", "M"], include_characters="+-_'"), min_size=1, max_size=8
)
DOMAIN = st.sampled_from(["example.com", "Example.ORG", "bücher.example", "пример.рф", "a-b.c1.de"])


@st.composite
def addresses(draw: st.DrawFn) -> EmailAddress:
    """Draw a valid address with any letters in its local part."""
    atoms = ATOM.filter(is_visible_word)
    local = ".".join(draw(st.lists(atoms, min_size=1, max_size=2)))
    assume(is_visible_word(unicodedata.normalize("NFC", local)))
    return EmailAddress.parse(f"{local}@{draw(DOMAIN)}")


@given(addresses())
def test_parsing_what_was_parsed_changes_nothing(address: EmailAddress) -> None:
    """`value` and `key` are fixed points, so that a stored address reads as it was written."""
    assert EmailAddress.parse(address.value) == address
    assert EmailAddress.parse(address.key).key == address.key


@given(addresses().filter(lambda address: "\u0131" not in address.value))
def test_a_key_knows_no_letter_case(address: EmailAddress) -> None:
    """Upper, lower or folded: one key; but the dotless i, whose capital is I, is another letter."""
    for change in (str.upper, str.lower, str.casefold):
        try:
            changed = EmailAddress.parse(change(address.value))
        except InvalidValueError:  # some letters have longer capitals: more than 64 bytes
            continue
        assert changed.key == address.key


@given(st.text(max_size=80) | st.builds("{}@{}".format, st.text(max_size=70), st.text(max_size=70)))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """Nothing but `InvalidValueError` comes out, and what is taken keeps the limits."""
    try:
        value = EmailAddress.parse(text).value
    except InvalidValueError:
        return
    local, _, domain = value.rpartition("@")
    assert len(local.encode()) <= 64
    assert len(value.encode()) <= 254
    assert domain.isascii()
    assert domain == domain.lower()
