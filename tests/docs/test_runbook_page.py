"""docs/how-to/runbook.md has a section for each alarm, with what to do and when to stop."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.deploy.templates import of_type, template

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "runbook.md").read_text()
ALARMS = {
    name: re.findall(r"#([\w-]+)", json.dumps(each["Properties"]["AlarmDescription"]))
    for name, each in of_type("alarms", "AWS::CloudWatch::Alarm").items()
}
ANCHORS = {anchor for anchors in ALARMS.values() for anchor in anchors}
PARTS = {
    title.lower().replace(" ", "-"): text
    for title, text in re.findall(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
}


def test_every_alarm_leads_to_its_part() -> None:
    """The heading that its description names exists, and the list links the alarm to it."""
    assert len(ALARMS) > 5
    for name, anchors in ALARMS.items():
        [anchor] = anchors
        assert anchor in PARTS, anchor
        assert re.search(rf"^- \[.*`{name}`.*\]\(#{anchor}\)$", PAGE, re.MULTILINE), name


def test_the_list_names_no_alarm_that_there_is_not() -> None:
    """A removed or renamed alarm leaves no line behind."""
    lines = re.findall(r"^- \[(`\w+`.*)\]\(#.*\)$", PAGE, re.MULTILINE)
    listed = [name for line in lines for name in re.findall(r"`(\w+)`", line)]
    assert sorted(listed) == sorted(ALARMS)


@pytest.mark.parametrize("anchor", sorted(ANCHORS))
def test_an_alarms_part_says_what_it_means_how_to_look_what_to_do_and_when_to_stop(
    anchor: str,
) -> None:
    """They are in this order, for a person who has just been woken up."""
    told = re.findall(r"^\*\*(Means|Look|Do|Stop)\*\*", PARTS[anchor], re.MULTILINE)
    assert told == ["Means", "Look", "Do", "Stop"]


@pytest.mark.parametrize("anchor", sorted(PARTS.keys() - ANCHORS))
def test_a_procedure_says_when_to_stop(anchor: str) -> None:
    """A procedure without an end says what must not be done."""
    assert re.search(r"\*\*(Stop|Do not)", PARTS[anchor]), anchor


def test_every_procedure_that_was_promised_is_there() -> None:
    """An engineer on call looks for these names first."""
    promised = {
        "restore-the-table",
        "rotate-keys",
        "erase-a-person-and-prove-it",
        "drain-a-queue",
        "freeze-writes",
        "a-poisoned-message",
        "a-bad-deployment",
        "a-lost-region",
    }
    assert promised <= PARTS.keys() - ANCHORS


def test_the_log_is_asked_for_from_a_time_on_and_page_by_page() -> None:
    """Otherwise it returns the oldest lines of a month, and with `--limit` often none."""
    asked = re.findall(r"aws logs filter-log-events(?:\\\n|[^\n])*", PAGE)
    assert asked
    for command in asked:
        assert "--start-time" in command
        assert "--max-items" in command
        assert "--limit" not in command


def test_the_command_line_reports_the_priority_queue() -> None:
    """The stack always has one; without its name `status` and `dlq` would ignore it."""
    name = template("resources")["Parameters"]["PriorityQueueName"]["Default"]
    assert re.search(rf"^export .*\bUSER_WORKER_PRIORITY_QUEUE={name}$", PAGE, re.MULTILINE)
