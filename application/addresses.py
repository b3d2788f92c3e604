"""Parse e-mail addresses from text: the domain converted by UTS 46 and IDNA 2008, as browsers do.

The tables of IDNA are in a package, which the domain layer must not import. All text from outside
(messages, the client, the command line, imports) passes through `parse_address`, so that each
spelling of an address has the same key everywhere (docs/adr/0035-idna-2008-at-the-boundary.md).
"""

from __future__ import annotations

from typing import Final

import idna

from domain.characters import is_domain_label, is_domain_word
from domain.errors import InvalidValueError
from domain.values import MAX_ADDRESS, EmailAddress

_A_LABEL: Final = "xn--"
_JOINERS: Final = frozenset("\u200c\u200d")


def parse_address(text: str) -> EmailAddress:
    """Return the address, trimmed, composed (NFC), its domain in lower-case ASCII.

    Raises:
        InvalidValueError: not an address of the form local@domain within the limits.
    """
    if text.isascii() and _A_LABEL not in text.lower():
        return EmailAddress.parse(text)
    local, at, domain = text.rstrip().rpartition("@")
    return EmailAddress.parse(f"{local}{at}{_ascii_domain(domain)}" if at else text)


def _ascii_domain(domain: str) -> str:
    if len(domain) > MAX_ADDRESS:  # limits the work
        raise InvalidValueError(f"must have at most {MAX_ADDRESS} bytes")
    if not domain.isascii():
        if not is_domain_word(domain):
            raise InvalidValueError("the domain may contain only letters, digits, hyphens and dots")
        try:
            domain = idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
        except ValueError:  # as in `_is_valid`
            raise InvalidValueError("the domain must be a valid host name") from None
    for label in domain.lower().split("."):
        if label.startswith(_A_LABEL):
            _check_a_label(label)
    return domain


def _check_a_label(label: str) -> None:
    encoded = label.removeprefix(_A_LABEL)
    try:
        decoded = encoded.encode("ascii").decode("punycode")
    except ValueError:
        raise InvalidValueError("the domain must be a valid host name") from None
    if not is_domain_label(decoded):
        raise InvalidValueError(
            "the domain must not contain quotation marks or invisible characters"
        )
    if not _is_valid(decoded) or decoded.encode("punycode").decode("ascii") != encoded:
        raise InvalidValueError("the domain must be a valid host name")


def _is_valid(decoded: str) -> bool:
    """Return True if browsers accept a decoded label (UTS 46, section 4.1).

    `idna.check_label` would also refuse symbols, as IDNA 2008 does; but domains of emoji exist.
    """
    try:
        idna.check_hyphen_ok(decoded)
        idna.check_initial_combiner(decoded)
        idna.check_bidi(decoded)
        return (
            not decoded.isascii()
            and idna.uts46_remap(decoded) == decoded
            and all(
                idna.valid_contextj(decoded, place)
                for place, char in enumerate(decoded)
                if char in _JOINERS
            )
        )
    except ValueError:  # IDNAError, and what `unicodedata` raises within
        return False
