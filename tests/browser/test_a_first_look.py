"""Check the first look at the printed address; runs before the other tests."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.conftest import MARKS, Open

pytestmark = MARKS


def test_the_first_page_shows_the_samples_and_follows_one_of_them(open_page: Open) -> None:
    """Someone on the first day reads no page of documentation."""
    page = open_page()
    followed = page.get_by_role("region", name="One command, followed from message to event")
    text = followed.inner_text()
    assert "sent to the queue" in text
    assert "committed to the table" in text
    assert "received from the topic" in text
    assert "ms later" in text
    commands = page.get_by_role("region", name="Newest commands").inner_text()
    assert "rejected RefreshTokenReused" in commands
    assert "accepted" in commands


def test_the_overview_shows_the_worker_and_its_figures(open_page: Open) -> None:
    """Health, counters, critical time and rejections of the real worker."""
    page = open_page()
    workers = page.get_by_role("region", name="Workers")
    expect(workers).to_contain_text(re.compile(r"127\.0\.0\.1\s*ready"), timeout=20_000)
    page.get_by_role("region", name="Rejections").wait_for()
    assert "EmailTaken" in page.get_by_role("region", name="Rejections").inner_text()
    plot = page.get_by_role("img", name="Critical time, p99")
    assert "ms" in (plot.get_attribute("aria-label") or "")
