"""The part of SNS that the worker uses, in this process: topics that keep all events."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

ANSWERED = {"ResponseMetadata": {"RequestId": "in-process", "HTTPStatusCode": 200}}


class InProcessSns:
    """Two topics, with everything published there in order, including duplicates."""

    def __init__(self) -> None:
        """Start with nothing published."""
        self.published: list[dict[str, Any]] = []
        """On the ordinary topic."""
        self.personal: list[dict[str, Any]] = []

    def publish_batch(
        self,
        *,
        TopicArn: str,  # noqa: N803
        PublishBatchRequestEntries: Sequence[Any],  # noqa: N803
    ) -> dict[str, Any]:
        """Publish every entry."""
        topic = self.personal if "-personal" in TopicArn else self.published
        topic += [json.loads(entry["Message"]) for entry in PublishBatchRequestEntries]
        taken = [{"Id": entry["Id"]} for entry in PublishBatchRequestEntries]
        return {"Successful": taken, "Failed": [], **ANSWERED}
