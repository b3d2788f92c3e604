"""A console whose AWS does not answer: each page says so in time, and the others work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from console import letters, overview, web
from console.shared_read import SharedRead
from tests.unit.console.served import Browser, console, provisioned


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A console that may act."""
    with provisioned():
        yield console(write=True)


READS = [(overview, "read_status", "/"), (letters, "list_letters", "/dead-letters")]


@pytest.mark.parametrize(("module", "name", "path"), READS, ids=["overview", "dead letters"])
def test_a_page_that_waits_for_aws_gives_up(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, path: str
) -> None:
    """The SDK's last attempt may fail after 90 s; the page after it works as soon as AWS does."""
    original, answers = getattr(module, name), threading.Event()

    def slow(*arguments: Any, **options: Any) -> Any:
        assert answers.wait(20)
        return original(*arguments, **options)

    monkeypatch.setattr(module, name, slow)
    monkeypatch.setattr(web, "PAGE_WITHIN", 0.3)
    timer = threading.Timer(1.5, answers.set)  # the event loop of the client waits for its threads
    timer.start()
    answer = browser.get(path)
    assert answer.status == 504
    assert "AWS did not answer" in answer.text
    monkeypatch.setattr(web, "PAGE_WITHIN", 15.0)
    assert browser.get(path).status == 200


ERRORS = [
    ReadTimeoutError(endpoint_url="https://sqs.eu-west-1.amazonaws.com/"),
    ClientError({"Error": {"Code": "ThrottlingException"}}, "GetQueueAttributes"),
    ClientError({"Error": {"Code": "AccessDenied"}}, "GetQueueAttributes"),
    RuntimeError("ada@example.com"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "ada@example.com"),
]


@pytest.mark.parametrize("error", ERRORS, ids=str)
@pytest.mark.parametrize("path", ["/", "/dead-letters", "/outbox", "/users/{id}", "/live"])
def test_every_error_of_a_call_is_a_page_without_its_text(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, error: Exception, path: str
) -> None:
    """And the page after it works again."""
    path = path.format(id="00000000-0000-4000-8000-000000000000")

    def fail(*_: object) -> Any:
        raise error

    with monkeypatch.context() as failing:
        failing.setattr("botocore.client.BaseClient._make_api_call", fail)
        answer = browser.get(path)
    assert answer.status in ({200} if path == "/live" else {403, 502, 503})
    assert "Traceback" not in answer.text
    assert "ada@" not in answer.text
    assert browser.get(path).status in {200, 404}


def test_threads_that_wait_for_a_read_share_its_error() -> None:
    """Ten pages wait as long as one, and the next one reads again."""
    shared, calls = SharedRead[str](), list[float]()

    def read() -> str:
        calls.append(time.monotonic())
        time.sleep(0.3)
        raise OSError("no answer")

    def ask(work: Callable[[], str]) -> str:
        try:
            return shared.get(lambda: None, work)
        except OSError as error:
            return str(error)

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(ask, [read] * 10)) == ["no answer"] * 10
    assert len(calls) == 1
    assert ask(lambda: "read") == "read"
