"""Value objects: what is taken, in which form it is kept, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidValueError
from domain.values import (
    EmailAddress,
    PasswordHash,
    TokenHash,
    parse_ciphertext,
    parse_id,
    parse_name,
    parse_reason,
    parse_role,
    parse_time,
    render_time,
)

SURROGATE = "\ud800"
PHC_TAIL = f"$c2FsdHNhbHRzYWx0${'h' * 43}"


def phc(parameters: str = "m=65536,t=3,p=4", tail: str = PHC_TAIL) -> str:
    """Write an argon2id hash."""
    return f"$argon2id$v=19${parameters}{tail}"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(phc(), id="usual"),
        pytest.param(phc("m=19456,t=2,p=1"), id="least memory"),
        pytest.param(phc("m=47104,t=1,p=1"), id="least passes"),
        pytest.param(phc("m=12288,t=3,p=1"), id="three passes"),
        pytest.param(phc("m=9216,t=4,p=1"), id="four passes"),
        pytest.param(phc("m=7168,t=5,p=1"), id="five passes"),
        pytest.param(phc("m=7168,t=20,p=1"), id="more passes than OWASP's fifth setting"),
        pytest.param(phc("m=19455,t=3,p=2"), id="between two settings"),
        pytest.param(phc("m=1048576,t=20,p=16"), id="most"),
        pytest.param(phc(tail=f"${'s' * 11}${'h' * 22}"), id="short salt and hash"),
        pytest.param(phc(tail=f"${'s' * 64}${'h' * 86}"), id="long salt and hash"),
    ],
)
def test_an_argon2id_hash_is_kept_unchanged(text: str) -> None:
    """Parameters within the bounds, salt and hash in base64 without padding."""
    assert PasswordHash.parse(text).value == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("correct horse battery staple", id="plaintext"),
        pytest.param("$2b$12$" + "a" * 53, id="bcrypt"),
        pytest.param(phc(tail=f"${'s' * 22}${'h' * 41}"), id="hash cut in a byte"),
        pytest.param(phc(tail=f"${'s' * 21}${'h' * 43}"), id="salt cut in a byte"),
        pytest.param(phc().replace("argon2id", "argon2i"), id="argon2i"),
        pytest.param(phc().replace("argon2id", "argon2d"), id="argon2d"),
        pytest.param(phc().replace("v=19", "v=16"), id="old version"),
        pytest.param(phc().replace("$v=19", ""), id="no version"),
        pytest.param(phc("m=19455,t=2,p=1"), id="too little memory"),
        pytest.param(phc("m=12287,t=3,p=1"), id="too little memory for three passes"),
        pytest.param(phc("m=9215,t=4,p=1"), id="too little memory for four passes"),
        pytest.param(phc("m=7167,t=20,p=16"), id="too little memory for any passes"),
        pytest.param(phc("m=7168,t=4,p=1"), id="too few passes for little memory"),
        pytest.param(phc("m=47103,t=1,p=1"), id="too little memory for one pass"),
        pytest.param(phc("m=19456,t=1,p=1"), id="too few passes"),
        pytest.param(phc("m=1048577,t=3,p=1"), id="too much memory"),
        pytest.param(phc("m=65536,t=21,p=1"), id="too many passes"),
        pytest.param(phc("m=65536,t=3,p=17"), id="too many lanes"),
        pytest.param(phc("m=65536,t=3,p=0"), id="no lane"),
        pytest.param(phc("m=065536,t=3,p=4"), id="leading zero"),
        pytest.param(phc("t=3,m=65536,p=4"), id="another order"),
        pytest.param(
            phc("m=\uff16\uff15\uff15\uff13\uff16,t=3,p=4"), id="digits of another script"
        ),
        pytest.param(phc(tail=f"${'s' * 10}${'h' * 43}"), id="salt too short"),
        pytest.param(phc(tail=f"${'s' * 16}${'h' * 21}"), id="hash too short"),
        pytest.param(phc(tail=f"${'s' * 16}${'h' * 87}"), id="hash too long"),
        pytest.param(phc(tail=f"${'s' * 16}${'h' * 42}="), id="padding"),
        pytest.param(phc() + "\n", id="line break"),
        pytest.param(" " + phc(), id="space"),
        pytest.param(phc() + SURROGATE, id="lone surrogate"),
        pytest.param("$argon2id$" + "x" * 100_000, id="long"),
    ],
)
def test_a_weak_or_invalid_argon2id_hash_is_refused(text: str) -> None:
    """A plaintext password, another algorithm, or parameters out of bounds."""
    with pytest.raises(InvalidValueError) as error:
        PasswordHash.parse(text)
    assert not text or text not in str(error.value)


SALT, KEY = "s" * 22, "h" * 43


@pytest.mark.parametrize(
    "text",
    [
        "$2a$10$" + "a" * 53,
        "$2b$12$" + "./AZaz09" * 6 + "abcde",
        "$2y$16$" + "a" * 53,
        f"$scrypt$ln=14,r=8,p=1${SALT}${KEY}",
        f"$scrypt$ln=20,r=8,p=1${SALT}${'h' * 86}",
        f"$scrypt$ln=14,r=32,p=16${SALT}${KEY}",
        f"$pbkdf2-sha256$10000${SALT}${KEY}",
        f"$pbkdf2-sha512$10000000${SALT}${'h' * 86}",
        f"$pbkdf2-sha256$i=600000${SALT}${KEY}",
        f"$pbkdf2-sha512$i=210000,l=64${SALT}${'h' * 86}",
        f"$pbkdf2-sha512$i=210000,l=32${SALT}${KEY}",
        f"pbkdf2_sha256$10000$salt${KEY}=",
        f"pbkdf2_sha256$1000000${'S' * 64}${'+/' * 21}A=",
    ],
)
def test_a_hash_of_another_system_may_be_imported_only(text: str) -> None:
    """The value is kept unchanged and marked; a new password must be argon2id."""
    imported = PasswordHash.parse_imported(text)
    assert (imported.value, imported.legacy) == (text, True)
    with pytest.raises(InvalidValueError, match="must be an argon2id hash"):
        PasswordHash.parse(text)


def test_an_imported_argon2id_hash_follows_the_rules_of_a_new_one() -> None:
    """It is not marked, and its parameters are checked."""
    assert not PasswordHash.parse_imported(phc()).legacy
    with pytest.raises(InvalidValueError, match="argon2id needs at least"):
        PasswordHash.parse_imported(phc("m=1024,t=1,p=1"))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("$2b$09$" + "a" * 53, "bcrypt needs a cost from 10 to 16"),
        ("$2b$17$" + "a" * 53, "bcrypt needs a cost from 10 to 16"),
        (f"$scrypt$ln=13,r=8,p=1${SALT}${KEY}", "scrypt needs ln from 14"),
        (f"$scrypt$ln=14,r=7,p=1${SALT}${KEY}", "scrypt needs ln from 14"),
        (f"$scrypt$ln=21,r=8,p=1${SALT}${KEY}", "scrypt needs ln from 14"),
        (f"$scrypt$ln=14,r=8,p=0${SALT}${KEY}", "scrypt needs ln from 14"),
        (f"$scrypt$ln=20,r=16,p=1${SALT}${KEY}", "scrypt needs ln from 14"),
        (f"$scrypt$ln=20,r=32,p=16${SALT}${KEY}", "scrypt needs ln from 14"),
        (f"$scrypt$ln=16,r=08,p=1${SALT}${KEY}", "must be an argon2id, bcrypt"),
        (f"$scrypt$ln=16,r=8,p=1${SALT}${KEY[1:]}", "must be an argon2id, bcrypt"),
        (f"$scrypt$ln=16,r=8,p=1${SALT[1:]}${KEY}", "must be an argon2id, bcrypt"),
        (f"$pbkdf2-sha256$9999${SALT}${KEY}", "PBKDF2 needs from 10000"),
        (f"$pbkdf2-sha256$i=9999,l=32${SALT}${KEY}", "PBKDF2 needs from 10000"),
        (f"$pbkdf2-sha256$10000001${SALT}${KEY}", "PBKDF2 needs from 10000"),
        (f"$pbkdf2-sha256$029000${SALT}${KEY}", "must be an argon2id, bcrypt"),
        (f"$pbkdf2-sha512$29000${SALT}${KEY}", "must be an argon2id, bcrypt"),
        (f"$pbkdf2-sha256$29000${SALT}${'h' * 86}", "must be an argon2id, bcrypt"),
        (f"$pbkdf2-sha512$i=29000${SALT}${'h' * 85}", "must be an argon2id, bcrypt"),
        (f"pbkdf2_sha256$060000$salt${KEY}=", "must be an argon2id, bcrypt"),
        (f"pbkdf2_sha256$9999$salt${KEY}=", "PBKDF2 needs from 10000"),
        ("", "must be an argon2id, bcrypt"),
        ("correct horse battery staple", "must be an argon2id, bcrypt"),
        ("5f4dcc3b5aa765d61d8327deb882cf99", "must be an argon2id, bcrypt"),
        ("$1$salt$" + "a" * 22, "must be an argon2id, bcrypt"),
        ("$6$salt$" + "a" * 86, "must be an argon2id, bcrypt"),
        ("$2B$12$" + "a" * 53, "must be an argon2id, bcrypt"),
        ("$2x$12$" + "a" * 53, "must be an argon2id, bcrypt"),
        ("$2b$12$" + "a" * 52, "must be an argon2id, bcrypt"),
        ("$2b$12$" + "a" * 53 + "\n", "must be an argon2id, bcrypt"),
        ("$2b$\uff11\uff12$" + "a" * 53, "must be an argon2id, bcrypt"),
        (f"$pbkdf2-sha1$20000${SALT}${KEY}", "must be an argon2id, bcrypt"),
        (f"$pbkdf2-sha256$i=,l=32${SALT}${KEY}", "must be an argon2id, bcrypt"),
        (f"pbkdf2_sha256$20000$salt${KEY}", "must be an argon2id, bcrypt"),
        (f"pbkdf2_sha1$20000$salt${KEY}=", "must be an argon2id, bcrypt"),
        ("$2b$12$" + "a" * 100_000, "must be an argon2id, bcrypt"),
        ("$argon2i$v=19$m=65536,t=3,p=4" + PHC_TAIL, "must be an argon2id, bcrypt"),
    ],
)
def test_another_hash_is_refused_with_the_rule(text: str, rule: str) -> None:
    """Too little work, too much for a login service, another algorithm, or no hash."""
    with pytest.raises(InvalidValueError, match=rule) as error:
        PasswordHash.parse_imported(text)
    assert not text or text not in str(error.value)


DIGEST = hashlib.sha256(b"token").hexdigest()


@pytest.mark.parametrize("text", [DIGEST, DIGEST.upper()])
def test_a_token_hash_is_kept_in_lower_case_and_hashed_once_more_at_rest(text: str) -> None:
    """The form at rest is the SHA-256 of the hash's bytes."""
    parsed = TokenHash.parse(text)

    assert parsed.value == DIGEST
    assert parsed.stored == hashlib.sha256(hashlib.sha256(b"token").digest()).hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "token",
        DIGEST[:-1],
        DIGEST + "0",
        DIGEST[:-1] + "g",
        f"{DIGEST}\n",
        "\uff10" * 64,
        SURROGATE,
    ],
)
def test_an_invalid_token_hash_is_refused(text: str) -> None:
    """Exactly 64 hexadecimal digits are accepted, and no plaintext token."""
    with pytest.raises(InvalidValueError):
        TokenHash.parse(text)


def test_secrets_and_addresses_do_not_show_in_a_repr() -> None:
    """So they do not appear in tracebacks or log lines."""
    shown = repr((PasswordHash.parse(phc()), TokenHash.parse(DIGEST), EmailAddress.parse("a@b.cd")))

    assert "argon2id" not in shown
    assert DIGEST not in shown
    assert "a@b.cd" not in shown


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        pytest.param(parse_name, "  Ada ", "Ada", id="name trimmed"),
        pytest.param(parse_name, "Zoe\u0308", "Zoë", id="name composed"),
        pytest.param(
            parse_name, "\U0001d49c" * 100, "\U0001d49c" * 100, id="name of 100 code points"
        ),
        pytest.param(parse_name, "O'Neil-Ñandú 3", "O'Neil-Ñandú 3", id="name of any letters"),
        pytest.param(parse_reason, " spam ", "spam", id="reason trimmed"),
        pytest.param(parse_reason, "r" * 500, "r" * 500, id="reason of 500"),
        pytest.param(parse_ciphertext, "c" * 1024, "c" * 1024, id="ciphertext of 1 KiB"),
        pytest.param(parse_ciphertext, "AQ==:+/ ~", "AQ==:+/ ~", id="ciphertext in any encoding"),
        pytest.param(parse_role, "lab_assistant", "lab_assistant", id="role"),
        pytest.param(parse_role, "a" * 50, "a" * 50, id="role of 50"),
        pytest.param(
            parse_id,
            "5F0C4F0E-2F1B-4A58-9A3F-0D3B8F1F9C77",
            "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77",
            id="id in lower case",
        ),
        pytest.param(
            parse_id,
            "11111111-1111-1111-1111-111111111111",
            "11111111-1111-1111-1111-111111111111",
            id="id of one digit that is neither nil nor max",
        ),
    ],
)
def test_a_text_is_kept_in_one_form(parse: Callable[[str], str], text: str, value: str) -> None:
    """Parsing that form again changes nothing."""
    assert parse(text) == value
    assert parse(value) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *(
            pytest.param(parse, text, id=f"{parse.__name__} {name}")
            for parse in (parse_name, parse_reason)
            for name, text in {
                "empty": "",
                "blank": " \t\n",
                "too long": "n" * 501,
                "line break": "a\nb",
                "NUL": "a\x00b",
                "C1 control": "a\x85b",
                "line separator": "a\u2028b",
                "lone surrogate": f"a{SURROGATE}",
            }.items()
        ),
        pytest.param(parse_name, "n" * 101, id="name of 101"),
        pytest.param(parse_ciphertext, "", id="ciphertext empty"),
        pytest.param(parse_ciphertext, "c" * 1025, id="ciphertext too long"),
        pytest.param(parse_ciphertext, "c\n", id="ciphertext with a line break"),
        pytest.param(parse_ciphertext, "ü", id="ciphertext not ASCII"),
        pytest.param(parse_ciphertext, SURROGATE, id="ciphertext lone surrogate"),
        pytest.param(parse_role, "", id="role empty"),
        pytest.param(parse_role, "Admin", id="role in capitals"),
        pytest.param(parse_role, "lab-assistant", id="role with a hyphen"),
        pytest.param(parse_role, "1st", id="role starting with a digit"),
        pytest.param(parse_role, "a" * 51, id="role too long"),
        pytest.param(parse_role, "admin\n", id="role with a line break"),
        pytest.param(parse_id, "", id="id empty"),
        pytest.param(parse_id, "5f0c4f0e2f1b4a589a3f0d3b8f1f9c77", id="id without hyphens"),
        pytest.param(parse_id, "{5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77}", id="id in braces"),
        pytest.param(parse_id, "urn:uuid:5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77", id="id as a URN"),
        pytest.param(parse_id, "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c7", id="id too short"),
        pytest.param(parse_id, " 5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77", id="id with a space"),
        pytest.param(parse_id, "\uff15f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77", id="id in full width"),
        pytest.param(parse_id, SURROGATE, id="id lone surrogate"),
        pytest.param(parse_id, "00000000-0000-0000-0000-000000000000", id="id nil"),
        pytest.param(parse_id, "ffffffff-ffff-ffff-ffff-ffffffffffff", id="id max"),
        pytest.param(parse_id, "FFFFFFFF-FFFF-ffff-FFFF-FFFFFFFFFFFF", id="id max in capitals"),
    ],
)
def test_a_malformed_text_is_refused(parse: Callable[[str], str], text: str) -> None:
    """At every limit, and for every kind of character that has no place there."""
    with pytest.raises(InvalidValueError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-22T10:00:00Z", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("2026-11-22t10:00:00z", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("2026-11-22 10:00:00Z", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("2026-11-22T10:00:00+00:00", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("2026-11-22T10:00:00-00:00", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("2026-11-22T10:00:00+05:30", datetime(2026, 11, 22, 4, 30, tzinfo=UTC)),
        ("2026-11-22T23:59:59-23:59", datetime(2026, 11, 23, 23, 58, 59, tzinfo=UTC)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
        ("2026-11-22T10:00:00.1Z", datetime(2026, 11, 22, 10, 0, 0, 100_000, tzinfo=UTC)),
        ("2026-11-22T10:00:00.123999999Z", datetime(2026, 11, 22, 10, 0, 0, 123_000, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_as_utc_to_the_millisecond(text: str, time: datetime) -> None:
    """In every form that RFC 3339 allows."""
    parsed = parse_time(text)

    assert parsed == time
    assert parsed.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-22",
        "2026-11-22T10:00:00",
        "2026-11-22T10:00Z",
        "20261122T100000Z",
        "2026-11-22T10:00:00+0000",
        "2026-11-22T10:00:00+00",
        "2026-11-22T10:00:00.Z",
        "2026-11-22T10:00:00,5Z",
        "2026-11-22T10:00:00.1234567890Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T10:60:00Z",
        "2026-11-22T10:00:60Z",
        "2026-11-22T10:00:00+24:00",
        "2026-11-22T10:00:00+05:60",
        "2026-02-29T10:00:00Z",
        "2026-13-01T10:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "\uff12\uff10\uff12\uff16-11-22T10:00:00Z",
        " 2026-11-22T10:00:00Z",
        "2026-11-22T10:00:00Z\n",
        "2026-W47-7T10:00:00Z",
        "1763805600",
        SURROGATE,
    ],
)
def test_an_invalid_time_or_one_without_offset_is_refused(text: str) -> None:
    """A time without an offset is ambiguous; an impossible date is refused too."""
    with pytest.raises(InvalidValueError):
        parse_time(text)


@given(st.datetimes(timezones=st.timezones(), min_value=datetime(1900, 1, 1)))  # noqa: DTZ001
def test_a_rendered_time_reads_as_the_same_time(time: datetime) -> None:
    """To the millisecond, and always in one form."""
    read = parse_time(render_time(time))

    assert timedelta(0) <= time - read < timedelta(milliseconds=1)
    assert render_time(read) == render_time(time)
