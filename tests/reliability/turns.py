"""Turns: several threads of which one runs at a time, chosen by the test.

An actor returns its turn before every AWS call and instead of sleeping. So the test chooses what
happens between two calls of one worker, and the same choices give the same run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

Choose: TypeAlias = Callable[[Sequence[str]], str]
"""Chooses whose turn it is, among the actors that have not ended."""
PATIENCE = 20.0
"""Seconds for one turn. An actor that waits for anything but its turn would never end."""


class Turns:
    """Runs actors by turns."""

    def __init__(self, choose: Choose) -> None:
        """Take the function that chooses."""
        self._choose = choose
        self._mine = threading.local()
        self._handed_back = threading.Semaphore(0)
        self.taken: list[str] = []

    def pause(self) -> None:
        """Return the turn and wait for the next one; no effect outside an actor's thread."""
        turn: threading.Semaphore | None = getattr(self._mine, "turn", None)
        if turn is not None:
            self._handed_back.release()
            turn.acquire()

    def run(self, actors: Mapping[str, Callable[[], object]]) -> None:
        """Run all actors to their ends.

        Raises:
            BaseException: What the first actor to fail raised.
        """
        turns = {name: threading.Semaphore(0) for name in actors}
        waiting = list(actors)
        failures: list[BaseException] = []

        def play(name: str, actor: Callable[[], object]) -> None:
            self._mine.turn = turns[name]
            turns[name].acquire()
            try:
                actor()
            except BaseException as error:  # noqa: BLE001 - raised again below
                failures.append(error)
            waiting.remove(name)
            self._handed_back.release()

        threads = [
            threading.Thread(target=play, args=pair, name=pair[0], daemon=True)
            for pair in actors.items()
        ]
        for thread in threads:
            thread.start()
        while waiting:
            name = self._choose(tuple(waiting))
            self.taken.append(name)
            turns[name].release()
            assert self._handed_back.acquire(timeout=PATIENCE), f"{name} keeps its turn"
        for thread in threads:
            thread.join(PATIENCE)
        if failures:
            raise failures[0]
