"""Every page of the console in Chromium: for everyone, on a phone, in light and in dark mode."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from console.app import ROUTES
from tests.browser.conftest import MARKS, Open, Site, serious_faults

pytestmark = MARKS

LAPTOP = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}
PHONE = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark", "has_touch": True}
FORMS = {"light on a laptop": LAPTOP, "dark on a phone": PHONE}


def shown_pages(site: Site, group: str) -> dict[str, str]:
    """Return an address for each page, by the path of its route; `group` selects dead letters."""
    user = user_of_samples(site)
    letter = site.put_letter("[]", "NotAnObject")
    return {
        "/": "/",
        "/live": "/live",
        "/commands/{command_id:uuid}": f"/commands/{uuid4()}?user={user}",
        "/dead-letters": "/dead-letters",
        "/dead-letters/group": f"/dead-letters/group?{group}",
        "/dead-letters/{message_id:uuid}": f"/dead-letters/{letter}",
        "/dead-letters/{message_id:uuid}/edit": f"/dead-letters/{letter}/edit",
        "/dead-letters/confirm": f"/dead-letters/confirm?action=retry&{group}",
        "/jobs": "/jobs",
        "/users": "/users",
        "/users/{user_id:uuid}": f"/users/{user}",
        "/users/{user_id:uuid}/confirm": f"/users/{user}/confirm?action=erase",
        "/outbox": "/outbox",
        "/send": "/send",
        "/send/{name}": "/send/RegisterUser",
    }


def user_of_samples(site: Site) -> str:
    """Return the id of a user that the samples have registered."""
    items = site.client("dynamodb").scan(
        TableName="users",
        FilterExpression="sk = :user",
        ExpressionAttributeValues={":user": {"S": "USER"}},
    )["Items"]
    return str(items[0]["pk"]["S"]).partition("#")[2]


TESTED_BY_ACTIONS = {"/jobs/{job_id:uuid}"}
"""Pages that exist after an action only; tests/browser/test_actions.py looks at them."""
PARTS = {each.path for each in ROUTES if each.path.endswith("/part") or each.path == "/live/newest"}


def test_every_page_is_tested(site: Site) -> None:
    """A new page cannot be forgotten here."""
    pages = {each.path for each in ROUTES if each.method == "GET"}
    assert pages - PARTS - TESTED_BY_ACTIONS == shown_pages(site, "").keys()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_no_page_has_a_serious_fault_or_is_wider_than_its_screen(
    site: Site, open_page: Open, axe: str, form: dict[str, Any]
) -> None:
    """Contrast, names, landmarks, focus: axe-core's rules; only tables scroll sideways."""
    page = open_page(**form, bypass_csp=True)  # the test's own script is not the console's
    site.put_letter("[]", "NotAnObject")
    page.goto(f"{site.root}/dead-letters")
    group = page.get_by_role("link", name="NotAnObject").get_attribute("href")
    assert group is not None
    for path in shown_pages(site, group.partition("?")[2]).values():
        answer = page.goto(site.root + path)
        assert answer is not None
        assert answer.status == 200, path
        assert page.locator("h1").count() == 1, path
        assert serious_faults(page, axe) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_colours_follow_the_mode_of_the_system(open_page: Open) -> None:
    """A dark page at night, without a setting."""
    backs = {
        mode: open_page(color_scheme=mode).evaluate(
            "getComputedStyle(document.body).backgroundColor"
        )
        for mode in ("light", "dark")
    }
    assert backs["light"] == "rgb(255, 255, 255)"
    assert backs["dark"] != backs["light"]


def test_the_tab_key_reaches_the_content_first(open_page: Open) -> None:
    """The first stop skips the navigation."""
    page = open_page()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_the_address_contains_no_token_after_it_was_opened(site: Site, open_page: Open) -> None:
    """Neither the history of the browser nor a screenshot gives access."""
    page = open_page()
    assert page.url == f"{site.root}/"
    assert site.address.partition("=")[2] not in page.content()
