"""Check each request: the session, the host, the origin and the permission to act.

The console is a web page on a machine where other pages are open, too. Each check refuses one way
in which another site, or another user of the machine, could use it: docs/console.md.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Final

from application.messages.attributes import check_actor
from domain.errors import InvalidValueError

PASSWORD_PAUSE: Final = 1.0
"""Minimum seconds between two attempts to log in, of all clients together."""
WAITING: Final = 10.0
"""Maximum seconds that an attempt waits for those before it; more attempts are refused."""
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with "no-referrer", browsers send "Origin: null"
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Headers of every answer."""


class RefusedError(Exception):
    """The request is refused; the text says what to do."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Attempts:
    """Keeps a pause between attempts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0.0

    def reserve(self) -> float:
        """Return the seconds until the next attempt is due; raises `RefusedError` if too many."""
        with self._lock:
            now = time.monotonic()
            due = max(self._next, now)
            if due - now > WAITING:
                raise RefusedError(429, "too many attempts to log in: try again in a minute")
            self._next = due + PASSWORD_PAUSE
        return due - now


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of access of one running console."""

    hosts: frozenset[str]
    """Accepted values of the Host header, in lower case."""
    person: str
    """Recorded with each action, unless a proxy names the person."""
    write: bool = False
    """Whether actions are permitted."""
    cookie: str = "user_worker_console"
    """Name of the session's cookie; see `cookie_name`."""
    password: str | None = None
    """Opens the console in place of the token in its address."""
    proxy_header: str | None = None
    """Header in which an authenticating proxy names the person, by an id; lower case."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """In the printed address; exchanged for the cookie."""
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """Value of the cookie."""
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """Value that each form returns."""
    _attempts: _Attempts = field(default_factory=_Attempts)

    def require_host(self, headers: Mapping[str, str]) -> None:
        """Refuse another host name: it may be a foreign one that resolves to this machine."""
        if headers.get("host", "").lower() not in self.hosts:
            raise RefusedError(421, "unknown host: use the address that the console printed")

    def require_same_origin(self, headers: Mapping[str, str]) -> None:
        """Refuse a form that another site has sent."""
        scheme, separator, host = headers.get("origin", "").lower().partition("://")
        same_site = headers.get("sec-fetch-site", "same-origin") == "same-origin"
        if scheme not in {"http", "https"} or not separator or host not in self.hosts:
            raise RefusedError(403, "the form was not sent by a page of this console")
        if host != headers.get("host", "").lower() or not same_site:
            raise RefusedError(403, "the form was not sent by a page of this console")

    def require_csrf(self, value: str | None) -> None:
        """Refuse a form without the value that pages of this console contain."""
        if not _same(value, self.csrf):
            raise RefusedError(403, "the form is from an earlier console: reload the page")

    def require_write(self) -> None:
        """Refuse an action if the console is read-only."""
        if not self.write:
            raise RefusedError(403, "this console is read-only: start it with --write to act")

    def person_of(self, headers: Mapping[str, str], cookie: str | None) -> str:
        """Return who sends a request.

        Raises:
            RefusedError: the request has no session, or the proxy names no person.
        """
        if self.proxy_header is not None:
            return self._person_of_proxy(headers)
        if not _same(cookie, self.session):
            advice = "log in" if self.password else "open the address that it printed"
            raise RefusedError(401, f"no session of this console: {advice}")
        return self.person

    def _person_of_proxy(self, headers: Mapping[str, str]) -> str:
        named = [value.strip() for name, value in headers.items() if name == self.proxy_header]
        if not any(named):
            raise RefusedError(401, "the proxy did not name a person")
        if len(named) > 1:  # a proxy that adds its header to the client's own
            raise RefusedError(401, "the request names several persons in its headers")
        try:
            return check_actor(named[0])
        except InvalidValueError as error:
            raise RefusedError(401, f"the person that the proxy names {error}") from None

    def is_token(self, value: str | None) -> bool:
        """Return True for the token of the printed address."""
        return self.password is None and self.proxy_header is None and _same(value, self.token)

    async def require_password(self, value: str | None) -> None:
        """Refuse a wrong password; wait first, so that guessing is slow."""
        await asyncio.sleep(self._attempts.reserve())
        if self.password is None or not _same(value, self.password):
            raise RefusedError(401, "wrong password")


def _same(value: str | None, secret: str) -> bool:
    return value is not None and compare_digest(value.encode(), secret.encode())


def cookie_name(port: int) -> str:
    """Return the name of a console's cookie: browsers send a cookie to all ports of a host."""
    return f"user_worker_console_{port}"


def is_loopback(host: str) -> bool:
    """Return True if only this machine can connect to a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def accepted_hosts(host: str, port: int, public: str | None = None) -> frozenset[str]:
    """Return the values of the Host header that belong to this console."""
    names = {f"[{host}]" if ":" in host else host}
    if is_loopback(host):
        names |= {"127.0.0.1", "localhost", "[::1]"}
    found = {f"{name}:{port}" for name in names}
    if port == 80:  # noqa: PLR2004 - browsers omit it
        found |= names
    return frozenset(each.lower() for each in found | ({public} if public else set()))
