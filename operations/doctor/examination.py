"""All checks of the installation, ordered so that each check enables the next."""

from __future__ import annotations

from collections.abc import Iterator

from operations.doctor import machine, permissions, reach, resources
from worker.connections import Aws
from worker.resources.finding import Finding, Level


def examine() -> Iterator[Finding]:
    """Yield a finding for each check, until a check fails that all others depend on."""
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
    for check in (resources.queues, resources.topics, resources.table):
        for finding in check(aws):
            complete = complete and finding.level is not Level.FAIL
            yield finding
    if complete:  # permissions on missing resources cannot be tested
        yield from permissions.permissions(aws)
    yield from resources.temporary_queues(aws)
