"""A console of `user-worker dev`, with its real Celery worker, in a headless Chromium."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import boto3
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.e2e.command_line import CommandLine
from tests.node_packages import copy_with_packages

HERE = Path(__file__).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OWN_AWS = {"AWS_ENDPOINT_URL": "", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
CREDENTIALS = {
    "region_name": "us-east-1",
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
}
LONGEST_TAB_ORDER = 150
"""More stops of the Tab key than any page has."""


MARKS = [
    pytest.mark.embedded,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("browser"),  # they share a console and a browser
]


@dataclass(frozen=True)
class Site:
    """The console, and the AWS behind it."""

    address: str
    """With the token."""
    endpoint: str

    @property
    def root(self) -> str:
        """The address without the token, and without a slash at the end."""
        return self.address.partition("/?")[0]

    def client(self, service: str) -> Any:
        """Return a client of the AWS behind the console."""
        return boto3.client(service, endpoint_url=self.endpoint, **CREDENTIALS)  # type: ignore[call-overload]

    def queue(self, name: str) -> str:
        """Return the URL of a queue."""
        return str(self.client("sqs").get_queue_url(QueueName=name)["QueueUrl"])

    def put_letter(self, body: str, code: str, **attributes: str) -> str:
        """Put a dead letter on the queue; return its id."""
        told = {"error_code": code, "original_message_id": str(uuid4()), **attributes}
        sent = self.client("sqs").send_message(
            QueueUrl=self.queue("user-commands-dlq"),
            MessageBody=body,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": text} for name, text in told.items()
            },
        )
        return str(sent["MessageId"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run the samples on an AWS of their own; the console stays open."""
    folder = tmp_path_factory.mktemp("dev")
    with CommandLine().running("dev", "--samples", TMPDIR=str(folder), **OWN_AWS) as process:
        address = endpoint = ""
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.match(r"AWS +(http\S+)", line):
                endpoint = found[1]
            elif found := re.search(r"http\S+\?token=\S+", line):
                address = found[0]
            elif "ended as expected" in line:
                break
        assert address, "the console's address was not printed"
        for stream in (process.stdout, process.stderr):
            Thread(target=_drain, args=(stream,), daemon=True).start()  # a full pipe would block it
        yield Site(address, endpoint)
        process.terminate()
        process.wait(timeout=30)


def _drain(stream: Iterable[str]) -> None:
    for _ in stream:
        pass


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Run a headless Chromium, to the end of a file: its event loop would fail other tests."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(site: Site, chromium: Browser) -> Iterator[Open]:
    """Open a page of the console; fail if a script failed or the security policy was violated."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def opened(path: str = "/", **options: Any) -> Page:
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda line: problems.append(line.text) if _is_fault(line.type, line.text) else None,
        )
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.goto(site.address)
        if path != "/":
            page.goto(site.root + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the script of axe-core."""
    folder = copy_with_packages(HERE, tmp_path_factory.mktemp("axe") / "browser")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


def _is_fault(kind: str, text: str) -> bool:
    """Return False for the browser's own note about a page with status 400 or 404."""
    return kind in {"error", "warning"} and not re.search(
        "the server responded with a status", text
    )


def serious_faults(page: Page, axe: str) -> list[str]:
    """Return what axe-core finds serious or critical on a page, in its own words."""
    found = page.evaluate(f"async () => {{ {axe}; return await axe.run(document); }}")
    return [
        f"{each['id']}: {each['help']}: {each['nodes'][0]['html'][:120]}"
        for each in found["violations"]
        if each["impact"] in {"serious", "critical"}
    ]


def press(page: Page, name: str, role: str = "link") -> None:
    """Reach a link or a button with the Tab key, and press Enter; a link leads to another page."""
    if role == "link":
        _submit(page, name, role)
    else:
        reach(page, name, role)
        page.keyboard.press("Enter")


def submit(page: Page, name: str) -> None:
    """Reach a button with the Tab key, press Enter, and wait for the page that follows."""
    _submit(page, name, "button")


def _submit(page: Page, name: str, role: str) -> None:
    reach(page, name, role)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def reach(page: Page, name: str, role: str) -> None:
    """Move the focus with the Tab key, as a person without a mouse; fail if it never arrives."""
    target = page.get_by_role(role, name=name).first  # type: ignore[arg-type]
    target.wait_for()
    for _ in range(LONGEST_TAB_ORDER):
        if target.evaluate("node => node === document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"the Tab key does not reach the {role} {name!r}")


def finished(page: Page) -> str:
    """Wait for the end of an action on its page; return the result that it shows."""
    done = page.locator("[data-done]")
    done.wait_for(timeout=60_000)
    return done.inner_text()


def eventually(holds: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def command(kind: str, user: str, **data: Any) -> str:
    """Return a command's body."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": str(uuid4()),
            "source": "/tests/browser",
            "type": f"biome.user.{kind}.v1",
            "subject": user,
            "time": datetime.now(UTC).isoformat(),
            "datacontenttype": "application/json",
            "data": data,
        }
    )
