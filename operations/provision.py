"""Create the resources for development."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from adapters.provision import provision
from adapters.similar_names import SimilarName
from operations.progress import NO_PROGRESS, Progress
from worker.bootstrap import resources, similar_text
from worker.connections import Aws
from worker.errors import CliError, UsageError
from worker.settings import PREFIX, Settings


def require_development(settings: Settings, action: str) -> None:
    """Raise UsageError if the environment is production."""
    if settings.env == "prod":
        raise UsageError(
            f"{action} is for development, but {PREFIX}ENV is prod",
            "create the resources with a template (docs/how-to/deploy.md)",
        )


def provision_resources(aws: Aws, progress: Progress = NO_PROGRESS) -> dict[str, str]:
    """Create missing resources; return for each resource whether it was "made" or "found".

    A new resource whose name is almost that of an existing one is reported as a warning.

    Raises:
        UsageError: the environment is production.
        ResourceMismatchError: a resource exists and differs from its definition.
    """
    require_development(aws.settings, "provision")
    settings = aws.settings
    lookups: dict[str, Callable[[], object]] = {
        f"table {settings.table}": aws.require_table,
        f"topic {settings.events_topic}": lambda: aws.topic_arn,
        f"topic {settings.personal_topic}": lambda: aws.personal_topic_arn,
    }
    for name in (*settings.queues, settings.dead_letter_queue, settings.quarantine_queue):
        lookups[f"queue {name}"] = partial(aws.queue_url, name)
    before = {name: _exists(look) for name, look in lookups.items()}

    def warn(similar: SimilarName) -> None:
        progress.note("; ".join(similar_text(settings, similar)), warning=True)

    provision(resources(settings), aws.dynamodb, aws.sqs, aws.sns, warn)
    return {name: "found" if there else "made" for name, there in before.items()}


def _exists(look: Callable[[], object]) -> bool:
    try:
        look()
    except CliError:
        return False
    return True
