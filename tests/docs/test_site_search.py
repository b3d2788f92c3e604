"""The search of the site finds standard terms, in a browser that opens the built files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FIRST = 5
"""Results that are visible without scrolling."""
EXPECTED = {
    "acknowledge": "reference/glossary",
    "alarm": "reference/alarms",
    "at least once": "reference/glossary",
    "backoff": "reference/glossary",
    "backup": "how-to/runbook",
    "BanUser": "reference/messages",
    "circuit breaker": "reference/glossary",
    "CLI": "reference/command-line",
    "correlation": "reference/glossary",
    "dead letter": "how-to/dead-letters",
    "dead-letter queue": "how-to/dead-letters",
    "DLQ": "how-to/dead-letters",
    "environment variable": "reference/settings",
    "EmailTaken": "reference/messages",
    "exactly once": "reference/glossary",
    "fair queue": "how-to/operations",
    "FIFO": "how-to/deploy",
    "filter policy": "how-to/subscribing",
    "GDPR": "reference/glossary",
    "GDPR erase": "how-to/runbook",
    "GDPR export": "how-to/bulk",
    "IAM": "reference/iam",
    "idempotency": "reference/glossary",
    "idempotency key": "reference/glossary",
    "import": "how-to/bulk",
    "jitter": "reference/glossary",
    "Kubernetes": "how-to/deploy",
    "login": "how-to/reading",
    "metrics": "reference/metrics",
    "optimistic locking": "reference/glossary",
    "outbox": "how-to/dead-letters",
    "permission": "how-to/permissions",
    "poison message": "reference/glossary",
    "quarantine": "how-to/dead-letters",
    "readiness": "how-to/operations",
    "redrive": "how-to/dead-letters",
    "replay": "how-to/subscribing",
    "retry": "reference/glossary",
    "rollback": "how-to/deploy",
    "scaling": "explanation/scaling",
    "throttle": "how-to/runbook",
    "trace": "reference/metrics",
    "visibility timeout": "reference/glossary",
    "web console": "how-to/console",
}
"""By term, the page that a reader needs."""
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.embedded,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("site"),  # one process builds it
]


@pytest.fixture(scope="module")
def start_page(site: Path) -> Iterator[Page]:
    """Open the start page from the file system, as a person without a server does."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto((site / "index.html").as_uri())
        yield page
        browser.close()


def found(page: Page, term: str) -> list[str]:
    """Type a term into the search; return the places of the pages that it finds, best first."""
    field = page.locator("[data-md-component=search-query]")
    type_into(field, "")
    results = page.locator(".md-search-result__item > .md-search-result__link")
    results.first.wait_for(state="detached")
    type_into(field, term)
    results.first.wait_for()
    root = page.url.partition("#")[0].removesuffix("index.html")
    links = results.evaluate_all("links => links.map(link => link.href)")
    return list(dict.fromkeys(link.removeprefix(root).partition(".html")[0] for link in links))


def type_into(field: Locator, text: str) -> None:
    """Replace the text of the search at once, so that no result of its beginning is shown."""
    field.fill(text)
    field.press("End")  # the search starts when a key is released


@pytest.mark.parametrize("term", EXPECTED)
def test_the_search_finds_the_page_of_a_term(start_page: Page, term: str) -> None:
    """It is among the first results."""
    assert EXPECTED[term] in found(start_page, term)[:FIRST]


def test_the_search_finds_nothing_for_a_word_that_no_page_has(start_page: Page) -> None:
    """The results are those of the typed term."""
    type_into(start_page.locator("[data-md-component=search-query]"), "xylophone")
    start_page.get_by_text("No matching documents").wait_for()
