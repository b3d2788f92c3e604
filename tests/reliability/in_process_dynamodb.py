"""The part of DynamoDB that the worker uses, in this process: a call takes microseconds.

It has the methods of a boto3 client, and models what matters to a crash: conditions, atomic
transactions, client request tokens, and batch reads that are consistent for each item but not
across items. The contract suite of the stores checks it against the behaviour of AWS. Anything that
the worker does not use is missing, and a call of it ends the test.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from botocore.exceptions import ClientError

Item: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, str]
MAX_ACTIONS = 100
ANSWERED = {"ResponseMetadata": {"RequestId": "in-process", "HTTPStatusCode": 200}}
CONDITION_FAILED = "ConditionalCheckFailed"


class NotModelledError(BaseException):
    """The worker uses a feature that this fake does not model yet."""


class InProcessDynamoDB:
    """One table, with any name."""

    def __init__(self) -> None:
        """Start with an empty table."""
        self.items: dict[Key, Item] = {}
        self.between_reads: Callable[[], object] = lambda: None
        """Called between two items of a batch read, which sees only part of concurrent writes."""
        self.in_order: Callable[[list[Key]], object] = lambda keys: None
        """Reorders the sorted keys of a batch read into the order in which they are read."""
        self._done: dict[str, object] = {}

    def state(self) -> tuple[object, ...]:
        """Return what is stored, to be compared; items are replaced and never changed."""
        return dict(self.items), dict(self._done)

    # --- the client's methods --------------------------------------------------------------

    def batch_get_item(self, *, RequestItems: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N803
        """Read items one after another, in the order of `in_order`.

        DynamoDB guarantees no order.
        """
        ((table, request),) = RequestItems.items()
        found = []
        keys = sorted(_key(key) for key in request["Keys"])
        self.in_order(keys)
        for number, key in enumerate(keys):
            if number:
                self.between_reads()
            if (item := self.items.get(key)) is not None:
                found.append(item)
        return {"Responses": {table: found}, "UnprocessedKeys": {}, **ANSWERED}

    def transact_write_items(
        self,
        *,
        TransactItems: list[dict[str, Any]],  # noqa: N803
        ClientRequestToken: str | None = None,  # noqa: N803
    ) -> dict[str, Any]:
        """Apply all actions if all conditions hold, and none otherwise."""
        if ClientRequestToken is not None and ClientRequestToken in self._done:
            if self._done[ClientRequestToken] != TransactItems:
                raise _error("TransactWriteItems", "IdempotentParameterMismatchException")
            return dict(ANSWERED)
        actions = [next(iter(action.items())) for action in TransactItems]
        keys = [_key(body.get("Item") or body["Key"]) for _, body in actions]
        if len(keys) > MAX_ACTIONS or len(set(keys)) < len(keys):
            raise _error("TransactWriteItems", "ValidationException")
        holds = [self._holds(key, body) for key, (_, body) in zip(keys, actions, strict=True)]
        if not all(holds):
            raise cancelled(["None" if hold else CONDITION_FAILED for hold in holds])
        for key, (name, body) in zip(keys, actions, strict=True):
            if name == "Put":
                self.items[key] = body["Item"]
            elif name == "Delete":
                self.items.pop(key, None)
            else:
                raise NotModelledError(name)
        if ClientRequestToken is not None:
            self._done[ClientRequestToken] = TransactItems
        return dict(ANSWERED)

    def put_item(
        self,
        *,
        TableName: str,  # noqa: N803
        Item: Item,  # noqa: N803
        **condition: Any,
    ) -> dict[str, Any]:
        """Replace one item, if the condition holds."""
        if not self._holds(_key(Item), condition):
            raise _error("PutItem", "ConditionalCheckFailedException")
        self.items[_key(Item)] = Item
        return dict(ANSWERED)

    def delete_item(
        self,
        *,
        TableName: str,  # noqa: N803
        Key: Item,  # noqa: N803
        **condition: Any,
    ) -> dict[str, Any]:
        """Delete one item, if it exists and the condition holds."""
        if not self._holds(_key(Key), condition):
            raise _error("DeleteItem", "ConditionalCheckFailedException")
        self.items.pop(_key(Key), None)
        return dict(ANSWERED)

    def batch_write_item(self, *, RequestItems: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N803
        """Delete several items."""
        ((_, requests),) = RequestItems.items()
        for request in requests:
            self.items.pop(_key(request["DeleteRequest"]["Key"]), None)
        return {"UnprocessedItems": {}, **ANSWERED}

    def update_item(
        self,
        *,
        TableName: str,  # noqa: N803
        Key: Item,  # noqa: N803
        UpdateExpression: str,  # noqa: N803
        ExpressionAttributeNames: dict[str, str],  # noqa: N803
        ExpressionAttributeValues: Item,  # noqa: N803
        ConditionExpression: str | None = None,  # noqa: N803
    ) -> dict[str, Any]:
        """Set and remove attributes of one item."""
        key, values = _key(Key), ExpressionAttributeValues
        condition = ConditionExpression or None
        for alias, name in ExpressionAttributeNames.items():
            condition = condition and condition.replace(alias, name)
        if not _condition_holds(condition, self.items.get(key), values):
            raise _error("UpdateItem", "ConditionalCheckFailedException")
        changed = dict(self.items.get(key, Key))
        sets, _, removes = UpdateExpression.removeprefix("SET ").partition(" REMOVE ")
        for part in sets.split(", "):
            name, value = part.split(" = ")
            changed[ExpressionAttributeNames[name]] = values[value]
        for name in filter(None, removes.split(", ")):
            changed.pop(ExpressionAttributeNames[name], None)
        self.items[key] = changed
        return dict(ANSWERED)

    def query(
        self,
        *,
        TableName: str,  # noqa: N803
        KeyConditionExpression: str,  # noqa: N803
        ExpressionAttributeValues: Item,  # noqa: N803
        Limit: int = 1_000_000,  # noqa: N803
        ExclusiveStartKey: Item | None = None,  # noqa: N803
        ScanIndexForward: bool = True,  # noqa: N803
        **_: Any,
    ) -> dict[str, Any]:
        """Read a page of items in the order of their keys, or backwards."""
        after = None if ExclusiveStartKey is None else _key(ExclusiveStartKey)
        follows = operator.gt if ScanIndexForward else operator.lt
        conditions = [
            (attribute, test, ExpressionAttributeValues[value]["S"])
            for attribute, test, value in _key_conditions(KeyConditionExpression)
        ]
        found = sorted(
            (
                key
                for key, item in self.items.items()
                if (after is None or follows(key, after))
                and all(
                    attribute in item and test(item[attribute]["S"], value)
                    for attribute, test, value in conditions
                )
            ),
            reverse=not ScanIndexForward,
        )
        page = [self.items[key] for key in found[:Limit]]
        if len(page) == Limit:
            return {"Items": page, "LastEvaluatedKey": _bare(page[-1]), **ANSWERED}
        return {"Items": page, **ANSWERED}

    # --- conditions ------------------------------------------------------------------------

    def _holds(self, key: Key, action: Mapping[str, Any]) -> bool:
        condition = action.get("ConditionExpression")
        values = action.get("ExpressionAttributeValues", {})
        return _condition_holds(condition, self.items.get(key), values)


def _condition_holds(condition: str | None, item: Item | None, values: Item) -> bool:
    if condition is None:
        return True
    first, both, second = condition.partition(" AND ")
    if both:
        return _condition_holds(first, item, values) and _condition_holds(second, item, values)
    if match := re.fullmatch(r"attribute_(not_)?exists\((\w+)\)", condition):
        return ((item or {}).get(match[2]) is None) == bool(match[1])
    if match := re.fullmatch(r"(\w+) = (:\w+)", condition):
        return bool((item or {}).get(match[1]) == values[match[2]])
    raise NotModelledError(condition)


KEY_CONDITIONS: Mapping[str, Callable[[str, str], bool]] = {
    r"(\w+) = (:\w+)": operator.eq,
    r"(\w+) < (:\w+)": operator.lt,
    r"(\w+) <= (:\w+)": operator.le,
    r"(\w+) >= (:\w+)": operator.ge,
    r"begins_with\((\w+), (:\w+)\)": str.startswith,
}


@functools.cache
def _key_conditions(expression: str) -> list[tuple[str, Callable[[str, str], bool], str]]:
    """Return each condition's attribute, test, and the name of its value; all are strings."""
    plain = re.sub(r"(\w+) BETWEEN (:\w+) AND", r"\1 >= \2 AND \1 <=", expression)
    return [_key_condition(each) for each in plain.split(" AND ")]


def _key_condition(condition: str) -> tuple[str, Callable[[str, str], bool], str]:
    for pattern, test in KEY_CONDITIONS.items():
        if match := re.fullmatch(pattern, condition):
            return match[1], test, match[2]
    raise NotModelledError(condition)


def cancelled(codes: list[str]) -> ClientError:
    """Create the error of a cancelled transaction, with a reason for each action."""
    error = _error("TransactWriteItems", "TransactionCanceledException")
    error.response["CancellationReasons"] = [{"Code": code} for code in codes]
    return error


def _error(operation: str, code: str) -> ClientError:
    metadata = {"RequestId": "in-process", "HTTPStatusCode": 400}
    answer: Any = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": metadata}
    return ClientError(answer, operation)


def _key(item: Item) -> Key:
    return item["pk"]["S"], item["sk"]["S"]


def _bare(item: Item) -> Item:
    return {"pk": item["pk"], "sk": item["sk"]}
