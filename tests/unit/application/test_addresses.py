"""E-mail addresses: one form each, and one key for all letter cases and at every entry."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import regex
from hypothesis import assume, given
from hypothesis import strategies as st

from application.addresses import parse_address
from application.messages.commands import MessageParser, partition_key, render_command
from application.messages.outgoing import check_outgoing
from biome_users._addresses import address_key
from domain.characters import is_visible_word
from domain.errors import InvalidValueError
from domain.values import EmailAddress
from operations.users import parse_user
from tests.builders import uid

ROOT = Path(__file__).parents[3]
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
        pytest.param("ada@straße.example", "ada@xn--strae-oqa.example", id="sharp s"),
        pytest.param("ada@STRAẞE.example", "ada@xn--strae-oqa.example", id="capital sharp s"),
        pytest.param("ada@βόλος.example", "ada@xn--nxasmm1c.example", id="final sigma"),
        pytest.param("ada@نامه\u200cای.com", "ada@xn--mgba3gch31f060k.com", id="non-joiner"),  # noqa: RUF001
        pytest.param("ada@ශ්\u200dරී.com", "ada@xn--10cl1a0b660p.com", id="joiner"),
        pytest.param("ada@ＥＸ－ＡＭＰＬＥ．com", "ada@ex-ample.com", id="full width"),  # noqa: RUF001
        pytest.param("ada@ᏣᎳᎩ.example", "ada@xn--f9dt7l.example", id="Cherokee"),
        pytest.param(" ada@bücher.example\u3000", "ada@xn--bcher-kva.example", id="IDNA trimmed"),
        pytest.param("é" * 32 + "@x.org", "é" * 32 + "@x.org", id="64 bytes before @"),
        pytest.param(address_of(254), address_of(254), id="254 bytes"),
    ],
)
def test_an_address_is_kept_in_one_form(text: str, value: str) -> None:
    """Trimmed, composed, its domain in lower-case ASCII, its local part as given."""
    assert parse_address(text).value == value


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
        pytest.param("ada@a\u200db.example", id="joiner out of place"),
        pytest.param("ada@a\u200cb.example", id="non-joiner out of place"),
        pytest.param("ada@xn--ab-m1t.example", id="joiner out of place in an ASCII form"),
        pytest.param("ada@\u0301a.example", id="domain that starts with a mark"),
        pytest.param("ada@אa.example", id="two directions in a label"),
        pytest.param("ada@xn--a-zhc.example", id="two directions in an ASCII form"),
        pytest.param("ada@c·c.example", id="middle dot out of place"),
        pytest.param("ada@xn--bcher-kvb\u00fc.example", id="ASCII form with a letter beyond it"),
        pytest.param("ada@xn--bcher-2pa.example", id="ASCII form of a capital"),
        pytest.param("ada@xn---bbk.example", id="second ASCII form of a label"),
        pytest.param("ada@xn--abc-.example", id="ASCII form of ASCII"),
        pytest.param("ada@xn--.example", id="ASCII form of nothing"),
        pytest.param("ada@ab--ü.example", id="hyphens at three and four"),
        pytest.param("ada@例え.jp。", id="root dot, ideographic"),
        pytest.param("ada@ bücher.example", id="space before an IDNA domain"),
        pytest.param("bücher.example", id="IDNA domain alone"),
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
        parse_address(text)
    assert not text or text not in str(error.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("Ada@Example.com", "aDA@eXAMPLE.com", id="ASCII"),
        pytest.param("ZOË@example.com", "zoe\u0308@example.com", id="composed or not"),
        pytest.param("STRASSE@example.com", "straße@example.com", id="sharp s folds to ss"),
        pytest.param("ΣΊΣΥΦΟΣ@example.com", "σίσυφος@example.com", id="final sigma"),
        pytest.param("ada@BÜCHER.example", "ada@xn--bcher-kva.example", id="both forms of IDNA"),
        pytest.param("ada@ΒΌΛΟΣ.example", "ada@βόλοσ.example", id="IDNA in capitals"),
    ],
)
def test_addresses_that_differ_by_letter_case_share_a_key(one: str, other: str) -> None:
    """So they belong to one user."""
    assert parse_address(one).key == parse_address(other).key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("ada@example.com", "ada@example.org", id="domain"),
        pytest.param("ada@example.com", "ada+x@example.com", id="tag"),
        pytest.param("ada.l@example.com", "adal@example.com", id="dot"),
        pytest.param("zoë@example.com", "zoe@example.com", id="accent"),
        pytest.param("ada@straße.example", "ada@strasse.example", id="sharp s in the domain"),
        pytest.param("ada@βόλος.example", "ada@βόλοσ.example", id="final sigma in the domain"),
    ],
)
def test_other_addresses_have_other_keys(one: str, other: str) -> None:
    """Only letter case and composition are ignored."""
    assert parse_address(one).key != parse_address(other).key


# --- laws ------------------------------------------------------------------------------------

WORD = st.characters(categories=["L", "N", "M"], include_characters="+-_'")
ATOM = st.text(WORD, min_size=1, max_size=8)


def is_accepted(domain: str) -> bool:
    """Return True if an address may have the domain."""
    try:
        parse_address(f"a@{domain}")
    except InvalidValueError:
        return False
    return True


ANY_DOMAIN = st.builds(
    "{}.{}".format,
    st.text(WORD | st.sampled_from("aßςẞ\u200c\u200d\u094d。．-"), min_size=1, max_size=6),  # noqa: RUF001
    st.sampled_from(["com", "рф", "xn--p1ai"]),
).filter(is_accepted)
A_LABEL = st.builds(
    lambda text: f"xn--{text.encode('punycode').decode('ascii')}.example",
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=3),
).filter(is_accepted)
DOMAIN = st.sampled_from(["example.com", "Example.ORG", "bücher.example", "пример.рф", "a-b.c1.de"])
LOCAL_ATOMS = st.lists(ATOM.filter(is_visible_word), min_size=1, max_size=2)
DOMAINS = DOMAIN | ANY_DOMAIN | A_LABEL
# An independent source of what ADR 28 refuses.
REFUSED = regex.compile(
    r"[\p{Default_Ignorable_Code_Point}\p{Bidi_Control}\p{Private_Use}\p{Unassigned}\p{Control}]"
)


@st.composite
def addresses(draw: st.DrawFn) -> EmailAddress:
    """Draw a valid address with any letters in both parts."""
    local = ".".join(draw(LOCAL_ATOMS))
    assume(is_visible_word(unicodedata.normalize("NFC", local)))
    return parse_address(f"{local}@{draw(DOMAINS)}")


def unicode_form(domain: str) -> str:
    """Decode the `xn--` labels of a domain."""
    return ".".join(
        label[4:].encode().decode("punycode") if label.startswith("xn--") else label
        for label in domain.split(".")
    )


@given(addresses())
def test_parsing_what_was_parsed_changes_nothing(address: EmailAddress) -> None:
    """`value` and `key` are fixed points, so that a stored address reads as it was written."""
    assert parse_address(address.value) == address
    assert parse_address(address.key).key == address.key
    assert EmailAddress.parse(address.value) == address


@given(addresses())
def test_no_part_of_an_address_has_a_refused_character(address: EmailAddress) -> None:
    """Nor the Unicode form of its domain, but for the joiners that a script needs."""
    local, _, domain = address.value.rpartition("@")
    shown = unicode_form(domain)
    assert not REFUSED.search(local + shown.replace("\u200c", "").replace("\u200d", ""))


@given(addresses())
def test_both_forms_of_a_domain_have_one_key(address: EmailAddress) -> None:
    """Where the Unicode form is accepted: a symbol is in the ASCII form only."""
    local, _, domain = address.value.rpartition("@")
    try:
        other = parse_address(f"{local}@{unicode_form(domain)}")
    except InvalidValueError:
        return
    assert other.key == address.key


@given(addresses().filter(lambda address: "\u0131" not in address.value))
def test_a_key_knows_no_letter_case(address: EmailAddress) -> None:
    """Upper, lower or folded: one key; but the dotless i, whose capital is I, is another letter."""
    for change in (str.upper, str.lower, str.casefold):
        try:
            changed = parse_address(change(address.value))
        except InvalidValueError:  # some letters have longer capitals: more than 64 bytes
            continue
        assert changed.key == address.key


@given(st.text(max_size=80) | st.builds("{}@{}".format, st.text(max_size=70), st.text(max_size=70)))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """Nothing but `InvalidValueError` comes out, and what is taken keeps the limits."""
    try:
        value = parse_address(text).value
    except InvalidValueError:
        return
    local, _, domain = value.rpartition("@")
    assert len(local.encode()) <= 64
    assert len(value.encode()) <= 254
    assert domain.isascii()
    assert domain == domain.lower()


# --- one rule at every entry ---------------------------------------------------------------


def _reset(text: str) -> str:
    data = {
        "email": text,
        "token_id": uid("token"),
        "token_hash": "11" * 32,
        "expires_at": "2026-12-24T18:00:00Z",
    }
    return render_command("RequestPasswordReset", data, command_id=uid("command"), source="/test")


def _by_command(text: str) -> str:
    address = check_outgoing(_reset(text), MessageParser(())).envelope.by_email
    assert address is not None
    return address.key


def _by_partition(text: str) -> str:
    return str(partition_key(_reset(text))).removeprefix("address ")


def _by_reader(text: str) -> str:
    return address_key(text)


def _by_command_line(text: str) -> str:
    address = parse_user(text)
    assert isinstance(address, EmailAddress)
    return address.key


ENTRIES: dict[str, Callable[[str], str]] = {
    "a command, the client, an import": _by_command,
    "isolation of a message": _by_partition,
    "the reader": _by_reader,
    "the command line": _by_command_line,
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
@pytest.mark.parametrize(
    "text",
    [
        "ada@example.com",
        " ADA@STRAßE.example",
        "Ada@xn--strae-oqa.EXAMPLE",
        "ada@ＳＴＲＡẞＥ。example",
    ],
)
def test_every_entry_has_the_same_key(entry: Callable[[str], str], text: str) -> None:
    """The worker, the reader and the command line find the same user by the same text."""
    assert entry(text) == parse_address(text).key


LAYERS = ("domain", "application", "adapters", "worker", "operations", "cli")


def _users_of_the_domain_rule() -> Iterator[str]:
    for folder in LAYERS:
        for path in (ROOT / folder).rglob("*.py"):
            if re.search(r"\bEmailAddress\.parse\b", path.read_text()):
                yield str(path.relative_to(ROOT))


def test_text_from_outside_is_parsed_in_one_place() -> None:
    """`EmailAddress.parse` refuses a domain beyond ASCII, and does not check `xn--` labels."""
    assert sorted(_users_of_the_domain_rule()) == [
        "application/addresses.py",
        "application/messages/fields.py",  # replaces the domain's rule
        "domain/fields.py",
    ]


def test_the_domain_layer_refuses_what_only_the_boundary_converts() -> None:
    """A call that bypasses the boundary is an error, and never a second key."""
    with pytest.raises(InvalidValueError, match="ASCII form"):
        EmailAddress.parse("ada@bücher.example")


# --- keys do not change with a version -----------------------------------------------------

KEYS = (17831, "e6e3a8198ba28685889160692b0311b462c37972529604fdfb79a1b0ae5a5153")
"""How many addresses, and the digest of their keys."""


def test_a_newer_package_or_python_leaves_the_keys_as_they_are() -> None:
    """A changed key hides a stored address: if this fails, addresses have to be migrated.

    The letters are those of Unicode 3.2, which every Python has beside its own. Each stands in
    the domain and before the `@`. Of Han and Hangul, which map to themselves, some suffice.
    """
    digest, accepted = hashlib.sha256(), 0
    for letter in _letters():
        for text in (f"a@{letter}.example", f"{letter}@example.com"):
            try:
                key = parse_address(text).key
            except InvalidValueError:
                continue
            accepted += 1
            digest.update(f"{text} {key}\n".encode())
    assert (accepted, digest.hexdigest()) == KEYS


def _letters() -> Iterator[str]:
    old = unicodedata.ucd_3_2_0
    for code in (
        *range(0x80, 0x3400),
        *range(0x4E00, 0x5000),
        *range(0xA000, 0xB000),
        *range(0xF900, 0x20000),
    ):
        letter = chr(code)
        if old.category(letter)[0] == "L" and unicodedata.category(letter)[0] == "L":
            yield letter
