"""docs/how-to/deploy.md agrees with the templates."""

from __future__ import annotations

import json
import re
from itertools import zip_longest

import pytest

from scripts.access_template import ROLES
from tests.deploy.stacks import DEPLOY
from tests.deploy.templates import of_type, template
from tests.e2e.account import ROOT

PAGE = (ROOT / "docs" / "how-to" / "deploy.md").read_text()


def section(heading: str) -> str:
    """Return the text under a heading, up to the next heading of its level."""
    found = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    assert found, heading
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Return the cells of tables, without their header rows."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = {index - 1 for index, row in enumerate(cells) if set(row[0]) == {"-"}}
    return [row for index, row in enumerate(cells) if index not in heads and set(row[0]) != {"-"}]


def code(cell: str) -> list[str]:
    """Return the code spans of a cell."""
    return re.findall(r"`([^`]+)`", cell)


def parameters(name: str) -> dict[str, str]:
    """Return a template's parameters with their defaults, as the page lists them."""
    text = section("Parameters").partition(f"Of `deploy/{name}.yaml`:")[2].partition("\nOf ")[0]
    return {
        parameter: default
        for names, defaults in re.findall(
            r"^- (`[^(:]+?`)(?: \(([^)]*)\))?(?:: .*)?$", text, re.MULTILINE
        )
        for parameter, default in zip_longest(code(names), code(defaults), fillvalue="")
    }


@pytest.mark.parametrize("name", ["resources", "service"])
def test_the_page_has_every_parameter_and_its_default(name: str) -> None:
    """No parameter is missing or outdated, and every default is current."""
    told = parameters(name)
    real = template(name)["Parameters"]
    assert told.keys() == real.keys()
    for parameter, default in told.items():
        if default:
            assert default == str(real[parameter]["Default"]), parameter


@pytest.mark.parametrize("name", ["alarms", "access", "console"])
def test_the_page_names_the_parameters_of_the_others(name: str) -> None:
    """Numbers are listed with their defaults."""
    for parameter, each in template(name)["Parameters"].items():
        assert f"`{parameter}`" in PAGE, parameter
        if each["Type"] == "Number":
            assert f"`{parameter}` ({each['Default']})" in PAGE


def test_the_page_has_every_file_and_every_role() -> None:
    """A table lists everything in the folder."""
    first = PAGE.partition("\n## ")[0]
    named = {name for row in rows(first) for name in code(row[0])}
    files = {f"deploy/{path.name}" for path in DEPLOY.glob("*.yaml")}
    assert named == files | {"deploy/kubernetes"}
    assert [row[0] for row in rows(section("Who may do what"))] == [*ROLES]


def test_operations_names_the_actions_of_the_workers_policy() -> None:
    """The page also names the one for a worker that knows its topic by name only."""
    page = (ROOT / "docs" / "how-to" / "operations.md").read_text()
    told = set(
        re.findall(r"`((?:dynamodb|kms|sns|sqs):\w+)`", page.partition("## In production")[2])
    )
    policy = json.loads((DEPLOY / "policies" / "worker.json").read_text())
    allowed = {
        action
        for statement in policy["Statement"]
        for listed in [statement["Action"]]
        for action in ([listed] if isinstance(listed, str) else listed)
    }
    assert told - {"sns:Subscribe"} == allowed | {"sns:ListTopics"}


def test_the_runbook_lists_the_alarms_in_the_order_of_the_template() -> None:
    """The page links to the list, in which each alarm leads to its heading."""
    assert "(runbook.md#first)" in section("Alarms")
    runbook = (ROOT / "docs" / "how-to" / "runbook.md").read_text()
    listed = re.findall(r"^\| (`\w+`.*) \| \[[^]]+\]\(#([\w-]+)\) \|$", runbook, re.MULTILINE)
    alarms = of_type("alarms", "AWS::CloudWatch::Alarm")
    anchors = {name: anchor for names, anchor in listed for name in code(names)}
    assert list(anchors) == [*alarms]
    for name, anchor in anchors.items():
        described = alarms[name]["Properties"]["AlarmDescription"]["Fn::Sub"].strip()
        assert anchor == described.rpartition("#")[2], name


def test_what_it_costs_is_added_up_right() -> None:
    """Each figure is the result of its formula."""
    checked = 0
    for _, formula, figure in rows(section("What it costs idle")):
        sums = re.search(r"(?:^|, )([\d.]+ x [\d.x()+ ]+)(?:$|,)", formula)
        if sums:
            assert f"{eval(sums[1].replace('x', '*')):.2f}" == figure, formula  # digits only
            checked += 1
    assert checked >= 4
