"""What the table can answer that is no outage."""

from __future__ import annotations


class MalformedItemError(Exception):
    """A stored item is not what this worker writes; the message says where, never what."""

    def __init__(self, kind: str, attribute: str, rule: str) -> None:
        """Name the kind of item, its attribute and the rule that it breaks."""
        super().__init__(f"{kind} item, attribute {attribute}: {rule}")
        self.kind = kind
        self.attribute = attribute
        self.rule = rule
