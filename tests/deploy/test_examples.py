"""The examples need only what the roles' policies allow, and use their name prefixes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from domain.events import EVENTS
from domain.fields import fields_of
from tests.deploy.stacks import DEPLOY
from tests.deploy.templates import template
from tests.e2e.account import ROOT

FOLDER = ROOT / "examples"
PROGRAMS = [
    *(p for p in sorted(FOLDER.rglob("*.*")) if p.suffix in {".mjs", ".py", ".sh"}),
    *sorted((ROOT / "clients" / "typescript" / "src").glob("*.ts")),
]
CALL = re.compile(
    r"\b(?:sns|sqs)\.(?!send\()([a-z_]+)\(|new (\w+)Command\(|\bsqs ([a-z]+(?:-[a-z]+)+)"
)
"""In Python, in Node and in a shell."""
OF_AN_OWN_QUEUE = re.compile(
    r"""(?:QueueName[=:] ?|"--queue", default=|queue: \{.*default: )["`]([^"`$]+)"""
)
QUEUES = {"user-commands", "user-commands-priority"}


def action(call: tuple[str, str, str]) -> str:
    """Return the IAM action that a call needs, without its service."""
    name = re.sub("[-_]", " ", call[0] or call[2]).title().replace(" ", "") or call[1]
    return name.removesuffix("Batch")


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_an_example_calls_what_the_policies_allow(path: Path) -> None:
    """The example, or the client that it uses, works in production."""
    allowed = "".join(each.read_text() for each in (DEPLOY / "policies").glob("*.json"))
    allowed += (DEPLOY / "queues.yaml").read_text()
    called = {action(call) for call in CALL.findall(path.read_text())}
    assert {each for each in called if f':{each}"' not in allowed} == set()


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_an_example_names_its_queue_as_the_subscribers_policy_wants(path: Path) -> None:
    """The name has the default prefix."""
    prefix = template("access")["Parameters"]["SubscriberPrefix"]["Default"]
    for name in set(OF_AN_OWN_QUEUE.findall(path.read_text())) - QUEUES:
        assert name.startswith((prefix, "user-outcomes-")), name


@pytest.mark.parametrize("name", ["address_book.py", "node/subscribe.mjs"])
def test_an_example_excludes_the_types_of_the_personal_topic(name: str) -> None:
    """It receives these from the personal topic, complete, and would keep another copy."""
    text = (FOLDER / name).read_text()
    listed = re.search(r"(?:WITH_ADDRESSES|withAddresses) = .*?\n\]", text, re.DOTALL)
    assert listed is not None
    personal = {
        event.__name__
        for event in EVENTS.values()
        if any(field.personal for field in fields_of(event))
    }
    assert set(re.findall(r'"([A-Z]\w+)"', listed[0])) == personal


def test_calls_and_names_are_found_in_every_language() -> None:
    """This ensures that the other tests can fail."""
    found = {
        path.name: (
            {action(call) for call in CALL.findall(path.read_text())},
            set(OF_AN_OWN_QUEUE.findall(path.read_text())),
        )
        for path in PROGRAMS
    }
    assert {"CreateQueue", "Subscribe", "DeleteMessage"} <= found["subscribe.py"][0]
    assert {"CreateQueue", "Subscribe", "DeleteMessage"} <= found["subscribe.mjs"][0]
    assert found["send_aws_cli.sh"][0] == {"GetQueueUrl", "SendMessage"}
    for name in ("subscribe.py", "address_book.py", "subscribe.mjs"):
        assert found[name][1] - QUEUES, name
