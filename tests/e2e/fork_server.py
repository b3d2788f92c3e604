"""Runs programs as forks of one process that has imported their libraries; see `forked`.

What runs is what `python -m <module>` runs, with its own arguments, environment, folder, standard
streams, session and process group; only the import of what is preloaded is saved. Orders come by
standard input, which is a socket: each with the file that takes the output, and a connection on
which to tell the number of the process and, once it has ended, its exit code. On Linux only.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import threading
import time
from dataclasses import dataclass

ORDER_SIZE = 1 << 17
"""Bytes at most; most of it is the environment."""


@dataclass(frozen=True, slots=True)
class Order:
    """A program to run, in the process that has this."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str

    def run(self, output: int) -> None:
        """Become that program; what it exits with is raised, as it would be."""
        os.setsid()
        os.chdir(self.folder)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for given, standard in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(given, standard)
        os.close(nothing)
        os.close(output)
        os.environ.clear()
        os.environ.update(self.environment)
        time.tzset()
        sys.argv = [self.module, *self.arguments]
        runpy.run_module(self.module, run_name="__main__", alter_sys=True)


@dataclass(frozen=True, slots=True)
class Child:
    """A program that runs, and the connection of whoever wants to know how it ends."""

    pid: int
    pidfd: int
    connection: socket.socket

    def tell(self) -> None:
        """Say how it ended; it stays a zombie until `reap`, so that nobody gets its number."""
        ended = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        try:
            self.connection.send(str(code).encode())
        except OSError:  # whoever asked does not listen any more
            return

    def reap(self) -> None:
        """Let go of it, once it has ended."""
        os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        self.close()

    def close(self) -> None:
        """Close what is open for its sake."""
        os.close(self.pidfd)
        self.connection.close()


class Server:
    """Forks as it is told to, until nobody can tell it anything more."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._selector = selectors.DefaultSelector()
        self._children: set[Child] = set()

    def serve(self) -> tuple[Order, int] | None:
        """Give, in each child, what to run and its output; nothing, in the server, at its end."""
        self._selector.register(self._orders, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                child: Child | None = key.data
                if child is None:
                    order, files, _, _ = socket.recv_fds(self._orders, ORDER_SIZE, 2)
                    if not order:
                        self._end()
                        return None
                    if not self._fork(socket.socket(fileno=files[1])):
                        return Order(**json.loads(order)), files[0]
                    os.close(files[0])
                elif key.fd == child.pidfd:
                    self._selector.unregister(key.fd)
                    child.tell()
                    self._selector.register(child.connection, selectors.EVENT_READ, child)
                else:  # closed by whoever has heard how it ended
                    self._selector.unregister(key.fd)
                    self._children.remove(child)
                    child.reap()

    def _end(self) -> None:
        """Leave nothing running: whoever would have ended it has died, perhaps."""
        for child in self._children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            os.kill(child.pid, signal.SIGKILL)  # it may have no group of its own yet
            child.tell()

    def _fork(self, connection: socket.socket) -> bool:
        """Say whether this is the server still."""
        pid = os.fork()
        if pid == 0:
            for child in self._children:
                child.close()
            connection.close()
            self._selector.close()
            self._orders.close()
            return False
        child = Child(pid, os.pidfd_open(pid), connection)
        self._children.add(child)
        self._selector.register(child.pidfd, selectors.EVENT_READ, child)
        connection.send(str(pid).encode())
        return True


def main(*preloaded: str) -> None:
    """Import modules, then serve.

    Raises:
        RuntimeError: a module has started a thread, which no fork would have.
    """
    for name in preloaded:
        importlib.import_module(name)
    if threading.active_count() > 1:
        raise RuntimeError(f"not to be forked: {threading.enumerate()}")
    tempfile.tempdir = None  # TMPDIR is the program's own
    ordered = Server(socket.socket(fileno=os.dup(0))).serve()
    if ordered is not None:
        order, output = ordered
        order.run(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
