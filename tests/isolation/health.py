"""Watch the health of a worker over HTTP during a fault."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Self


def ask(port: int, path: str = "/ready") -> tuple[int, list[str]]:
    """Probe over HTTP; return the status and the reasons."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, json.load(answer)["reasons"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["reasons"]


@dataclass(slots=True)
class Watch:
    """Poll `/ready` while the block runs."""

    port: int
    seen: list[tuple[int, list[str]]] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        assert self._thread is not None
        self._thread.join(15)

    def _run(self) -> None:
        while not self._stopped.wait(0.2):
            self.seen.append(ask(self.port))

    def during(self, seconds: float) -> list[tuple[int, list[str]]]:
        """Wait for so many seconds; return what was seen in the meantime."""
        begin = len(self.seen)
        time.sleep(seconds)
        return self.seen[begin:]
