"""Every route of the console against every way of asking for it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from console import access, web
from console.access import HEADERS, Access, accepted_hosts, cookie_name, is_loopback
from console.app import ROUTES, Console, PageRoute
from console.web import HEALTH, MAX_FORM, Mode
from tests.builders import uid
from tests.unit.console.served import Browser, console, provisioned
from worker.connections import Aws
from worker.settings import load_settings

REFUSED = {401, 403, 421}
ID = uid("console")
ACTIONS = [each for each in ROUTES if each.method == "POST"]


def path_of(route: PageRoute) -> str:
    """Return an address of a route."""
    path = route.path.replace("{name}", "CreateUser")
    for name in ("command_id", "message_id", "job_id", "user_id"):
        path = path.replace(f"{{{name}:uuid}}", ID)
    return path


def ask(browser: Browser, route: PageRoute, **headers: str) -> int:
    """Send a request to a route as its page does; return the status."""
    if route.method == "POST":
        return browser.post(path_of(route), None, **headers).status
    return browser.get(path_of(route), **headers).status


@pytest.fixture(scope="module", autouse=True)
def _aws() -> Iterator[None]:
    with provisioned():
        yield


@pytest.fixture(scope="module")
def acting() -> Browser:
    """A console that may act."""
    return console(write=True)


@pytest.fixture(scope="module")
def reading() -> Browser:
    """A console that is read-only."""
    return console()


@pytest.fixture
def stranger(acting: Browser) -> Browser:
    """A client of the acting console without a session."""
    browser = Browser(acting.console)
    browser.cookie = None
    return browser


every_route = pytest.mark.parametrize(
    "route", ROUTES, ids=lambda each: f"{each.method} {each.path}"
)


@every_route
def test_an_acting_console_serves_every_route(acting: Browser, route: PageRoute) -> None:
    """An unknown id is not found, and an empty form is a usage error; nothing is refused."""
    assert ask(acting, route) in {200, 303, 400, 404}


@every_route
def test_a_console_that_is_read_only_refuses_actions(reading: Browser, route: PageRoute) -> None:
    """A route that needs more is refused with a sentence on how to start the console."""
    status = ask(reading, route)
    if route.mode is Mode.READ:
        assert status not in REFUSED
    else:
        assert status == 403
        send = reading.post if route.method == "POST" else reading.get
        assert "read-only" in send(path_of(route)).text


def test_a_probe_is_answered_under_any_host_name(stranger: Browser) -> None:
    """A load balancer uses the address of its target; the answer contains nothing else."""
    stranger.host = "10.0.3.7:8600"
    answer = stranger.get(HEALTH)
    assert (answer.status, answer.text) == (200, "ok\n")
    assert answer.headers.items() >= HEADERS.items()
    assert stranger.get("/").status == 421


@every_route
def test_in_production_commands_cannot_be_sent(
    route: PageRoute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything else works as in development."""
    monkeypatch.setenv("USER_WORKER_ENV", "prod")
    monkeypatch.setenv("USER_WORKER_HASH_KEYS", "1:" + "ab" * 32)
    monkeypatch.setenv("USER_WORKER_PERMISSIONS", "deploy/permissions.toml")
    status = ask(console(write=True), route)
    assert (status == 400) if route.mode is Mode.DEVELOPMENT else (status not in REFUSED)


@every_route
@pytest.mark.parametrize("cookie", [None, "user_worker_console=", "user_worker_console=é", "x=y"])
def test_without_a_session_nothing_is_served(
    stranger: Browser, route: PageRoute, cookie: str | None
) -> None:
    """The page says how to open the console, and contains nothing else."""
    stranger.cookie = cookie
    answer = (stranger.post if route.method == "POST" else stranger.get)(path_of(route))
    assert answer.status == 401
    assert "open the address that it printed" in answer.text
    assert "<nav" not in answer.text


@every_route
@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1", "evil.example:{port}", "127.0.0.1:1", "", "127.0.0.1.:{port}"],
)
def test_an_unknown_host_is_refused(acting: Browser, route: PageRoute, host: str) -> None:
    """A foreign name may resolve to this machine (DNS rebinding)."""
    port = acting.host.partition(":")[2]
    assert ask(acting, route, host=host.format(port=port)) == 421


@pytest.mark.parametrize("route", ACTIONS, ids=lambda each: each.path)
@pytest.mark.parametrize(
    "forged",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://localhost:1"},
        {"origin": "file://127.0.0.1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
    ],
    ids=str,
)
def test_a_form_of_another_site_is_refused(
    acting: Browser, route: PageRoute, forged: dict[str, str]
) -> None:
    """Its session's cookie does not help."""
    assert ask(acting, route, **forged) == 403


@pytest.mark.parametrize("route", ACTIONS, ids=lambda each: each.path)
@pytest.mark.parametrize("value", ["", "x", "é"])
def test_a_form_without_the_value_of_the_page_is_refused(
    acting: Browser, route: PageRoute, value: str
) -> None:
    """The value is only on pages of this console."""
    assert acting.post(path_of(route), {"csrf": value}).status == 403


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        ("text/plain", b"csrf=x", 415),
        ("application/x-www-form-urlencoded", b"csrf=%ff", 400),
        ("application/x-www-form-urlencoded", b"csrf=\xff", 400),
        ("application/x-www-form-urlencoded", b"x" * (MAX_FORM + 1), 413),
        ("application/x-www-form-urlencoded", b"", 403),
    ],
)
def test_a_malformed_form_is_refused(acting: Browser, kind: str, body: bytes, status: int) -> None:
    """The answer is a page, and not a traceback."""
    headers = {"origin": f"http://{acting.host}", "content_type": kind}
    answer = acting.send("POST", "/users", body, headers)
    assert answer.status == status
    assert "Traceback" not in answer.text


def test_every_answer_has_the_headers_of_a_private_page(acting: Browser) -> None:
    """Pages, errors, files and refusals."""
    answers = [
        acting.get("/users"),
        acting.get("/static/console.js"),
        acting.get("/nowhere"),
        acting.get("/", host="evil.example"),
        acting.post("/users", {"user": "nobody"}),
    ]
    for answer in answers:
        assert HEADERS.items() <= answer.headers.items()
        assert "server" not in answer.headers


def test_the_token_is_exchanged_for_a_cookie(stranger: Browser) -> None:
    """The address with the token is left at once, and scripts cannot read the cookie."""
    opened = stranger.get(f"/?token={stranger.console.access.token}")
    assert (opened.status, opened.headers["location"]) == (303, "/")
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    stranger.cookie = cookie.partition(";")[0]
    assert stranger.get("/").status == 200
    assert stranger.console.access.token not in stranger.get("/").text


@pytest.mark.parametrize("token", ["", "x", "%C3%A9", "%ff", "%00"])
def test_a_wrong_token_opens_nothing(stranger: Browser, token: str) -> None:
    """Without a cookie it is like no token."""
    assert stranger.get(f"/?token={token}").status == 401


def test_a_stream_needs_a_session(stranger: Browser) -> None:
    """Like a page."""
    assert stranger.get("/live/stream").status == 401


def test_a_password_opens_the_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token in an address does not; a wrong password costs time."""
    monkeypatch.setattr(access, "PASSWORD_PAUSE", 0.2)
    browser = console(password="correct horse battery")
    browser.cookie = None
    assert browser.get(f"/?token={browser.console.access.token}").status == 401
    assert 'type="password"' in browser.get("/").text
    began = time.monotonic()
    for guess in ("", "wrong", "é"):
        assert browser.post("/login", {"password": guess}).status == 401
    assert time.monotonic() - began >= 0.4
    foreign = browser.post(
        "/login", {"password": "correct horse battery"}, origin="http://evil.example"
    )
    assert foreign.status == 403
    opened = browser.post("/login", {"password": "correct horse battery"})
    assert opened.status == 303
    browser.cookie = opened.headers["set-cookie"].partition(";")[0]
    assert browser.get("/users").status == 200


def test_a_proxy_names_the_person() -> None:
    """Without its header nothing is served, not even with the token or a cookie."""
    browser = console(write=True, proxy_header="x-forwarded-user")
    assert browser.get("/").status == 401
    assert browser.get(f"/?token={browser.console.access.token}").status == 401
    assert browser.get("/", x_forwarded_user="grace").status == 200
    with capture_logs() as lines:
        done = browser.post("/outbox/publish", x_forwarded_user="grace")
    assert done.status == 303
    assert [line["person"] for line in lines if line["event"] == "console_action"] == ["grace"]


@pytest.mark.parametrize(
    ("who", "status"),
    [
        ("grace", 200),
        ("x" * 256, 200),
        ("x" * 257, 401),
        ("ada@example.com", 401),
        ("a\x85b", 401),
        (" ", 401),
    ],
)
def test_a_person_is_an_id_and_no_address(who: str, status: int) -> None:
    """The person is logged, and the worker refuses any other actor of a command."""
    browser = console(write=True, proxy_header="x-forwarded-user")
    answer = browser.get("/users", x_forwarded_user=who)
    assert answer.status == status
    assert "ada@" not in answer.text


def test_two_headers_that_name_a_person_are_refused() -> None:
    """One may be the client's own, to which the proxy has added its header."""
    browser = console(write=True, proxy_header="x-forwarded-user")
    answer = browser.get("/users", x_forwarded_user="mallory", X_Forwarded_User="grace")
    assert answer.status == 401


def test_many_attempts_to_log_in_are_refused_and_do_not_wait_forever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Guessing passwords uses neither threads nor hours of waiting."""
    monkeypatch.setattr(access, "PASSWORD_PAUSE", 0.1)
    monkeypatch.setattr(access, "WAITING", 0.3)
    browser = console(password="correct horse battery")

    async def guess() -> int:
        try:
            await browser.console.access.require_password("wrong")
        except access.RefusedError as error:
            return error.status
        return 200

    async def guess_often() -> list[int]:
        return await asyncio.gather(*(guess() for _ in range(50)))

    began = time.monotonic()
    statuses = asyncio.run(guess_often())
    assert Counter(statuses) == {401: 4, 429: 46}
    assert time.monotonic() - began < 5
    opened = browser.post("/login", {"password": "correct horse battery"})
    assert opened.status == 303


def test_consoles_on_one_host_have_cookies_of_their_own() -> None:
    """Browsers do not separate the cookies of ports."""
    browsers = [console(cookie=cookie_name(port)) for port in (8600, 8601)]
    cookies = [
        each.get(f"/?token={each.console.access.token}").headers["set-cookie"].partition(";")[0]
        for each in browsers
    ]
    for browser in browsers:
        browser.cookie = "; ".join(cookies)
        assert browser.get("/users").status == 200


def test_a_session_opened_by_tls_is_never_sent_without() -> None:
    """A proxy in front ends TLS."""
    hosts = accepted_hosts("127.0.0.1", 8600, "console.example")
    opened = Browser(
        Console(Aws(load_settings()), Access(hosts=hosts, person="ada", password="x" * 16))
    )
    opened.host = "console.example"
    form = {"password": "x" * 16}
    secure = opened.post("/login", form, origin="https://console.example")
    assert "Secure" in secure.headers["set-cookie"]
    plain = opened.post("/login", form)
    assert "Secure" not in plain.headers["set-cookie"]


@pytest.mark.parametrize("path", ["/nowhere", "/users/x", "/dead-letters/retry", "/static/x"])
def test_an_unknown_address_has_a_page(acting: Browser, stranger: Browser, path: str) -> None:
    """The page has the navigation with a session, and none of it without."""
    answer = acting.get(path)
    assert answer.status in {404, 405}
    assert "<nav" in answer.text
    answer = stranger.get(path)
    assert answer.status == 401
    assert "<nav" not in answer.text


@pytest.mark.parametrize("path", ["/login", "/users"])
def test_a_form_that_never_ends_is_refused(
    acting: Browser, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each keeps a connection for as long as the client likes."""
    monkeypatch.setattr(web, "FORM_WITHIN", 0.1)
    headers = {
        "origin": f"http://{acting.host}",
        "content_type": "application/x-www-form-urlencoded",
    }
    assert acting.send("POST", path, b"password=", headers, ends=False).status == 408


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("127.0.0.2", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("console.example", False),
    ],
)
def test_which_addresses_are_loopback(host: str, *, expected: bool) -> None:
    """Other machines can reach the others."""
    assert is_loopback(host) is expected


def test_the_hosts_of_a_console() -> None:
    """Names of this machine with the port, and the name that a proxy passes on."""
    assert accepted_hosts("127.0.0.1", 8600) == {"127.0.0.1:8600", "localhost:8600", "[::1]:8600"}
    assert accepted_hosts("10.0.0.1", 80, "Console.Example") == {
        "10.0.0.1:80",
        "10.0.0.1",
        "console.example",
    }
