"""Value objects. Each parses a text, or raises an error that states the rule, never the value."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime

from domain.characters import is_name, is_visible_word
from domain.errors import InvalidValueError

MAX_LOCAL_PART = 64  # octets, RFC 5321 section 4.5.3.1.1
MAX_ADDRESS = 254  # octets, RFC 5321 section 4.5.3.1.3 less the angle brackets
MAX_NAME = 100
MAX_REASON = 500
MAX_PASSWORD_HASH = 512
MAX_CIPHERTEXT = 1024
FIRST_CREATION = datetime(1990, 1, 1, tzinfo=UTC)
"""Earliest accepted time. Exports contain 1970 or 1900 for accounts whose time is unknown."""

_ATOM = r"[^\s\x00-\x20\x7f()<>\[\]:;@\\,.\"]+"
_LOCAL_PART = re.compile(rf"{_ATOM}(\.{_ATOM})*")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def _base64(signs: str, least: int, most: int) -> str:
    """Return the expression of base64 without padding, which has no length of 4n + 1."""
    char = f"[{signs}A-Za-z0-9]"
    return rf"(?={char}{{{least},{most}}}(?:\$|\Z))(?:{char}{{4}})*(?:{char}{{2,3}})?"


_PHC = re.compile(
    r"\$argon2id\$v=19\$m=([1-9]\d{0,9}),t=([1-9]\d{0,5}),p=([1-9]\d{0,3})"
    rf"\${_base64('+/', 11, 64)}\${_base64('+/', 22, 86)}",
    re.ASCII,  # or \d takes the digits of every script
)
_UUID = re.compile(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_TOKEN_HASH = re.compile(r"[0-9a-fA-F]{64}")
_ROLE = re.compile(r"[a-z][a-z0-9_]{0,49}")
_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ][0-2]\d:[0-5]\d:[0-5]\d(\.\d{1,9})?([Zz]|[+-][0-2]\d:[0-5]\d)",
    re.ASCII,
)
# Commonly sent for "no id", or by a broken generator: two people would share them (RFC 9562, 5.9
# and 5.10).
_NIL_AND_MAX = frozenset(("0", "f"))

# OWASP Password Storage Cheat Sheet, argon2id: five settings of equal strength, of one lane each.
# Each is the memory in KiB and the number of passes.
ARGON2_MINIMA = ((47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5))
_ARGON2_CHOICES = " or ".join(f"m={memory},t={passes}" for memory, passes in ARGON2_MINIMA)
ARGON2_MAXIMA = (1_048_576, 20, 16)
"""Memory in KiB, passes, lanes: more would let one login exhaust the edge."""
_ARGON2ID = "$argon2id$"
_SALT = _base64("./+", 11, 86)
_HASH_32, _HASH_64 = "[./+A-Za-z0-9]{43}", "[./+A-Za-z0-9]{86}"
_ITERATIONS, _SMALL = r"(0|[1-9]\d{0,7})", r"(0|[1-9]\d?)"  # no leading zeros
_SCRYPT = re.compile(
    rf"\$scrypt\$ln={_SMALL},r={_SMALL},p={_SMALL}\${_SALT}\$(?:{_HASH_32}|{_HASH_64})",
    re.ASCII,
)
_MAX_SCRYPT_BLOCKS = 2**23  # of 128 bytes: 1 GiB
_IMPORTED_FORMS = (
    (
        re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}", re.ASCII),
        (10,),
        (16,),
        "bcrypt needs a cost from 10 to 16",
    ),
    (
        _SCRYPT,
        (14, 8, 1),
        (20, 32, 16),
        "scrypt needs ln from 14, r from 8 and p from 1, and at most 2^ln * r * p = 2^23",
    ),
    (  # the forms of passlib, of PHC with i= and perhaps the length, and of Django
        re.compile(
            rf"\$pbkdf2-sha(?:256\${_ITERATIONS}\${_SALT}\${_HASH_32}"
            rf"|512\${_ITERATIONS}\${_SALT}\${_HASH_64}"
            rf"|(?:256|512)\$i={_ITERATIONS}(?:,l=\d{{1,3}})?\${_SALT}\${_base64('./+', 43, 86)})"
            rf"|pbkdf2_sha256\${_ITERATIONS}\$[A-Za-z0-9]{{1,64}}\$[+/A-Za-z0-9]{{43}}=",
            re.ASCII,
        ),
        (10_000,),
        (10_000_000,),
        "PBKDF2 needs from 10000 to 10000000 iterations",
    ),
)
"""Forms of hashes that may be imported: the groups are the work, then its limits and the rule.

The lower limits are bcrypt's of the OWASP Password Storage Cheat Sheet, scrypt's default of most
libraries, and the least of NIST SP 800-132 times ten. The upper ones protect the edge: a check of
a password takes some seconds at most.
"""


@dataclass(frozen=True, slots=True)
class EmailAddress:
    """An address as it is displayed and mailed to; equal addresses have the same `key`."""

    value: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> EmailAddress:
        """Return the address, trimmed, composed (NFC), its domain in lower case.

        The domain must be in its ASCII form. Text from outside passes through
        `application.addresses.parse_address`, which converts the domain and checks `xn--` labels.

        Raises:
            InvalidValueError: not an address of the form local@domain within the limits.
        """
        text = unicodedata.normalize("NFC", _text(text).strip())
        local, at, domain = text.rpartition("@")
        if not at or not _LOCAL_PART.fullmatch(local):
            raise InvalidValueError("must be an e-mail address of the form local@domain")
        if not is_visible_word(local):
            raise InvalidValueError(
                "the part before @ may contain only letters, digits and !#$%&'*+/=?^_`{|}~.-"
            )
        if len(local.encode()) > MAX_LOCAL_PART:
            raise InvalidValueError(f"the part before @ must have at most {MAX_LOCAL_PART} bytes")
        value = f"{local}@{_host_name(domain)}"
        if len(value.encode()) > MAX_ADDRESS:
            raise InvalidValueError(f"must have at most {MAX_ADDRESS} bytes")
        return cls(value)

    @property
    def key(self) -> str:
        """Return the form in which addresses are compared: the case-folded whole."""
        if self.value.isascii():
            return self.value.lower()
        return unicodedata.normalize("NFC", self.value.casefold())


def _host_name(domain: str) -> str:
    if len(domain) > MAX_ADDRESS:
        raise InvalidValueError(f"must have at most {MAX_ADDRESS} bytes")
    if not domain.isascii():
        raise InvalidValueError("the domain must be written in its ASCII form (xn--...)")
    domain = domain.lower()
    labels = domain.split(".")
    if len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):  # noqa: PLR2004
        raise InvalidValueError("the domain must be a host name with a dot")
    if labels[-1].isdigit():
        raise InvalidValueError("the domain must be a host name, not an IP address")
    return domain


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """A password's hash; a plaintext password cannot be one."""

    value: str = field(repr=False)

    @property
    def legacy(self) -> bool:
        """Whether it is not argon2id and should be replaced at the next login."""
        return not self.value.startswith(_ARGON2ID)

    @classmethod
    def parse(cls, text: str) -> PasswordHash:
        """Return the hash if it is argon2id version 19 in PHC form, within the parameters above.

        Raises:
            InvalidValueError: not such a hash.
        """
        match = _PHC.fullmatch(text) if len(text) <= MAX_PASSWORD_HASH else None
        if match is None:
            raise InvalidValueError("must be an argon2id hash in PHC form ($argon2id$v=19$...)")
        memory, passes, lanes = (int(group) for group in match.groups())
        if not any(memory >= least and passes >= times for least, times in ARGON2_MINIMA):
            raise InvalidValueError(f"argon2id needs at least {_ARGON2_CHOICES}")
        if memory > ARGON2_MAXIMA[0] or passes > ARGON2_MAXIMA[1] or lanes > ARGON2_MAXIMA[2]:
            raise InvalidValueError("argon2id parameters exceed m=1048576,t=20,p=16")
        return cls(text)

    @classmethod
    def parse_imported(cls, text: str) -> PasswordHash:
        """Return an argon2id hash, or a bcrypt, scrypt or PBKDF2 hash of another system.

        Raises:
            InvalidValueError: not such a hash, or one with too little or too much work.
        """
        if text.startswith(_ARGON2ID):
            return cls.parse(text)
        for form, least, most, rule in _IMPORTED_FORMS:
            if len(text) <= MAX_PASSWORD_HASH and (match := form.fullmatch(text)) is not None:
                work = tuple(int(group) for group in match.groups() if group is not None)
                allowed = all(
                    low <= part <= high for low, part, high in zip(least, work, most, strict=True)
                )
                if form is _SCRYPT:
                    allowed &= (1 << work[0]) * work[1] * work[2] <= _MAX_SCRYPT_BLOCKS
                if not allowed:
                    raise InvalidValueError(rule)
                return cls(text)
        raise InvalidValueError(
            "must be an argon2id, bcrypt, scrypt or PBKDF2 hash in PHC or modular crypt form"
        )


@dataclass(frozen=True, slots=True)
class TokenHash:
    """The SHA-256 of a token, as a producer sends it."""

    value: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> TokenHash:
        """Return the hash of 64 hexadecimal digits.

        Raises:
            InvalidValueError: not 64 hexadecimal digits.
        """
        if not _TOKEN_HASH.fullmatch(text):
            raise InvalidValueError("must be 64 hexadecimal digits (SHA-256)")
        return cls(text.lower())

    @property
    def stored(self) -> str:
        """Return the stored form, hashed once more, so that a leaked table cannot be replayed."""
        return hashlib.sha256(bytes.fromhex(self.value)).hexdigest()


def parse_name(text: str) -> str:
    """Return a person's name of 1 to 100 code points, trimmed and composed (NFC).

    Raises:
        InvalidValueError: empty, too long, or not visible text (see `characters.is_name`).
    """
    return _short_text(text, MAX_NAME)


def parse_reason(text: str) -> str:
    """Return a reason of 1 to 500 code points, trimmed and composed (NFC).

    Raises:
        InvalidValueError: empty, too long, or not visible text (see `characters.is_name`).
    """
    return _short_text(text, MAX_REASON)


def parse_ciphertext(text: str) -> str:
    """Return a ciphertext of 1 to 1024 printable ASCII characters.

    Raises:
        InvalidValueError: empty, too long, or not printable ASCII.
    """
    if not 1 <= len(text) <= MAX_CIPHERTEXT or not (text.isascii() and text.isprintable()):
        raise InvalidValueError(f"must be 1 to {MAX_CIPHERTEXT} printable ASCII characters")
    return text


def parse_role(text: str) -> str:
    """Return a lower-case role name; which roles exist is a setting.

    Raises:
        InvalidValueError: not a lower-case name.
    """
    if not _ROLE.fullmatch(text):
        raise InvalidValueError("must be a lower-case role name")
    return text


def parse_id(text: str) -> str:
    """Return a UUID in its canonical lower-case form with hyphens.

    Raises:
        InvalidValueError: not a UUID, or the nil or the max UUID.
    """
    if not _UUID.fullmatch(text):
        raise InvalidValueError("must be a UUID of the form 8-4-4-4-12")
    text = text.lower()
    if len(set(text)) == 2 and text[0] in _NIL_AND_MAX:  # noqa: PLR2004 - the hyphen is the other
        raise InvalidValueError("must not be the nil or the max UUID")
    return text


def parse_time(text: str) -> datetime:
    """Parse an RFC 3339 time with offset; return it in UTC, to the millisecond.

    Raises:
        InvalidValueError: not such a time.
    """
    if not _TIME.fullmatch(text):
        raise InvalidValueError("must be an RFC 3339 time with offset")
    try:
        time = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidValueError("must be an RFC 3339 time with offset") from None
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def parse_creation_time(text: str) -> datetime:
    """Parse the time at which another system created an account, as `parse_time` does.

    Raises:
        InvalidValueError: not a time, or before 1990.
    """
    time = parse_time(text)
    if time < FIRST_CREATION:
        raise InvalidValueError(f"must not be before {FIRST_CREATION.year}")
    return time


def render_time(time: datetime) -> str:
    """Return a time in RFC 3339, in UTC, to the millisecond."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _short_text(text: str, limit: int) -> str:
    text = unicodedata.normalize("NFC", _text(text).strip())
    if not 1 <= len(text) <= limit:
        raise InvalidValueError(f"must have 1 to {limit} characters")
    if not is_name(text):
        raise InvalidValueError("must be visible text without control or invisible characters")
    return text


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidValueError("must be valid Unicode") from None
    return text
