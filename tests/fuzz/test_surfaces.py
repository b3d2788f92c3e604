from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests import canaries
from tests.fuzz.__main__ import ROOT
from tests.fuzz.__main__ import SURFACES as NAMES
from tests.fuzz.bodies import in_base64, seeds
from tests.fuzz.surfaces import SURFACES

EXAMPLES = {"batches": 150, "command-line": 60}
"""As many as take a few seconds; `make fuzz` runs millions."""


@pytest.mark.parametrize("surface", sorted(SURFACES))
def test_no_input_surprises(surface: str) -> None:
    """Only the declared errors, a disposition for each message, and no emitted secret."""

    @settings(max_examples=EXAMPLES.get(surface, 400), deadline=None)
    @given(st.binary(max_size=300))
    @example(b"")
    @example(bytes(range(256)))
    def holds(data: bytes) -> None:
        SURFACES[surface](data)

    holds()


@pytest.mark.parametrize("number", range(len(seeds())))
def test_the_seeds_are_valid_messages(number: int) -> None:
    """A search that starts from refused messages would not get far."""
    SURFACES["messages"](seeds()[number])


def test_the_fuzzer_knows_every_surface() -> None:
    """It names them itself, because the code must be imported under its instrumentation."""
    assert set(NAMES) == set(SURFACES)


def test_the_page_names_every_surface_as_the_fuzzer_does() -> None:
    """A name that is copied from the page must be valid."""
    page = (ROOT / "docs" / "explanation" / "reliability.md").read_text()
    [named] = re.findall(r'^make fuzz ARGS="([\w-]+) .*# or (.*)$', page, re.MULTILINE)
    first, others = named
    assert [first, *others.split(", ")] == list(NAMES)


@pytest.mark.parametrize("value", [canaries.SECRET, canaries.TOKEN_HASH, canaries.PASSWORD_HASH])
@pytest.mark.parametrize("before", ["", " ", "  ", '{"x":"'])
def test_a_canary_is_heard(value: str, before: str) -> None:
    """In plain text, and in base64 at any offset; otherwise the other tests prove nothing."""
    assert canaries.credential_in(before + value)
    assert canaries.credential_in(in_base64(before + value + "}"))
    assert not canaries.personal_in(before)


@pytest.mark.parametrize("address", [canaries.ADDRESS, canaries.ADDRESS.upper()])
def test_an_address_is_heard(address: str) -> None:
    """In any letter case."""
    assert canaries.personal_in(f"user {address} is unknown")
    assert not canaries.credential_in(address)
