"""The observer of batches; telemetry implements it."""

from __future__ import annotations

from application.pending_command import PendingCommand


class BatchObserver:
    """No-op observer of a batch; called in the thread that handles it.

    The arguments hold no personal data except for `PendingCommand`: use its type and nothing else.
    """

    def command_finished(
        self, pending: PendingCommand, outcome: str, code: str | None, seconds: float
    ) -> None:
        """Observe a command that ended, and the seconds since the start of its batch."""

    def message_not_understood(self, outcome: str, code: str) -> None:
        """Observe a message that could not be parsed; `outcome` is `dead` or `later`."""


NULL_OBSERVER = BatchObserver()
