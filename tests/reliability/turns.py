"""Turns: several threads of which one runs at a time, chosen by the test.

An actor returns its turn before every AWS call and instead of sleeping. So the test chooses what
happens between two calls of one worker, and the same choices give the same run.

The actor that returns its turn makes the choice itself, and passes the turn on. A switch to another
thread, which takes far longer than a call, is only made when another actor is chosen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

Choose: TypeAlias = Callable[[Sequence[str]], str]
"""Chooses whose turn it is, among the actors that have not ended."""
PATIENCE = 20
"""Seconds for one turn. An actor that waits for anything but its turn would never end."""


class Turns:
    """Runs actors by turns."""

    def __init__(self, choose: Choose) -> None:
        """Take the function that chooses."""
        self._choose = choose
        self._mine = threading.local()
        self._turns: dict[str, threading.Lock] = {}
        """A lock for each actor, which is released when its turn comes."""
        self._waiting: list[str] = []
        self._ended = threading.Lock()
        self.taken: list[str] = []

    def pause(self) -> None:
        """Return the turn and wait for the next one; no effect outside an actor's thread."""
        name: str | None = getattr(self._mine, "name", None)
        if name is None:
            return
        following = self._choose_next()
        if following != name:
            self._turns[following].release()
            self._turns[name].acquire()

    def run(self, actors: Mapping[str, Callable[[], object]]) -> None:
        """Run all actors to their ends.

        Raises:
            BaseException: What the first actor to fail raised.
        """
        self._turns = {name: _locked() for name in actors}
        self._waiting = list(actors)
        self._ended = _locked()
        failures: list[BaseException] = []

        def play(name: str, actor: Callable[[], object]) -> None:
            self._mine.name = name
            self._turns[name].acquire()
            try:
                actor()
            except BaseException as error:  # noqa: BLE001 - raised again below
                failures.append(error)
            self._waiting.remove(name)
            following = self._turns[self._choose_next()] if self._waiting else self._ended
            following.release()

        threads = [
            threading.Thread(target=play, args=pair, name=pair[0], daemon=True)
            for pair in actors.items()
        ]
        for thread in threads:
            thread.start()
        self._turns[self._choose_next()].release()
        self._wait_for_the_end()
        for thread in threads:
            thread.join(PATIENCE)
        if failures:
            raise failures[0]

    def _choose_next(self) -> str:
        name = self._choose(tuple(self._waiting))
        self.taken.append(name)
        return name

    def _wait_for_the_end(self) -> None:
        turns, seconds = len(self.taken), 0
        while not self._ended.acquire(timeout=1):
            turns, before = len(self.taken), turns
            seconds = seconds + 1 if turns == before else 0
            assert seconds < PATIENCE, f"{self.taken[-1]} keeps its turn"


def _locked() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock
