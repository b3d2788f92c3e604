"""Program that reports how it was started, and ends as its arguments say."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import threading
import time

TOLD_BEFORE_THE_END = "the last word"


def main() -> None:
    """Print the report as one line of JSON, then exit, wait for a signal, raise or kill itself."""
    main_module = sys.modules["__main__"]
    seen = {
        "argv": [os.path.relpath(sys.argv[0]), *sys.argv[1:]],
        "main": (main_module.__name__, getattr(main_module.__spec__, "name", None)),
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109 - the system's answer
        "path": sys.path,
        "flags": str(sys.flags),
        "session and group": (os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()),
        "files": sorted(map(int, os.listdir("/proc/self/fd")))[:-1],  # noqa: PTH208
        "terminals": [os.isatty(number) for number in range(3)],
        "standard input": sys.stdin.read(),
        "signals": {int(n): str(signal.getsignal(n)) for n in signal.valid_signals()},
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "umask": _umask(),
        "time zone": time.tzname,
        "temporary": tempfile.gettempdir(),
        "threads": threading.active_count(),
    }
    print(json.dumps({"seen": seen, "random": random.random()}), flush=True)  # noqa: T201
    how, _, what = sys.argv[1].partition("=")
    if how == "exit":
        sys.stdout.write(TOLD_BEFORE_THE_END)  # the exit must flush this
        sys.exit(int(what))
    if how == "signal":
        os.kill(os.getpid(), int(what))
    if how == "raise":
        raise RuntimeError(what)
    signal.pause()


def _umask() -> int:
    was = os.umask(0)
    os.umask(was)
    return was


if __name__ == "__main__":
    main()
