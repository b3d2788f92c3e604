"""Run a Celery worker that does not outlive the program that started it.

The program holds the other end of standard input. When the program ends for any reason, the worker
is asked to stop, and is killed with all its processes after a grace period. The worker is a process
group of its own, so that Ctrl-C reaches it only through its parent.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

GRACE = 5.0
"""Seconds to finish the current batches after the parent has ended."""


def main() -> None:
    """Run Celery.

    The first argument is a file descriptor, written to when the worker is ready; the others are for
    Celery.
    """
    from celery.__main__ import main as celery
    from celery.signals import worker_ready

    ready = int(sys.argv[1])
    sys.argv = ["celery", *sys.argv[2:]]

    def report_ready(**_: Any) -> None:
        os.write(ready, b"ready\n")
        os.close(ready)

    worker_ready.connect(report_ready, weak=False)
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
