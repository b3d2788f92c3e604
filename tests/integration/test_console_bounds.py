"""Count the calls to AWS of each page, with many letters, entries and commands."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from adapters.dynamodb import records
from adapters.dynamodb.repository import DynamoDBUserRepository
from application.command_id import new_command_id
from console.letters import PAGE, REMEMBERED
from console.overview import ENTRIES
from console.user_page import OUTCOMES
from operations.provision import provision_resources
from tests.builders import register, uid
from tests.conftest import ResourceNames
from tests.e2e.command_line import CommandLine
from tests.persistence import outcome, registered
from tests.unit.console.served import Browser, console, handle
from tests.unit.console.test_pages import ended

pytestmark = [pytest.mark.xdist_group("console bounds")]

LETTERS = 1_030
ENTRIES_STORED = 400
STORED_OUTCOMES = 2 * OUTCOMES + 300


@pytest.fixture(scope="module")
def browser(aws_endpoint: str) -> Iterator[Browser]:
    """A console on an AWS with many dead letters and a long outbox."""
    names = ResourceNames.unique()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", aws_endpoint)
        for name, value in CommandLine.on(names, aws_endpoint).environment.items():
            patch.setenv(name, value)
        patch.setenv("USER_WORKER_ENV", "dev")
        browser = console(write=True)
        aws = browser.console.aws
        provision_resources(aws)
        for start in range(0, LETTERS, 10):
            entries = [
                {
                    "Id": str(number),
                    "MessageBody": f"letter {start + number}",
                    "MessageAttributes": {
                        "error_code": {"DataType": "String", "StringValue": "NotJson"}
                    },
                }
                for number in range(10)
            ]
            aws.sqs.send_message_batch(QueueUrl=aws.dead_letter_queue_url, Entries=entries)  # type: ignore[arg-type]
        repository = DynamoDBUserRepository(aws.dynamodb, aws.settings.table)
        for number in range(ENTRIES_STORED):
            repository.commit([registered(f"user{number}")], datetime.now(UTC))
        yield browser


def put_outcomes(browser: Browser, user_id: str, ids: Sequence[str]) -> None:
    """Store accepted outcomes of a user, without a worker."""
    aws, now = browser.console.aws, datetime.now(UTC)
    for start in range(0, len(ids), 25):
        puts: list[Any] = [
            {
                "PutRequest": {
                    "Item": records.render_outcome(
                        replace(
                            outcome("command", "user"),
                            command_id=command_id,
                            user_id=user_id,
                            recorded_at=now + timedelta(milliseconds=start + number),
                        )
                    )
                }
            }
            for number, command_id in enumerate(ids[start : start + 25])
        ]
        aws.dynamodb.batch_write_item(RequestItems={aws.settings.table: puts})


@contextmanager
def counted_calls(browser: Browser) -> Iterator[Counter[str]]:
    """Count the calls to AWS, and the items that queries have read."""
    calls: Counter[str] = Counter()
    aws = browser.console.aws

    def count(model: object, parsed: dict[str, object], **_: object) -> None:
        calls[model.name] += 1  # type: ignore[attr-defined]
        calls["items"] += int(str(parsed.get("ScannedCount", 0)))

    clients = (aws.sqs, aws.sns, aws.dynamodb)
    for client in clients:
        client.meta.events.register("after-call", count)
    try:
        yield calls
    finally:
        for client in clients:
            client.meta.events.unregister("after-call", count)


@pytest.mark.parametrize(
    "path",
    [
        "/dead-letters",
        "/dead-letters/group?group={key}",
        f"/dead-letters/{uid('no letter')}",
        "/dead-letters/confirm?action=retry&group={key}",
    ],
)
def test_a_page_reads_no_more_than_a_page_of_dead_letters(browser: Browser, path: str) -> None:
    """The limit also holds for a letter that is not among them."""
    key = browser.console.letters.key_of("NotJson", "-")
    browser.console.letters.forget()
    with counted_calls(browser) as calls:
        assert browser.get(path.format(key=key)).status in {200, 404}
    assert calls["ReceiveMessage"] <= PAGE / 10
    assert calls["ChangeMessageVisibilityBatch"] <= PAGE / 10
    assert calls.total() - calls["items"] <= 2 * PAGE / 10 + 2


def test_pages_that_follow_each_other_read_once(browser: Browser) -> None:
    """From the groups to a group to a letter."""
    browser.console.letters.forget()
    key = browser.console.letters.key_of("NotJson", "-")
    page = browser.get(f"/dead-letters/group?group={key}").text
    letter = page.split('href="/dead-letters/')[-1].partition('"')[0]
    with counted_calls(browser) as calls:
        assert browser.get(f"/dead-letters/{letter}").status == 200
        assert browser.get(f"/dead-letters/{letter}/edit").status == 200
    assert calls["ReceiveMessage"] == 0


def test_all_letters_are_counted_in_the_background(browser: Browser) -> None:
    """The page shows the whole number afterwards."""
    started = browser.post("/dead-letters/count")
    assert ended(browser, started.headers["location"]).result == "1,030 dead letters in 1 group"
    assert f"<td>{LETTERS}</td>" in browser.get("/dead-letters").text


def test_the_outbox_page_and_the_overview_read_a_bounded_number_of_entries(
    browser: Browser,
) -> None:
    """One query for each shard, with a limit."""
    with counted_calls(browser) as calls:
        assert browser.get("/outbox").status == 200
    assert calls["Query"] <= 8
    assert calls["items"] <= 110
    with counted_calls(browser) as calls:
        assert browser.get("/").status == 200
    assert calls["Query"] <= 9
    assert calls["items"] <= 9 * ENTRIES


def test_the_pages_of_a_user_read_a_bounded_number_of_outcomes(browser: Browser) -> None:
    """A user with thousands of commands; each outcome is on one page, the newest on the first."""
    user = str(uuid4())
    handle(browser, register("much"), user)
    put_outcomes(browser, user, ids := [new_command_id() for _ in range(STORED_OUTCOMES)])
    pages, path = list[list[str]](), f"/users/{user}"
    while path:
        with counted_calls(browser) as calls:
            page = browser.get(path).text
        assert calls["items"] <= OUTCOMES + 1
        assert calls.total() - calls["items"] <= 5
        pages.append(re.findall(r'<th scope="row"><a href="/commands/([^?]*)', page))
        older = re.search(r'<a href="([^"]*)">Read more outcomes', page)
        path = older[1] if older else ""
        assert "This user has more outcomes than one page reads" in page
    assert len(pages) == STORED_OUTCOMES // OUTCOMES + 1
    shown = [each for page in pages for each in page if each in set(ids)]
    assert sorted(shown) == sorted(ids)
    assert set(pages[0]) >= set(sorted(ids)[-OUTCOMES + 1 :])


def test_remembered_letters_are_bounded(browser: Browser) -> None:
    """A console that runs for weeks does not grow."""
    shelf = browser.console.letters
    for _ in range(3):
        shelf.first(browser.console.aws, 0)
    assert len(shelf._letters) <= REMEMBERED
    assert shelf._bytes == sum(len(each.stored.body) for each in shelf._letters.values())
