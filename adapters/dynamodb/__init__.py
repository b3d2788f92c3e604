"""Users and outbox in one DynamoDB table."""

from adapters.dynamodb.calls import Backoff
from adapters.dynamodb.errors import MalformedItemError
from adapters.dynamodb.outbox import DynamoDBOutbox
from adapters.dynamodb.repository import DynamoDBUserRepository

__all__ = [
    "Backoff",
    "DynamoDBOutbox",
    "DynamoDBUserRepository",
    "MalformedItemError",
]
