"""Secrets in dead letters of any shape: no page, no action and no log line shows one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape
from urllib.parse import parse_qsl

import pytest
from structlog.testing import capture_logs

from console.app import ROUTES
from console.web import Mode
from tests.secrets import NAMES, SECRET, SHAPES, reveals
from tests.unit.cli.dlq_world import dead_lettered, in_entries
from tests.unit.console.served import Browser, console, provisioned
from tests.unit.console.test_pages import ended

AT_A_TIME = 36
"""Letters on the queue: a page shows a hundred, and moto is slow with many."""


@pytest.fixture
def browser() -> Iterator[Browser]:
    """An acting console on an AWS without users."""
    with provisioned():
        yield console(write=True)


def bodies() -> list[str]:
    """Return a body for each name; each shape is used for several names."""
    shapes = list(SHAPES.values())
    return [shapes[number % len(shapes)](name) for number, name in enumerate(NAMES)]


def write_unchanged(browser: Browser, texts: list[str]) -> None:
    """Put letters on the queue as SQS itself moves them, with an attribute of the sender."""
    attribute = {"api-key": SECRET}
    send(browser, browser.console.aws.dead_letter_queue_url, [(each, attribute) for each in texts])


def write_redacted(browser: Browser, texts: list[str]) -> None:
    """Put letters on the queue as the worker sends them, and the originals of redacted ones."""
    written = dead_lettered(texts)
    aws = browser.console.aws
    send(browser, aws.queue_url(aws.settings.quarantine_queue), written.originals)
    send(browser, aws.dead_letter_queue_url, written.letters)


def send(browser: Browser, url: str, letters: list[tuple[str, dict[str, str]]]) -> None:
    """Send messages with attributes."""
    for entries in in_entries(letters):
        answer = browser.console.aws.sqs.send_message_batch(QueueUrl=url, Entries=entries)
        assert not answer.get("Failed")


def pages(browser: Browser) -> Iterator[str]:
    """Yield every page that shows letters, of each group and each letter."""
    for route in ROUTES:
        if route.method == "GET" and route.mode is Mode.READ and "{" not in route.path:
            yield browser.get(route.path).text
    listing = browser.get("/dead-letters").text
    yield listing
    groups = [unescape(each) for each in re.findall(r'"(/dead-letters/group\?[^"]+)"', listing)]
    assert groups
    letters: set[str] = set()
    for group in groups:
        page = browser.get(group)
        assert page.status == 200
        yield page.text
        yield browser.get(group.replace("group?", "confirm?action=retry&")).text
        letters |= set(re.findall(r'"(/dead-letters/[0-9a-f-]{36})"', page.text))
    assert len(letters) > AT_A_TIME // 3
    for letter in letters:
        for path in (letter, f"{letter}/edit"):
            page = browser.get(path)
            assert page.status == 200
            yield page.text
    yield browser.post(f"{min(letters)}/edit", {"command": "{}"}).text  # invalid: shown again


def acted(browser: Browser, path: str, **fields: str) -> str:
    """Run an action to its end; return its page and the list of actions."""
    started = browser.post(path, fields)
    job = ended(browser, started.headers["location"])
    assert job.error is None, job.error
    return browser.get(started.headers["location"]).text + browser.get("/jobs").text


@pytest.mark.parametrize("write_letters", [write_unchanged, write_redacted])
def test_no_page_shows_the_secret_of_a_letter(
    browser: Browser, write_letters: Callable[[Browser, list[str]], None]
) -> None:
    """Under each of more than 200 names: unchanged letters of SQS, and redacted ones."""
    everything = bodies()
    shown: set[str] = set()
    with capture_logs() as lines:
        for start in range(0, len(everything), AT_A_TIME):
            write_letters(browser, everything[start:][:AT_A_TIME])
            found = [*pages(browser)]
            if start == 0:  # each shape
                found += [acted(browser, "/dead-letters/count"), *act_on_groups(browser)]
            for page in found:
                shown.update(page.splitlines())  # the same lines are searched once
            remove_letters(browser)
    assert any("[string of " in line for line in shown)
    assert [line for line in shown if reveals(line)] == []
    assert not reveals(repr(lines))


def remove_letters(browser: Browser) -> None:
    """Delete all dead letters."""
    sqs, url = browser.console.aws.sqs, browser.console.aws.dead_letter_queue_url
    while rows := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for row in rows:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=row["ReceiptHandle"])
    browser.console.letters.forget()


def act_on_groups(browser: Browser) -> Iterator[str]:
    """Retry the letters of every other group, and delete the letters of the rest."""
    listing = browser.get("/dead-letters").text
    groups = {unescape(each) for each in re.findall(r"/dead-letters/group\?([^\"]+)", listing)}
    for number, group in enumerate(sorted(groups)):
        action = ("retry", "delete")[number % 2]
        yield acted(browser, f"/dead-letters/{action}", **dict(parse_qsl(group)))
