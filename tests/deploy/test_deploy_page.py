"""docs/how-to/deploy.md agrees with the templates."""

from __future__ import annotations

import re
from itertools import zip_longest

import pytest

from tests.deploy.stacks import DEPLOY
from tests.deploy.templates import NAMES, of_type, template
from tests.e2e.account import ROOT

PAGE = (ROOT / "docs" / "how-to" / "deploy.md").read_text()


def section(heading: str) -> str:
    """Return the text under a heading, up to the next heading of its level."""
    found = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    assert found, heading
    return found[1]


def code(text: str) -> list[str]:
    """Return the code spans of a text."""
    return re.findall(r"`([^`]+)`", text)


PARAMETERS = {name: template(name)["Parameters"] for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_template_describes_its_parameters(name: str) -> None:
    """The page refers to these descriptions, and lists only parameters that need a decision."""
    described = {key for key, each in PARAMETERS[name].items() if each.get("Description")}
    assert described == PARAMETERS[name].keys()


def test_the_parameters_of_the_page_exist_with_these_defaults() -> None:
    """No parameter and no default is outdated."""
    listed = re.findall(r"^- (`[^(:]+?`)(?: \(([^)]*)\))?: ", section("Parameters"), re.MULTILINE)
    assert len(listed) > 10
    for names, defaults in listed:
        for name, default in zip_longest(code(names), code(defaults), fillvalue=""):
            found = [each[name] for each in PARAMETERS.values() if name in each]
            assert found, name
            assert default in {"", *(str(each.get("Default")) for each in found)}, name


def test_the_page_has_every_file() -> None:
    """A list names everything in the folder that is deployed."""
    first = PAGE.partition("\n## ")[0]
    named = set(re.findall(r"`(deploy/(?:[a-z]+\.yaml|kubernetes))`", first))
    files = {f"deploy/{path.name}" for path in DEPLOY.glob("*.yaml")}
    assert named == files | {"deploy/kubernetes"}


def test_the_runbook_lists_the_alarms_in_the_order_of_the_template() -> None:
    """The page links to the list, in which each alarm leads to its heading."""
    assert "(runbook.md#first)" in section("Alarms")
    runbook = (ROOT / "docs" / "how-to" / "runbook.md").read_text()
    listed = re.findall(r"^- \[(`\w+`.*)\]\(#([\w-]+)\)$", runbook, re.MULTILINE)
    alarms = of_type("alarms", "AWS::CloudWatch::Alarm")
    anchors = {name: anchor for names, anchor in listed for name in code(names)}
    assert list(anchors) == [*alarms]
    for name, anchor in anchors.items():
        described = alarms[name]["Properties"]["AlarmDescription"]["Fn::Sub"].strip()
        assert anchor == described.rpartition("#")[2], name


def test_what_it_costs_is_added_up_right() -> None:
    """Each figure is the result of its formula."""
    sums = re.findall(r"([\d.]+ x [\d.x()+ ]+) = ([\d.]+\d)", section("What it costs idle"))
    for formula, figure in sums:
        assert f"{eval(formula.replace('x', '*')):.2f}" == figure, formula  # digits only
    assert len(sums) >= 8
