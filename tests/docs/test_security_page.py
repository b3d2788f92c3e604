"""The code on docs/explanation/security.md creates values that the worker accepts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from domain.values import ARGON2_MAXIMA, ARGON2_MINIMA, TokenHash

PAGE = (Path(__file__).parents[2] / "docs" / "explanation" / "security.md").read_text()


def test_the_pages_token_has_a_hash_that_the_worker_takes() -> None:
    """It has the required number of random bits."""
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "secrets" in b)
    made: dict[str, Any] = {}

    exec(block, made)

    assert TokenHash.parse(made["token_hash"]).value == made["token_hash"]
    assert len(made["token"]) * 6 >= 128


def test_the_page_states_the_bounds_of_a_password_hash() -> None:
    """They are the bounds that the worker checks."""
    for memory, passes in ARGON2_MINIMA:
        assert f"m={memory},t={passes}`" in PAGE
    memory, passes, lanes = ARGON2_MAXIMA
    assert f"m={memory},t={passes},p={lanes}`" in PAGE
