"""Tokens, one-time passwords and recovery codes of the client library."""

from __future__ import annotations

import hashlib
from uuid import UUID

import pytest

from biome_users import MailedTokens, RefreshToken, token_hash
from biome_users import second_factor as sf

USER = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77"
TOKEN = "a382fed19757c398ee3d0841c18b10b8b763b3cbee05eb1d2d53620582b6ed22"
"""The test of the TypeScript client has the same value: edge and mailer may differ in language."""
TOKEN_ID = UUID("7b0f1c52-58a5-4d43-8a36-0b2b8a3b1c01")


def test_a_mailed_token_is_of_one_key_one_purpose_and_one_id() -> None:
    """The token of a reset does not confirm an address."""
    tokens = MailedTokens(b"k" * 32)
    token = tokens.token("reset", TOKEN_ID)
    assert token == MailedTokens(b"k" * 32).token("reset", str(TOKEN_ID).upper())
    assert token == TOKEN
    others = {
        tokens.token("verify", TOKEN_ID),
        tokens.token("reset", UUID(int=1)),
        MailedTokens(b"l" * 32).token("reset", TOKEN_ID),
    }
    assert token not in others
    assert len(others) == 3
    assert token_hash(token) == hashlib.sha256(token.encode()).hexdigest()
    assert "kkkk" not in repr(tokens)


@pytest.mark.parametrize("key", [b"", b"k" * 31])
def test_a_short_key_is_refused(key: bytes) -> None:
    """It could be guessed."""
    with pytest.raises(ValueError, match="32 bytes"):
        MailedTokens(key)


def test_a_purpose_cannot_contain_the_end_of_another() -> None:
    """Two different pairs of purpose and id never have one message."""
    with pytest.raises(ValueError, match="purpose"):
        MailedTokens.message("reset\n", TOKEN_ID)


def test_a_refresh_token_survives_its_text_and_changes_one_part() -> None:
    """The repr contains no secret part."""
    token = RefreshToken.new(USER)
    assert RefreshToken.parse(str(token)) == token
    following = token.next()
    assert following.family == token.family
    assert following.part != token.part
    assert following.refresh_family_hash == token.refresh_family_hash
    assert following.refresh_token_hash == token_hash(following.part)
    assert token.family not in repr(token)
    assert token.part not in repr(token)


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c.d", f"{USER}.{USER}.x.y", "x" * 10_000, "\n"])
def test_any_other_text_is_not_a_refresh_token(text: str) -> None:
    """A client may send anything."""
    with pytest.raises(ValueError, match="not a refresh token"):
        RefreshToken.parse(text)


RFC_6238 = b"12345678901234567890"
"""The secret of RFC 6238, appendix B; the codes are the last six digits given there."""


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ],
)
def test_one_time_passwords_are_those_of_the_rfc(now: int, code: str) -> None:
    """A space in the code does not matter."""
    assert sf.totp_code(RFC_6238, now // 30) == code
    assert sf.find_totp_step(RFC_6238, f" {code[:3]} {code[3:]}", now) == now // 30


def test_a_step_is_accepted_a_period_early_or_late_and_not_after_its_use() -> None:
    """Clocks differ; a step is used once."""
    code = sf.totp_code(RFC_6238, 100)
    found = [sf.find_totp_step(RFC_6238, code, now * 30.0) for now in (98, 99, 100, 101, 102)]
    assert found == [None, 100, 100, 100, None]
    assert sf.find_totp_step(RFC_6238, code, 3000, after=100) is None
    assert sf.find_totp_step(RFC_6238, code, 3000, after=99) == 100


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "12 34"])
def test_a_text_that_is_not_six_digits_has_no_step(code: str) -> None:
    """Only ASCII digits count."""
    assert sf.find_totp_step(RFC_6238, code, 59) is None


def test_the_setup_uri_is_what_an_authenticator_app_reads() -> None:
    """Account and issuer are escaped."""
    uri = sf.setup_uri(b"12345678901234567890", "ada@example.com", "Biome & Co")
    assert uri == (
        "otpauth://totp/Biome%20%26%20Co%3Aada%40example.com"
        "?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Biome+%26+Co"
    )


def test_recovery_codes_are_recognised_in_any_case_and_grouping() -> None:
    """People type them from paper."""
    codes = sf.new_recovery_codes()
    assert len(set(codes)) == sf.RECOVERY_CODES
    for code in codes:
        typed = f" {code.upper().replace('-', ' ')} "
        assert sf.recovery_code_hash(typed) == sf.recovery_code_hash(code) is not None


@pytest.mark.parametrize(
    "code", ["", "abcd-efgh", "abcd-efgh-ijkl-mn1", "\uff41bcd-efgh-abcd-mnop"]
)
def test_any_other_text_is_not_a_recovery_code(code: str) -> None:
    """Only ASCII letters and digits count."""
    assert sf.recovery_code_hash(code) is None


def test_a_new_secret_has_160_bits() -> None:
    """RFC 4226 recommends this length."""
    assert len(sf.new_totp_secret()) == 20
