"""Parse ids typed by a user."""

from __future__ import annotations

from worker.errors import UsageError


def parse_id_option(text: str, name: str) -> str:
    """Return the id in `text`.

    Raises:
        UsageError: the text is not an id; the message names it as `name`.
    """
    from domain.errors import InvalidValueError
    from domain.values import parse_id

    try:
        return parse_id(text)
    except InvalidValueError as error:
        raise UsageError(
            f"{name} {error}", "write it like 5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77"
        ) from None
