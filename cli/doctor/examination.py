"""All checks, in the order in which one makes the next possible."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict

from rich.text import Text

from cli import output
from cli.composition import Aws
from operations.doctor import machine, permissions, reach, resources
from worker.errors import ExitCode
from worker.health.finding import Finding, Level

STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}
WIDTH = 24
"""Columns of the checks' names; those of resources may be longer."""


def examine() -> Iterator[Finding]:
    """Check after check, until one fails that the rest depends on."""
    yield from machine.program()
    settings = machine.read_settings()
    if isinstance(settings, Finding):
        yield settings
        return
    yield from machine.environment(settings)
    yield from machine.ports(settings)
    yield from machine.files()
    aws = Aws(settings)
    if not (yield from reach.configuration(aws)) or not (yield from reach.answers(aws)):
        return
    complete = True
    for check in (resources.queues, resources.topic, resources.table):
        for finding in check(aws):
            complete = complete and finding.level is not Level.FAIL
            yield finding
    if complete:  # what is not there cannot be tried
        yield from permissions.permissions(aws)
    yield from resources.leftovers(aws)


def show_examination(*, as_json: bool) -> int:
    """Print each finding as it comes; give the exit code."""
    levels: list[Level] = []
    console = output.stdout()
    for finding in examine():
        levels.append(finding.level)
        if as_json:
            sys.stdout.write(output.json_line(asdict(finding)) + "\n")
            sys.stdout.flush()
        else:
            console.print(_line(finding))
    if not as_json:
        counts = (f"{levels.count(level)} {level}" for level in Level)
        console.print(Text(", ".join(counts), style="dim"))
    return ExitCode.ENVIRONMENT if Level.FAIL in levels else ExitCode.OK


def _line(finding: Finding) -> Text:
    line = Text.assemble((f"{finding.level:<5}", STYLES[finding.level]))
    line.append(f"{finding.check:<{WIDTH}} ")
    line.append(output.printable(finding.says))
    if finding.advice:
        line.append(f"; {output.printable(finding.advice)}", style="bold")
    return line
