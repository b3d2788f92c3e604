"""Errors of stored items."""

from __future__ import annotations


class MalformedItemError(Exception):
    """A stored item has an invalid attribute; the message names it without its value."""

    def __init__(self, kind: str, attribute: str, rule: str) -> None:
        """Set the kind of item, its attribute and the rule that it breaks."""
        super().__init__(f"{kind} item, attribute {attribute}: {rule}")
        self.kind = kind
        self.attribute = attribute
        self.rule = rule
