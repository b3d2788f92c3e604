"""Run programs as forks of one process that has imported their libraries; see `forked`.

A fork runs what `python -m <module>` runs, with its own arguments, environment, folder, standard
streams, session and process group; only the import of preloaded modules is saved. Orders arrive on
standard input, which is a socket. Each order comes with the file for the output, and with a
connection on which the server sends the process id and, after its end, the exit code. On Linux
only.
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
"""Maximum size in bytes; most of it is the environment."""


@dataclass(frozen=True, slots=True)
class Order:
    """A program to run in this process."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str

    def run(self, output: int) -> None:
        """Replace this process's state and run the program; its SystemExit is raised as usual."""
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
    """A running program, and the connection to the process that waits for its end."""

    pid: int
    pidfd: int
    connection: socket.socket

    def tell(self) -> None:
        """Send the exit code. The process stays a zombie until `reap`, so its id is not reused."""
        ended = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        try:
            self.connection.send(str(code).encode())
        except OSError:  # the requester has closed the connection
            return

    def reap(self) -> None:
        """Wait for the ended process and close its resources."""
        os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        self.close()

    def close(self) -> None:
        """Close the file descriptor and the connection of this child."""
        os.close(self.pidfd)
        self.connection.close()


class Server:
    """Forks on request until the connection for orders is closed."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._selector = selectors.DefaultSelector()
        self._children: set[Child] = set()

    def serve(self) -> tuple[Order, int] | None:
        """Return, in each child, what to run and its output; in the server, None at its end."""
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
                else:  # closed by the requester, which knows the exit code
                    self._selector.unregister(key.fd)
                    self._children.remove(child)
                    child.reap()

    def _end(self) -> None:
        """Kill what still runs, because the process that would have stopped it may have died."""
        for child in self._children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            os.kill(child.pid, signal.SIGKILL)  # it may not have its own process group yet
            child.tell()

    def _fork(self, connection: socket.socket) -> bool:
        """Return True in the server, and False in the child."""
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
        RuntimeError: A module has started a thread, which no fork would have.
    """
    for name in preloaded:
        importlib.import_module(name)
    if threading.active_count() > 1:
        raise RuntimeError(f"not to be forked: {threading.enumerate()}")
    tempfile.tempdir = None  # the program has its own TMPDIR
    ordered = Server(socket.socket(fileno=os.dup(0))).serve()
    if ordered is not None:
        order, output = ordered
        order.run(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
