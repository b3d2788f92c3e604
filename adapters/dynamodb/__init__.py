"""Users and outbox in one DynamoDB table."""

from adapters.dynamodb.calls import Retries
from adapters.dynamodb.errors import MalformedItemError
from adapters.dynamodb.outbox import DynamoDBOutbox
from adapters.dynamodb.repository import DynamoDBUserRepository

__all__ = [
    "DynamoDBOutbox",
    "DynamoDBUserRepository",
    "MalformedItemError",
    "Retries",
]
