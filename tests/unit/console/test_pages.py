"""Check what the pages show and do, on an AWS in this process."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote, urlencode
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from console import dead_letters
from console.jobs import Job, Jobs
from domain.commands import COMMANDS
from domain.events import CommandDeadLettered
from operations.received_event import ReceivedEvent
from tests.builders import register, uid
from tests.unit.console.served import Browser, console, handle, provisioned
from worker.errors import CliError

HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m\"'&"


@pytest.fixture
def browser() -> Iterator[Browser]:
    """An acting console on an AWS without users."""
    with provisioned():
        yield console(write=True)


def put_letter(browser: Browser, body: str, code: str = "NotJson", **attributes: str) -> str:
    """Put a dead letter on the queue; return its id."""
    aws = browser.console.aws
    told = {"error_code": code, "original_message_id": str(uuid4()), **attributes}
    answer = aws.sqs.send_message(
        QueueUrl=aws.dead_letter_queue_url,
        MessageBody=body,
        MessageAttributes={
            name: {"DataType": "String", "StringValue": text} for name, text in told.items()
        },
    )
    return answer["MessageId"]


def group_of(browser: Browser, reason: str, command: str = "-") -> dict[str, str]:
    """Return the selection of a group, as addresses and forms contain it."""
    return {"group": browser.console.letters.key_of(reason, command)}


def ended(browser: Browser, path: str) -> Job:
    """Wait until an action has ended; its page shows it meanwhile."""
    for _ in range(200):
        assert browser.get(path).status == 200
        job = browser.console.jobs.get(path.rpartition("/")[2])
        assert job is not None
        if job.ended:
            return job
        time.sleep(0.05)
    raise AssertionError("the action does not end")


def depths(browser: Browser) -> tuple[int, int]:
    """Return the numbers of messages in the command queue and in the dead-letter queue."""
    aws = browser.console.aws
    urls = aws.command_queue_url, aws.dead_letter_queue_url
    name = "ApproximateNumberOfMessages"
    counts = [
        aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name]  # type: ignore[list-item, index]
        for url in urls
    ]
    return int(counts[0]), int(counts[1])


# --- overview ---


def test_the_overview_shows_every_queue_and_what_is_missing(browser: Browser) -> None:
    """A missing resource is named together with what to do."""
    aws = browser.console.aws
    aws.sqs.send_message(QueueUrl=aws.command_queue_url, MessageBody="{}")
    page = browser.get("/").text
    assert aws.settings.command_queue in page
    assert aws.settings.table in page
    assert "does not exist" not in page
    aws.sqs.delete_queue(QueueUrl=aws.dead_letter_queue_url)
    other = console()
    page = other.get("/").text
    assert f"The queue {aws.settings.dead_letter_queue} does not exist" in page
    assert "provision" in page


def test_the_overview_reads_aws_once_for_many_pages(browser: Browser) -> None:
    """A page that is open in ten tabs costs no more than in one."""
    for _ in range(10):
        browser.get("/overview/part")
    assert len(browser.console.history.readings) == 1


# --- dead letters ---


def test_dead_letters_are_grouped_and_shown_harmlessly(browser: Browser) -> None:
    """Whatever a letter contains is text on the page."""
    ids = [put_letter(browser, HOSTILE, code=HOSTILE.replace("\x1b", "")) for _ in range(2)]
    put_letter(browser, json.dumps({"type": "biome.user.BanUser.v1", "data": HOSTILE}))
    pages = [browser.get("/dead-letters").text, browser.get(f"/dead-letters/{ids[0]}").text]
    for page in pages:
        assert "<script>alert" not in page
        assert "&lt;script&gt;" in page
        assert not {"\u202e", "\x1b"} & set(page)
    assert "BanUser" in pages[0]
    assert pages[0].count("/dead-letters/group?") == 2


def test_a_letter_is_shown_next_to_its_error_without_secrets(browser: Browser) -> None:
    """The body is redacted like on the command line."""
    secret = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$aGFzaGhhc2hoYXNoaGFzaA"
    body = json.dumps(
        {"type": "biome.user.ChangePassword.v1", "data": {"password_hash": secret + "x", "x": 1}}
    )
    letter = put_letter(browser, body, "InvalidField", error_detail="data.x: is unknown")
    page = browser.get(f"/dead-letters/{letter}").text
    assert "InvalidField: data.x: is unknown" in page
    assert secret not in page


def test_a_group_is_retried_with_progress_that_a_reload_keeps(browser: Browser) -> None:
    """Letters of other groups stay."""
    for _ in range(25):
        put_letter(browser, "no JSON")
    put_letter(browser, "other", code="Unavailable")
    selection = group_of(browser, "NotJson")
    confirm = browser.get(f"/dead-letters/confirm?action=retry&{urlencode(selection)}").text
    assert "Selected: 25 letters." in confirm
    with capture_logs() as lines:
        started = browser.post("/dead-letters/retry", selection)
        job = ended(browser, started.headers["location"])
    assert job.result == "25 dead letters sent back"
    assert depths(browser) == (25, 1)
    assert "25 dead letters sent back" in browser.get("/jobs").text
    [action] = [line for line in lines if line["event"] == "console_action"]
    assert action["person"] == "ada"
    assert action["action"] == "retry dead letters NotJson of -"


def test_one_letter_is_deleted(browser: Browser) -> None:
    """By its id, after a confirmation."""
    letter, _ = put_letter(browser, "one"), put_letter(browser, "two")
    page = browser.get(f"/dead-letters/confirm?action=delete&message_id={letter}").text
    assert "Selected: 1 letter." in page
    started = browser.post("/dead-letters/delete", {"message_id": letter})
    assert ended(browser, started.headers["location"]).result == "1 dead letter deleted"
    assert depths(browser) == (0, 1)
    assert browser.get(f"/dead-letters/{letter}").status == 404


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("action=retry", 400),
        ("action=drop&message_id=x", 400),
        ("action=retry&message_id=x", 400),
        ("action=retry&reason=NotJson&command=-", 400),
        ("action=retry&group=00", 404),
    ],
)
def test_an_action_without_a_selection_is_refused(
    browser: Browser, query: str, status: int
) -> None:
    """Never all letters at once."""
    put_letter(browser, "one")
    assert browser.get(f"/dead-letters/confirm?{query}").status == status
    form = dict(parse_qsl(query))
    for action in ("retry", "delete"):
        assert browser.post(f"/dead-letters/{action}", form).status in {400, status}
    assert depths(browser) == (0, 1)


@pytest.mark.parametrize("action", ["retry", "delete"])
def test_an_action_is_logged_in_one_short_line(browser: Browser, action: str) -> None:
    """Whatever the letters contain, also an address: it is neither in the log nor in a URL."""
    address, other = "ada@mail.test", HOSTILE.replace("\x1b", "") + "x" * 10_000
    for reason in (address, other):
        put_letter(browser, "one", code=reason)
    with capture_logs() as lines:
        page = browser.get("/dead-letters").text
        for query in set(re.findall(r'/dead-letters/group\?([^"]*)"', page)):
            assert browser.get(f"/dead-letters/group?{query}").text.count('<th scope="row">') == 1
            started = browser.post(f"/dead-letters/{action}", dict(parse_qsl(query)))
            assert ended(browser, started.headers["location"]).result is not None
        refused = browser.post(f"/dead-letters/{action}", {"message_id": "ada@example.com"})
    assert refused.status == 400
    texts = [line["action"] for line in lines if "action" in line]
    assert len(texts) == 4
    assert all(len(text) < 300 and text.isprintable() for text in texts)
    assert depths(browser)[1] == 0
    assert address not in repr(lines)
    links = re.findall(r'(?:href|action)="([^"]*)"', page)
    assert links
    assert not any("ada" in unquote(link) for link in links)


def test_a_dead_lettered_command_is_named_so(browser: Browser) -> None:
    """Its page does not promise an outcome."""
    command_id = str(uuid4())
    body = {"type": CommandDeadLettered.type, "causationid": command_id, "data": {}}
    live = browser.console.live
    live._add(ReceivedEvent.parse(json.dumps(body), time.monotonic()))
    assert "dead-lettered" in browser.get("/live/newest").text
    page = browser.get(f"/commands/{command_id}").text
    assert "moved to the" in page
    assert "no outcome yet" not in page


def test_a_failed_action_says_why(browser: Browser) -> None:
    """The queue is gone, for example."""
    put_letter(browser, "one")
    aws = browser.console.aws
    aws.sqs.delete_queue(QueueUrl=aws.command_queue_url)
    del aws.__dict__["command_queue_url"]
    started = browser.post("/dead-letters/retry", group_of(browser, "NotJson"))
    job = ended(browser, started.headers["location"])
    assert job.result is None
    assert job.error
    assert job.error in browser.get("/jobs").text.replace("&#39;", "'")


def test_one_action_runs_at_a_time() -> None:
    """A second one is refused with the name of the first, and any exception ends a job."""
    jobs = Jobs()
    proceed: list[bool] = []

    def wait(job: Job) -> str:
        with job.track("waiting", 3, "turns") as advance:
            while not proceed:
                time.sleep(0.01)
            advance(3)
        raise RuntimeError("ada@example.com")

    with capture_logs():
        first = jobs.start("wait", "ada", wait)
        with pytest.raises(CliError, match="another action is running: wait"):
            jobs.start("second", "ada", lambda _: "done")
        proceed.append(True)
        while not first.ended:
            time.sleep(0.01)
        assert first.error == "RuntimeError: ada@example.com"
        assert (first.done, first.total) == (3, 3)
        assert jobs.start("second", "ada", lambda _: "done") in jobs.all()


# --- users and outbox ---


def test_a_user_is_found_without_an_address_in_a_url(browser: Browser) -> None:
    """The address is in the form, and the page of the user has the id in its URL."""
    user_id = str(uuid4())
    handle(browser, register("ada"), user_id)
    found = browser.post("/users", {"user": "Ada@Example.com"})
    assert found.status == 303
    assert found.headers["location"] == f"/users/{user_id}"
    page = browser.get(found.headers["location"]).text
    assert "ada@example.com" in page
    assert "$argon2" not in page


@pytest.mark.parametrize("who", ["", "nobody", "nobody@example.com", uid("nobody"), HOSTILE])
def test_an_unknown_user_is_not_found(browser: Browser, who: str) -> None:
    """Nor is what was typed repeated as markup."""
    answer = browser.post("/users", {"user": who})
    assert answer.status in {400, 404}
    assert "<script>alert" not in answer.text


def test_the_page_of_a_user_lists_their_dead_letters_that_were_read(browser: Browser) -> None:
    """From memory: the page reads no queue."""
    user, other = str(uuid4()), str(uuid4())
    for each in (user, other):
        handle(browser, register(each), each)
    body = {"type": "biome.user.BanUser.v1", "subject": user, "data": {}}
    letter = put_letter(browser, json.dumps(body), "InvalidField")
    assert letter not in browser.get(f"/users/{user}").text
    browser.get("/dead-letters")
    assert (
        f'<a href="/dead-letters/{letter}">BanUser</a>: InvalidField'
        in browser.get(f"/users/{user}").text
    )
    assert "Dead letters</h2>" not in browser.get(f"/users/{other}").text


# --- sending ---


@pytest.mark.parametrize("name", sorted(each.__name__ for each in COMMANDS.values()))
def test_every_command_has_a_form_with_its_fields(browser: Browser, name: str) -> None:
    """From the command's own rules."""
    page = browser.get(f"/send/{name}")
    assert page.status == 200
    assert f"<h1>{name}</h1>" in page.text


def test_a_command_is_checked_and_sent(browser: Browser) -> None:
    """An invalid one is shown again with its error, and nothing is sent."""
    user = str(uuid4())
    wrong = browser.post("/send/BanUser", {"user_id": user, "reason": "x" * 5_000})
    assert wrong.status == 400
    assert 'role="alert"' in wrong.text
    assert depths(browser) == (0, 0)
    sent = browser.post("/send/BanUser", {"user_id": user, "reason": "fraud", "unknown": "x"})
    assert sent.status == 303
    assert sent.headers["location"].endswith(f"?user={user}")
    assert depths(browser) == (1, 0)
    page = browser.get(sent.headers["location"]).text
    assert "BanUser sent to the queue" in page
    assert "no outcome yet" in page


# --- the session, and what errors say ---


def test_logging_out_ends_the_session_of_the_browser() -> None:
    """The button is on every page, unless a proxy logs people in."""
    browser = console()
    button = '<form class="inline" method="post" action="/logout">'
    assert button in browser.get("/users").text
    answer = browser.post("/logout")
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert (answer.status, name) == (303, browser.console.access.cookie)
    assert rest.startswith('"";')
    assert "Max-Age=0" in rest
    assert "Path=/" in rest
    behind = console(proxy_header="x-forwarded-user")
    assert button not in behind.get("/users", x_forwarded_user="grace").text


OPTION = re.compile(r"--[a-z]|run (it|the command) again|user-worker send")
"""Words of texts for the terminal, which a page should not contain."""


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/users/{id}?after=nothing", None),
        ("/users/{id}?after={id}", None),
        ("/users", {"user": "nobody"}),
        ("/users", {"user": "nobody@example.com"}),
        ("/users/{id}/erase", {"confirmed_id": "wrong"}),
        ("/users/{id}/export", {"confirmed_id": "{id8}"}),
        ("/users/{id}/confirm?action=drop", None),
        ("/send/NoSuchCommand", None),
        ("/send/NoSuchCommand", {"user_id": "{id}"}),
        ("/send/BanUser", {"reason": "fraud"}),
        ("/send/BanUser", {"user_id": "nobody", "reason": "fraud"}),
        ("/send/BanUser", {"user_id": "{id}", "reason": "x" * 5_000}),
        ("/dead-letters/{id}", None),
        ("/dead-letters/{id}/edit", {"command": "{"}),
        ("/dead-letters/{id}/edit", {"command": "{}"}),
        ("/dead-letters/confirm?action=drop", None),
        ("/dead-letters/retry", {"group": "00"}),
        ("/jobs/{id}", None),
    ],
)
def test_no_error_of_a_page_names_an_option_of_the_terminal(
    browser: Browser, path: str, form: dict[str, str] | None
) -> None:
    """The reader is in a browser."""
    ids = {"id": uid("nobody"), "id8": uid("nobody")[:8]}
    target = path.replace("{id}", ids["id"])
    values = {
        k: v.replace("{id}", ids["id"]).replace("{id8}", ids["id8"])
        for k, v in (form or {}).items()
    }
    answer = browser.get(target) if form is None else browser.post(target, values)
    assert answer.status in {400, 404}
    [problem] = re.findall(r'<p class="problem" role="alert">(.*?)</p>', answer.text)
    assert not OPTION.search(problem), problem


def test_a_page_shows_a_bounded_number_of_groups(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anyone who may write to the queue chooses the reasons, so there can be any number."""
    monkeypatch.setattr(dead_letters, "SHOWN_GROUPS", 2)
    for code in ("First", "First", "Second", "Second", "Third"):
        put_letter(browser, "a letter", code)
    page = browser.get("/dead-letters").text
    assert "First" in page
    assert "Second" in page
    assert "Third" not in page
    assert "1 smaller group more" in page
