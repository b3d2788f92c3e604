"""Turns: several threads of which one runs at a time, chosen by the test.

An actor returns its turn before every AWS call and instead of sleeping. So the test chooses what
happens between two calls of one worker, and the same choices give the same run.

The actor that returns its turn makes the choice itself, and passes the turn on. A switch to another
thread, which takes far longer than a call, is only made when another actor is chosen.
"""

from __future__ import annotations

import _thread
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
        """A lock for each actor that has had a turn, which is released when the next one comes."""
        self._play: Callable[[str], None] = lambda _: None
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
            self._give_turn(following)
            self._turns[name].acquire()

    def run(self, actors: Mapping[str, Callable[[], object]]) -> None:
        """Run all actors to their ends.

        Raises:
            BaseException: What the first actor to fail raised.
        """
        self._turns = {}
        self._waiting = list(actors)
        self._ended = _locked()
        failures: list[BaseException] = []

        def play(name: str) -> None:
            self._mine.name = name
            try:
                actors[name]()
            except BaseException as error:  # noqa: BLE001 - raised again below
                failures.append(error)
            self._waiting.remove(name)
            if self._waiting:
                self._give_turn(self._choose_next())
            else:
                self._ended.release()

        self._play = play
        self._give_turn(self._choose_next())
        self._wait_for_the_end()
        if failures:
            raise failures[0]

    def _give_turn(self, name: str) -> None:
        """Release the thread of the actor whose turn it is, or start one.

        This does not wait until the thread runs, as `threading.Thread.start` does: each wait for
        another thread takes long on a busy machine.
        """
        if name in self._turns:
            self._turns[name].release()
        else:
            self._turns[name] = _locked()
            _thread.start_new_thread(self._play, (name,))

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
