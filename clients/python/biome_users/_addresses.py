"""The form in which e-mail addresses are compared: case-folded, the domain in ASCII."""

from __future__ import annotations

import importlib
import re
import unicodedata
from typing import Any, Final

_ADDRESS: Final = re.compile(
    r"\s*[^\s@.]+(?:\.[^\s@.]+)*@(?:[^\s@.\u3002]+[.\u3002])+[^\s@.\u3002\d][^\s@.\u3002]*\s*"
)
"""Parts between dots are not empty, and the domain is not an IP address. The worker checks more."""


def check_address(text: str) -> str:
    """Return an address unchanged, with spaces around it.

    Raises:
        ValueError: not of the form local@domain.
    """
    if not _ADDRESS.fullmatch(text):
        raise ValueError("must be an e-mail address of the form local@domain")
    return text


def address_key(text: str) -> str:
    """Return the key of an address, as the worker stores it.

    A domain with letters outside ASCII is converted by the package `idna`, which is optional.

    Raises:
        ValueError: not an address, or the domain must be converted and `idna` is not installed.
    """
    text = unicodedata.normalize("NFC", check_address(text).strip())
    local, _, domain = text.rpartition("@")
    return folded(f"{local}@{_ascii(domain)}")


def folded(address: str) -> str:
    """Return the key of an address in its stored form."""
    return unicodedata.normalize("NFC", address.casefold())


def _ascii(domain: str) -> str:
    if domain.isascii():
        return domain
    try:
        idna: Any = importlib.import_module("idna")
    except ImportError:
        raise ValueError(
            "the domain must be written in its ASCII form (xn--...), or install biome-users[idna]"
        ) from None
    try:
        return str(idna.encode(domain, uts46=True, std3_rules=True), "ascii")
    except ValueError:
        raise ValueError("the domain must be a valid host name") from None
