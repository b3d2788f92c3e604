"""`user-worker provision`: the resources of development."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from rich.text import Text

from adapters.provision import provision
from cli import composition, output
from worker.bootstrap import resources
from worker.errors import CliError, ExitCode


def provision_resources(*, as_json: bool) -> int:
    """Make what is missing, and tell what was made and what was found; give the exit code."""
    made = make_resources(composition.aws())
    if as_json:
        sys.stdout.write(output.json_line(made) + "\n")
        return ExitCode.OK
    styles = {"made": "green", "found": "dim"}
    rows = {name: Text(word, style=styles[word]) for name, word in made.items()}
    output.stdout().print(output.pairs(rows))
    return ExitCode.OK


def make_resources(aws: composition.Aws) -> dict[str, str]:
    """Make what is missing; say of each resource whether it was made or found.

    Raises:
        UsageError: the environment is production.
        ResourceMismatchError: something is there, and otherwise than it should be.
    """
    composition.require_development(aws.settings, "provision")
    settings = aws.settings
    lookups: dict[str, Callable[[], object]] = {
        f"table {settings.table}": aws.require_table,
        f"topic {settings.events_topic}": lambda: aws.topic_arn,
    }
    for name in (*settings.queues, settings.dead_letter_queue):
        lookups[f"queue {name}"] = partial(aws.queue_url, name)
    before = {name: _is_there(look) for name, look in lookups.items()}
    provision(resources(settings), aws.dynamodb, aws.sqs, aws.sns)
    return {name: "found" if there else "made" for name, there in before.items()}


def _is_there(look: Callable[[], object]) -> bool:
    try:
        look()
    except CliError:
        return False
    return True
