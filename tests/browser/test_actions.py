"""Every action of the console, by keyboard only, with a real worker behind it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from uuid import uuid4

from playwright.sync_api import Page, expect

from adapters.dynamodb.outbox import DynamoDBOutbox
from adapters.dynamodb.repository import DynamoDBUserRepository
from adapters.sqs.dead_letter_queue import DeadLetterQueue
from application.repository import LoadRequest
from tests.browser.conftest import (
    MARKS,
    Open,
    Site,
    command,
    eventually,
    finished,
    press,
    reach,
    submit,
)
from tests.browser.test_pages import user_of_samples
from tests.persistence import registered

pytestmark = MARKS

LETTERS = 1_000


def group_of(page: Page, code: str) -> None:
    """Open the group of a reason, as soon as the page has read it."""

    def is_shown() -> bool:
        press(page, "Dead letters")
        return page.get_by_role("link", name=code).count() > 0

    eventually(is_shown, code)
    press(page, code)


def letters_with(site: Site, code: str, text: str = "") -> int:
    """Return the number of dead letters with a code and a text, read without the console."""
    with DeadLetterQueue(site.client("sqs"), site.queue("user-commands-dlq")) as queue:
        letters = [letter for batch in queue.letters() for letter in batch]
    return sum(each.reason == code and text in each.body for each in letters)


def test_a_group_of_a_thousand_is_retried_while_workers_run(site: Site, open_page: Open) -> None:
    """The progress survives a reload; each letter is gone, or there again with its reason."""
    sqs, url = site.client("sqs"), site.queue("user-commands-dlq")
    users = [str(uuid4()) for _ in range(LETTERS)]
    bodies = [
        command(
            "CreateUser",
            user,
            email=f"{user}@example.com",
            first_name="Ada" if number % 100 else 7,  # every hundredth is invalid
            roles=["customer"],
        )
        for number, user in enumerate(users)
    ]
    for start in range(0, LETTERS, 10):
        sqs.send_message_batch(
            QueueUrl=url,
            Entries=[
                {
                    "Id": str(place),
                    "MessageBody": body,
                    "MessageAttributes": {
                        "error_code": {"DataType": "String", "StringValue": "Unavailable"}
                    },
                }
                for place, body in enumerate(bodies[start : start + 10])
            ],
        )
    page = open_page("/dead-letters")
    group_of(page, "Unavailable")
    press(page, "Retry all")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Retry dead letters Unavailable")
    submit(page, "Retry")
    expect(page.get_by_role("progressbar")).to_be_visible()
    page.reload()
    assert f"{LETTERS:,} dead letters sent back" in finished(page)
    page.reload()
    assert f"{LETTERS:,} dead letters sent back" in finished(page)
    assert letters_with(site, "Unavailable") == 0

    repository = DynamoDBUserRepository(site.client("dynamodb"), "users")

    def all_are_applied() -> bool:
        found = repository.load(LoadRequest(users=set(users))).users
        return len(found) == LETTERS - LETTERS // 100

    eventually(all_are_applied, "not every command was applied", 60)
    eventually(
        lambda: letters_with(site, "InvalidField", "CreateUser") == LETTERS // 100,
        "no letter came back",
        30,
    )


def test_a_letter_is_deleted_after_a_confirmation(site: Site, open_page: Open) -> None:
    """And its page says that it is gone."""
    letter = site.put_letter("delete me", "ToDelete")
    page = open_page("/dead-letters")
    group_of(page, "ToDelete")
    press(page, letter[:8])
    press(page, "Delete")
    press(page, "Cancel")
    assert letters_with(site, "ToDelete") == 1
    page.goto(f"{site.root}/dead-letters/{letter}")
    press(page, "Delete")
    submit(page, "Delete")
    assert "1 dead letter deleted" in finished(page)
    assert letters_with(site, "ToDelete") == 0


def test_a_corrected_letter_is_applied_and_keeps_its_original_in_the_history(
    site: Site, open_page: Open
) -> None:
    """An invalid correction is shown again; one that fails returns with the first body."""
    user = user_of_samples(site)
    body = command("BanUser", user, reason="x", until="yesterday")
    letter = site.put_letter(body, "ToCorrect")
    page = open_page(f"/dead-letters/{letter}")
    press(page, "Correct and send")
    reach(page, "Command (CloudEvent in JSON)", "textbox")
    field = page.get_by_role("textbox")
    text = field.input_value()
    assert '"until": "[string of 9 characters]"' in text
    field.fill("{")
    submit(page, "Send the corrected command")
    expect(page.get_by_role("alert")).to_contain_text("not valid JSON")
    # a user that does not exist: the worker accepts the message, and rejects the command
    corrected = json.loads(text)
    corrected["data"] = {"reason": "fraud", "until": "2099-01-01T00:00:00Z"}
    corrected["subject"] = str(uuid4())
    corrected["type"] = "biome.user.NoSuchCommand.v1"
    page.get_by_role("textbox").fill(json.dumps(corrected))
    submit(page, "Send the corrected command")
    expect(page.get_by_role("alert")).to_contain_text("invalid")
    corrected["type"] = "biome.user.BanUser.v1"
    corrected["subject"] = user
    page.get_by_role("textbox").fill(json.dumps(corrected))
    submit(page, "Send the corrected command")
    assert "the corrected command was sent" in finished(page)
    assert letters_with(site, "ToCorrect") == 0
    page.goto(f"{site.root}/commands/{corrected['id']}?user={user}")
    expect(page.locator("[data-done]")).to_contain_text("accepted")
    expect(page.locator("main")).to_contain_text("/tests/browser for ")


def test_a_correction_that_fails_shows_the_body_before_it(site: Site, open_page: Open) -> None:
    """The worker passes the first body on to the new letter."""
    user = user_of_samples(site)
    used = command("UnbanUser", user)
    site.client("sqs").send_message(QueueUrl=site.queue("user-commands"), MessageBody=used)
    letter = site.put_letter(command("BanUser", user, until=7), "ToCorrectTwice")
    page = open_page(f"/commands/{json.loads(used)['id']}?user={user}")
    finished(page)
    corrected = json.loads(command("BanUser", user, reason="fraud"))
    corrected["id"] = json.loads(used)["id"]
    page.goto(f"{site.root}/dead-letters/{letter}/edit")
    page.get_by_role("textbox").fill(json.dumps(corrected))
    submit(page, "Send the corrected command")
    assert "the corrected command was sent" in finished(page)
    group_of(page, "CommandIdReused")
    page.locator("tbody th a").first.click()
    before = page.get_by_role("heading", name="Body before it was corrected")
    expect(before).to_be_visible()
    expect(page.locator("main")).to_contain_text('"until": "[number of 1 characters]"')


def test_all_letters_are_counted(site: Site, open_page: Open) -> None:
    """More than a page of them."""
    sqs = site.client("sqs")
    url = site.queue("user-commands-dlq")
    for start in range(0, 120, 10):
        sqs.send_message_batch(
            QueueUrl=url,
            Entries=[
                {
                    "Id": str(n),
                    "MessageBody": f"letter {start + n}",
                    "MessageAttributes": {
                        "error_code": {"DataType": "String", "StringValue": "Counted"}
                    },
                }
                for n in range(10)
            ],
        )
    page = open_page("/dead-letters")
    partial = re.compile(r"100 letters of about 1\d\d were read")

    def is_partial() -> bool:
        page.reload()
        return partial.search(page.inner_text("main")) is not None

    eventually(is_partial, "the page does not state that it is partial")
    submit(page, "Count all letters")
    assert re.search(r"1\d\d dead letters in", finished(page))
    press(page, "Dead letters")
    expect(page.get_by_role("row", name=re.compile("Counted"))).to_contain_text("120")
    page.get_by_role("row", name=re.compile("Counted")).get_by_role("link", name="Delete").click()
    submit(page, "Delete")
    assert "120 dead letters deleted" in finished(page)


def test_a_user_is_found_exported_and_erased(site: Site, open_page: Open) -> None:
    """The address is in no URL; nothing happens without the typed id."""
    page = open_page("/send/RegisterUser")
    address = f"{uuid4().hex}@example.com"
    page.get_by_label("email (required)").fill(address)
    page.get_by_label("first_name (required)").fill("Ada")
    page.get_by_label(re.compile("^password_hash")).fill(
        "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$"
        "aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"
    )
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    submit(page, "Send")
    assert "accepted" in finished(page)
    press(page, "Users")
    reach(page, "User id or e-mail address", "textbox")
    page.keyboard.type(address)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/users/[0-9a-f-]{36}$"))
    user = page.url.rpartition("/")[2]
    expect(page.locator("main")).to_contain_text(address)
    expect(page.locator("main")).to_contain_text("/user-worker/console for ")
    press(page, "Export")
    reach(page, "first 8 characters", "textbox")
    page.keyboard.type(user[:8])
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    exported = json.loads(download.value.path().read_text())
    assert exported["user"]["email"] == address
    assert "argon2" not in json.dumps(exported)
    page.goto(f"{site.root}/users/{user}")
    press(page, "Erase")
    page.get_by_role("textbox").fill("wrong")
    submit(page, "Erase")
    expect(page.get_by_role("alert")).to_contain_text("first 8")
    page.goto(f"{site.root}/users/{user}/confirm?action=erase")
    page.get_by_role("textbox").fill(user[:8])
    submit(page, "Erase")
    assert "accepted" in finished(page)
    page.goto(f"{site.root}/users/{user}")
    expect(page.locator("main")).not_to_contain_text(address)
    assert not any(address in url or address.replace("@", "%40") in url for url in urls)


def test_parked_entries_are_published(site: Site, open_page: Open) -> None:
    """The page shows why an entry was parked; afterwards it is empty."""
    client = site.client("dynamodb")
    repository = DynamoDBUserRepository(client, "users")
    outbox = DynamoDBOutbox(client, "users")
    report = repository.commit([registered(uuid4().hex)], datetime.now(UTC))
    outbox.park(report.entries[0], "refused by the topic")
    page = open_page("/outbox")
    press(page, "Parked")
    expect(page.get_by_role("region", name="Entries")).to_contain_text("refused by the topic")
    reach(page, "I want to publish the parked entries too", "checkbox")
    page.keyboard.press("Space")
    submit(page, "Publish now")
    assert "1 entries tried: 1 done" in finished(page) or "1 entry" in finished(page)
    page.goto(f"{site.root}/outbox?parked=1")
    expect(page.get_by_role("region", name="Entries")).to_contain_text("no entries")


def test_events_arrive_and_are_filtered_and_paused(site: Site, open_page: Open) -> None:
    """Without a reload of the page."""
    page = open_page("/live")
    user = user_of_samples(site)
    sqs, url = site.client("sqs"), site.queue("user-commands")
    rows = page.locator("#events tr:visible")
    sqs.send_message(QueueUrl=url, MessageBody=command("UnbanUser", user))
    expect(page.locator("#events")).to_contain_text(user[:8])
    reach(page, "Contains", "searchbox")
    page.keyboard.type("no such text")
    expect(rows).to_have_count(0)
    page.get_by_role("searchbox").fill("")
    press(page, "Pause", "button")
    newest = page.locator("#events tr").first
    before = newest.inner_text()
    sqs.send_message(QueueUrl=url, MessageBody=command("UnbanUser", user))
    page.wait_for_timeout(1_500)
    assert newest.inner_text() == before
    press(page, "Continue", "button")
    expect(newest).not_to_have_text(before)


def test_the_focus_stays_while_a_part_of_the_page_is_renewed(site: Site, open_page: Open) -> None:
    """Otherwise the Tab key would begin again, each second."""
    page = open_page("/live")
    page.locator("[data-refresh] tbody a").first.focus()
    for _ in range(2):
        with page.expect_response(f"{site.root}/live/newest"):
            pass
        page.wait_for_timeout(200)
        assert page.evaluate("document.activeElement.closest('[data-refresh]') !== null")


def test_hostile_letters_and_events_are_shown_harmlessly(site: Site, open_page: Open) -> None:
    """No script runs, nothing is loaded, and no text changes direction (see `open_page`)."""
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>\u202e'\"&"
    letter = site.put_letter(hostile, "Hostile", error_detail=hostile)
    sns = site.client("sns")
    (topic,) = [
        each["TopicArn"]
        for each in sns.list_topics()["Topics"]
        if each["TopicArn"].endswith(":user-events")
    ]
    event = {
        "specversion": "1.0",
        "id": str(uuid4()),
        "type": hostile,
        "source": hostile,
        "subject": hostile,
        "causationid": hostile,
        "data": {hostile: hostile, "__proto__": hostile},
    }
    page = open_page("/live")
    sns.publish(TopicArn=topic, Message=json.dumps(event))
    expect(page.locator("#events")).to_contain_text("onerror")
    assert "\u202e" not in page.content()
    for path in ("/", "/dead-letters", f"/dead-letters/{letter}", f"/dead-letters/{letter}/edit"):
        page.goto(site.root + path)
        assert page.locator("main img, main script").count() == 0
        assert "\u202e" not in page.content()
