"""Runs a Celery worker that lives no longer than the program that started it.

The other end of standard input is that program: when it ends, however it ends, the worker is
asked to stop, and after a grace ended together with all that it started. It is a process group
of its own, so that a Ctrl-C reaches it only through its parent.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

GRACE = 5.0
"""Seconds for the batches in hand, once the parent is gone."""


def main() -> None:
    """Take the number of a file descriptor, written to when the worker is ready, then Celery's."""
    from celery.__main__ import main as celery
    from celery.signals import worker_ready

    ready = int(sys.argv[1])
    sys.argv = ["celery", *sys.argv[2:]]

    def tell(**_: Any) -> None:
        os.write(ready, b"ready\n")
        os.close(ready)

    worker_ready.connect(tell, weak=False)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    celery()


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
