"""Serve the console in a thread, until it is stopped."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from functools import partial
from threading import Thread
from typing import Final, Self

import uvicorn

from console.app import Console, build
from console.overview import EVERY, UNWATCHED
from worker.errors import CliError

STOP_WITHIN: Final = 3.0
"""Seconds that open requests have when the console stops."""
REMOVE_WITHIN: Final = 1.0
"""Seconds that the removal of the subscription has after the last request."""
_OF_MACHINE: Final = "use an address of this machine"


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 is a free port.

    Raises:
        CliError: the address is not of this machine, or the port is in use.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except (UnicodeError, TypeError):  # a text that cannot be a host name
        raise CliError(f"cannot listen on {host}: not a host name", _OF_MACHINE) from None
    except OSError as error:
        by_port = error.errno in {errno.EADDRINUSE, errno.EACCES, errno.EPERM}
        advice = "choose another --port" if by_port else _OF_MACHINE
        raise CliError(f"cannot listen on {host} port {port}: {error.strerror}", advice) from error


class ServedConsole:
    """A console that is served for the duration of the `with` block."""

    def __init__(self, console: Console, listening: socket.socket) -> None:
        """Serve a console on a socket, which is closed at the end."""
        self.console = console
        self._socket = listening
        self._stack = ExitStack()
        config = uvicorn.Config(
            build(console),
            access_log=False,  # a URL may name a user
            log_config=None,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(STOP_WITHIN),
        )
        self._server = uvicorn.Server(config)
        serve = partial(self._server.run, [listening])
        self._thread = Thread(target=serve, name="console", daemon=True)

    def __enter__(self) -> Self:
        if self.console.watches:
            self._stack.enter_context(self.console.live.watching())
        every = EVERY if self.console.watches else UNWATCHED
        arguments = self.console.aws, self.console.ending, every
        Thread(
            target=self.console.history.keep, args=arguments, name="history", daemon=True
        ).start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop: open streams end, and other open requests have a few seconds."""
        self.console.ending.set()
        self._stack.close()
        self._server.should_exit = True
        # AWS may not answer; what cannot be removed expires
        closing = Thread(target=self.console.live.close, name="console end", daemon=True)
        closing.start()
        self._thread.join(STOP_WITHIN + 1)
        closing.join(REMOVE_WITHIN)
        self._socket.close()

    @property
    def address(self) -> str:
        """The address that opens the console; it contains the token if there is one."""
        access, (host, port) = self.console.access, self._socket.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        by_token = access.password is None and access.proxy_header is None
        return f"http://{name}:{port}/" + (f"?token={access.token}" if by_token else "")

    def wait(self) -> None:
        """Wait until serving ends by itself, which is an error.

        Raises:
            CliError: it has ended.
        """
        while self._thread.is_alive():
            self._thread.join(0.5)
        raise CliError("the console has ended", "see its log")
