"""Errors that all adapters share."""

from __future__ import annotations


class ProvisioningRefusedError(Exception):
    """Resources must not be created in this environment."""


class ResourceMismatchError(Exception):
    """A resource exists with other attributes; the message names the difference."""

    def __init__(self, kind: str, name: str, attribute: str) -> None:
        """Name the attribute that differs; the resource itself is not changed."""
        super().__init__(
            f"{kind} {name} exists with a different {attribute}: delete it, or use another name"
        )
        self.kind = kind
        self.name = name
        self.attribute = attribute


class ItemRefusedError(Exception):
    """The store rejects this change permanently (its size, its form): a retry cannot succeed."""


class MalformedItemError(Exception):
    """A stored item has an invalid attribute; the message names it without its value."""

    def __init__(self, kind: str, attribute: str, rule: str) -> None:
        """Set the kind of item, its attribute and the rule that it breaks."""
        super().__init__(f"{kind} item, attribute {attribute}: {rule}")
        self.kind = kind
        self.attribute = attribute
        self.rule = rule
