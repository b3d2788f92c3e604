"""The order in which queues are served: the priority queue first, and all others in turn."""

from __future__ import annotations

PRIORITY_IN_A_ROW = 4
"""Batches of the priority queue that may run in a row while another queue has one waiting."""


class Turns:
    """Order the queues for the next batch. Used by one thread.

    A queue that is not the priority queue goes last once it was served. So a waiting batch waits
    for at most one batch of each other queue, and for the batches of the priority queue in between.
    """

    def __init__(self, priority: str | None) -> None:
        self._priority = priority
        self._first: list[str] = []
        self._others: list[str] = []
        self._in_a_row = 0
        """Batches of the priority queue since the last batch of another queue."""

    def add(self, queue: str) -> None:
        """Add a queue; its first turn is after those of the queues that were added before."""
        (self._first if queue == self._priority else self._others).append(queue)

    def order(self) -> list[str]:
        """Return the names of all queues, beginning with the one whose turn it is."""
        if self._in_a_row < PRIORITY_IN_A_ROW:
            return self._first + self._others
        return self._others + self._first

    def served(self, queue: str) -> None:
        """Record that a batch of a queue was taken."""
        if queue == self._priority:
            self._in_a_row += 1
        else:
            self._in_a_row = 0
            self._others.remove(queue)
            self._others.append(queue)
