"""Who is told what becomes of messages; telemetry may be."""

from __future__ import annotations

from application.pending_command import Work


class Witness:
    """Is told what becomes of each message of a batch, in the thread that handles it. Does nothing.

    What is told holds no personal data, but for the `Work` itself: take its type, no more.
    """

    def settled(self, work: Work, outcome: str, code: str | None, seconds: float) -> None:
        """Take in that a command ended, so many seconds after its batch began."""

    def not_understood(self, outcome: str, code: str) -> None:
        """Take in that a message could not be read: `dead`, or `later`."""


NOBODY = Witness()
