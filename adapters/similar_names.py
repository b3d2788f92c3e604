"""Find resources whose names differ little from those of resources that are about to be created.

A mistyped name in development creates a new, empty resource: everything seems to work, and the data
seem to be lost.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

MOST_EDITS: Final = 2
"""Maximum of different characters."""
SHARE: Final = 3
"""At most one of so many characters may differ."""
SHORTEST: Final = 4
"""Minimum length of a name that counts as the beginning of another one."""
PAGES: Final = 10
"""Maximum pages of names that are read: of 1,000 queues, or of 100 tables or topics."""
_SEPARATORS: Final = "-_."


@dataclass(frozen=True, slots=True)
class SimilarName:
    """A resource that does not exist, and an existing one with almost the same name."""

    kind: str
    """`table`, `queue` or `topic`."""
    missing: str
    existing: str


def similar_tables(client: DynamoDBClient, name: str) -> list[SimilarName]:
    """Return the tables with a similar name and with keys of users, if `name` does not exist."""
    pages = client.get_paginator("list_tables").paginate()
    found = _found("table", [name], pages, lambda page: page.get("TableNames", ()))
    return [each for each in found if _has_our_keys(client, each.existing)]


def similar_queues(client: SQSClient, names: Collection[str]) -> list[SimilarName]:
    """Return the queues with names like those of `names` that do not exist."""
    pages = client.get_paginator("list_queues").paginate(PaginationConfig={"PageSize": 1_000})
    urls: Callable[[Any], Iterable[str]] = lambda page: page.get("QueueUrls", ())  # noqa: E731
    return _found("queue", names, pages, lambda page: [u.rpartition("/")[2] for u in urls(page)])


def similar_topics(client: SNSClient, names: Collection[str]) -> list[SimilarName]:
    """Return the topics with names like those of `names` that do not exist."""
    pages = client.get_paginator("list_topics").paginate()
    return _found(
        "topic",
        names,
        pages,
        lambda page: [each["TopicArn"].rpartition(":")[2] for each in page.get("Topics", ())],
    )


def _found(
    kind: str,
    names: Collection[str],
    pages: Iterable[Any],
    names_of: Callable[[Any], Iterable[str]],
) -> list[SimilarName]:
    """Return nothing if the names cannot be read, or not all of them: this is only a hint."""
    existing: set[str] = set()
    try:
        for number, page in enumerate(islice(pages, PAGES + 1)):
            if number == PAGES:
                return []
            existing.update(names_of(page))
    except (ClientError, BotoCoreError):
        return []
    return [
        SimilarName(kind, name, other)
        for name in sorted(set(names) - existing)
        for other in _closest(name, existing - set(names))
    ]


def _closest(name: str, others: Iterable[str]) -> Iterator[str]:
    """Yield the most similar of the names that are similar, if there is one."""
    similar = [other for other in others if is_similar(name, other)]
    yield from sorted(similar, key=lambda other: (_edits(name, other), other))[:1]


def is_similar(name: str, other: str) -> bool:
    """Return True if a name was probably meant to be the other one.

    Names that differ by digits only are numbered on purpose, and a separator begins another word.
    """
    if re.sub(r"\d", "", name) == re.sub(r"\d", "", other):
        return False
    rest = other[len(name) :] if other.startswith(name) else ""
    if len(name) >= SHORTEST and rest and rest[0] not in _SEPARATORS:
        return True
    edits = _edits(name, other)
    return edits <= MOST_EDITS and edits * SHARE <= len(name)


def _edits(name: str, other: str) -> int:
    """Return how many characters differ; two that are swapped count as one."""
    codes = difflib.SequenceMatcher(None, name, other, autojunk=False).get_opcodes()
    edits = sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in codes if tag != "equal")
    return edits // 2 if sorted(name) == sorted(other) else edits


def _has_our_keys(client: DynamoDBClient, name: str) -> bool:
    try:
        keys = client.describe_table(TableName=name)["Table"].get("KeySchema", [])
    except (ClientError, BotoCoreError):
        return False
    return sorted(key["AttributeName"] for key in keys) == ["pk", "sk"]
