"""The part of SNS that the worker uses, in this process: a topic that keeps all events."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

ANSWERED = {"ResponseMetadata": {"RequestId": "in-process", "HTTPStatusCode": 200}}


class InProcessSns:
    """One topic, with everything published there in order, including duplicates."""

    def __init__(self) -> None:
        """Start with nothing published."""
        self.published: list[dict[str, Any]] = []

    def publish_batch(
        self,
        *,
        TopicArn: str,  # noqa: N803
        PublishBatchRequestEntries: Sequence[Any],  # noqa: N803
    ) -> dict[str, Any]:
        """Publish every entry."""
        self.published += [json.loads(entry["Message"]) for entry in PublishBatchRequestEntries]
        taken = [{"Id": entry["Id"]} for entry in PublishBatchRequestEntries]
        return {"Successful": taken, "Failed": [], **ANSWERED}
