"""What adapters raise or report, whatever they adapt."""

from __future__ import annotations


class ProvisioningRefusedError(Exception):
    """Resources are not made in this environment."""


class ResourceMismatchError(Exception):
    """Something with the name is there, but not as it should be; the message says what."""

    def __init__(self, kind: str, name: str, attribute: str) -> None:
        """Name what differs; the resource itself is left as it is."""
        super().__init__(
            f"{kind} {name} exists with another {attribute}: delete it, or use another name"
        )
        self.kind = kind
        self.name = name
        self.attribute = attribute


class ItemRefusedError(Exception):
    """The store will never take this change (its size, its form): trying again is useless."""
