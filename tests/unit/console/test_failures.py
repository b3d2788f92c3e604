"""AWS fails in the middle of an action: nothing is lost, and the page states what happened."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, ReadTimeoutError
from structlog.testing import capture_logs

from tests.builders import uid
from tests.unit.console.served import Browser, console, provisioned
from tests.unit.console.test_pages import depths, ended, group_of, put_letter

LETTERS = 25
ERRORS = {
    "an error": ClientError(
        {"Error": {"Code": "InternalError", "Message": "ada@example.com"}}, "SendMessageBatch"
    ),
    "no answer": ReadTimeoutError(endpoint_url="http://127.0.0.1:1/?user=ada@example.com"),
}
AFTER = {"before it": False, "after it": True}


@pytest.fixture
def browser() -> Iterator[Browser]:
    """An acting console."""
    with provisioned():
        yield console(write=True)


@contextmanager
def failing(
    operation: str, number: int, error: Exception, *, after: bool = False
) -> Iterator[None]:
    """Fail one call of an operation: before SQS carries it out, or after it."""
    original, calls = BaseClient._make_api_call, Counter[str]()  # type: ignore[attr-defined]

    def call(self: BaseClient, name: str, arguments: Any) -> Any:
        calls[name] += 1
        if (name, calls[name]) != (operation, number):
            return original(self, name, arguments)
        if after:
            original(self, name, arguments)
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", call)
        yield
    assert calls[operation] >= number, "the call was not reached"


def bodies(browser: Browser, url: str) -> Counter[str]:
    """Return the bodies of all messages of a queue, which stay visible."""
    found, sqs = list[Any](), browser.console.aws.sqs
    while rows := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        found += rows
    for row in found:
        sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=row["ReceiptHandle"], VisibilityTimeout=0
        )
    return Counter(row["Body"] for row in found)


errors = pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
places = pytest.mark.parametrize("after", AFTER.values(), ids=AFTER)


@errors
@pytest.mark.parametrize(
    ("operation", "number", "after"),
    [
        ("SendMessageBatch", 2, False),
        ("SendMessageBatch", 2, True),
        ("DeleteMessageBatch", 2, False),
        ("DeleteMessageBatch", 2, True),
        ("ReceiveMessage", 2, False),  # after it, SQS hides the letters for two minutes
    ],
)
def test_a_retry_of_a_group_that_fails_loses_no_letter(
    browser: Browser, operation: str, number: int, error: Exception, *, after: bool
) -> None:
    """Each letter is still there or was sent; the page counts, and the next retry does the rest."""
    put = Counter({f"letter {n}": 1 for n in range(LETTERS)})
    for body in put:
        put_letter(browser, body)
    aws, selection = browser.console.aws, group_of(browser, "NotJson")
    with failing(operation, number, error, after=after), capture_logs():
        started = browser.post("/dead-letters/retry", selection)
        job = ended(browser, started.headers["location"])
    assert job.error
    page = browser.get(started.headers["location"]).text
    assert "10 of 25 letters" in page
    assert "ada@" not in page
    assert "Traceback" not in page
    dead, sent = bodies(browser, aws.dead_letter_queue_url), bodies(browser, aws.command_queue_url)
    assert put <= dead + sent
    assert dead == put - sent or operation == "DeleteMessageBatch" or after
    again = browser.post("/dead-letters/retry", selection)
    assert ended(browser, again.headers["location"]).error is None
    assert bodies(browser, aws.dead_letter_queue_url) == Counter()
    assert set(bodies(browser, aws.command_queue_url)) == set(put)


@errors
@places
def test_a_deletion_that_fails_states_what_is_left(
    browser: Browser, error: Exception, *, after: bool
) -> None:
    """A second deletion removes the rest."""
    for number in range(LETTERS):
        put_letter(browser, f"letter {number}")
    selection = group_of(browser, "NotJson")
    with failing("DeleteMessageBatch", 2, error, after=after), capture_logs() as lines:
        started = browser.post("/dead-letters/delete", selection)
        job = ended(browser, started.headers["location"])
    [failed] = [line for line in lines if line["event"] == "console_action_failed"]
    assert failed["reason"].endswith(("InternalError", "ReadTimeoutError"))
    assert "ada@" not in str(failed)
    assert job.error is not None
    assert "10 letters were not deleted" in job.error
    assert "10 of 25 letters" in browser.get(started.headers["location"]).text
    assert depths(browser)[1] == (5 if after else 15)
    again = browser.post("/dead-letters/delete", selection)
    assert ended(browser, again.headers["location"]).error is None
    assert depths(browser) == (0, 0)


@errors
@places
@pytest.mark.parametrize("operation", ["SendMessageBatch", "DeleteMessageBatch"])
def test_a_correction_that_fails_keeps_the_letter_or_has_sent_its_command(
    browser: Browser, operation: str, error: Exception, *, after: bool
) -> None:
    """The page states which of the two."""
    event = {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": "/test",
        "type": "biome.user.BanUser.v1",
        "subject": uid("ada"),
        "data": {"reason": "fraud"},
    }
    letter = put_letter(browser, json.dumps(event))
    form = {"command": json.dumps(event)}
    with failing(operation, 1, error, after=after), capture_logs():
        started = browser.post(f"/dead-letters/{letter}/edit", form)
        job = ended(browser, started.headers["location"])
    assert job.error is not None
    assert "ada@" not in job.error
    waiting, dead = depths(browser)
    if operation == "SendMessageBatch":
        assert "could not be sent" in job.error
        assert (waiting, dead) == (int(after), 1)
    else:
        assert "was sent, but its letter could not be deleted" in job.error
        assert (waiting, dead) == (1, int(not after))
    assert job.error in browser.get(started.headers["location"]).text


@errors
@places
def test_an_erasure_that_was_not_sent_says_so(
    browser: Browser, error: Exception, *, after: bool
) -> None:
    """It can be repeated: the second command has no effect."""
    user, url = uid("ada"), f"/users/{uid('ada')}/erase"
    with failing("SendMessageBatch", 1, error, after=after), capture_logs() as lines:
        answer = browser.post(url, {"confirmed_id": user[:8]})
    assert answer.status in {502, 503}
    assert "ada@" not in answer.text
    assert not [line for line in lines if line["event"] == "console_action"]
    assert browser.post(url, {"confirmed_id": user[:8]}).status == 303
    assert depths(browser)[0] == 1 + after
