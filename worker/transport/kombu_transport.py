"""The kombu transport: it provides the channel, and wakes Celery's event loop."""

from __future__ import annotations

import contextlib
from time import monotonic
from typing import TYPE_CHECKING, Any

from kombu.transport import base

from worker.transport.channel import Channel
from worker.transport.options import Options
from worker.transport.waker import Waker

if TYPE_CHECKING:
    from kombu.asynchronous import Hub
    from kombu.connection import Connection


class Transport(base.Transport):
    """Serve every pool on the asynchronous event loop.

    With a synchronous transport the children of a prefork pool share one pipe and its lock, so the
    death of the child that holds it blocks all; and tasks still start after SIGTERM.
    """

    driver_type = "sqs"
    driver_name = "user-worker"
    can_parse_url = True
    connection_errors: Any = ()
    channel_errors: Any = ()
    implements = base.Transport.implements.extend(
        asynchronous=True, heartbeats=False, exchange_type=frozenset({"direct", "topic"})
    )

    def __init__(self, client: Connection, **_: Any) -> None:
        super().__init__(client)
        self._options: dict[str, Any] = client.transport_options or {}
        self._channels: list[Channel] = []
        self._hub: Hub | None = None
        self._timer: Any = None
        self._deliver_at: float | None = None
        self.waker = Waker()

    def as_uri(self, uri: str, *_: Any, **__: Any) -> str:
        """Return the broker's URI for Celery's banner."""
        return uri

    def establish_connection(self) -> Transport:
        """Connect to nothing: each queue's client connects, and reconnects, itself."""
        return self

    def create_channel(self, connection: Any) -> Channel:  # noqa: ARG002  # kombu's signature
        """Return a new channel; it makes no call until it consumes from a queue."""
        channel = Channel(self, Options.read(self._options))
        self._channels.append(channel)
        return channel

    def close_channel(self, connection: Channel) -> None:
        """Forget a channel that has closed."""
        with contextlib.suppress(ValueError):
            self._channels.remove(connection)

    def close_connection(self, connection: Any) -> None:  # noqa: ARG002  # kombu's signature
        """Close every channel, waiting for the last calls."""
        for channel in list(self._channels):
            channel.close()
        self._stop_timer()
        if self._hub is not None:
            self._hub.remove_reader(self.waker)
            self._hub = None
        self.waker.close()

    def register_with_event_loop(self, connection: Any, loop: Hub) -> None:  # noqa: ARG002  # kombu's signature
        """Make the event loop deliver when a receive thread wakes it."""
        self._hub = loop
        loop.add_reader(self.waker, self._answer)

    def deliver_in(self, seconds: float) -> None:
        """Deliver after so many seconds, or earlier if that was requested before. Main thread."""
        at = monotonic() + seconds
        if self._deliver_at is not None and self._deliver_at <= at:
            return
        self._stop_timer()
        self._deliver_at = at
        if self._hub is not None:
            self._timer = self._hub.call_later(seconds, self._deliver_now)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._deliver_at = None

    def _deliver_now(self) -> None:
        self._timer = self._deliver_at = None
        self._answer()

    def drain_events(self, connection: Any, **kwargs: Any) -> None:  # noqa: ARG002  # kombu's signature
        """Deliver what has arrived, waiting at most `timeout` seconds.

        For green pools, which have no event loop.

        Raises:
            TimeoutError: nothing arrived.
        """
        timeout: float | None = kwargs.get("timeout")
        due = None if self._deliver_at is None else max(0.0, self._deliver_at - monotonic())
        timer_first = due is not None and (timeout is None or due <= timeout)
        if self.waker.wait(due if timer_first else timeout):
            self._answer()
        elif timer_first:
            self._deliver_now()
        else:
            raise TimeoutError

    def _answer(self) -> None:
        self.waker.clear()
        for channel in list(self._channels):
            channel.deliver()
