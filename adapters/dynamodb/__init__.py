"""Users and outbox in one DynamoDB table."""

from adapters.dynamodb.calls import Retries
from adapters.dynamodb.outbox import DynamoDBOutbox
from adapters.dynamodb.repository import DynamoDBUserRepository
from adapters.errors import MalformedItemError

__all__ = [
    "DynamoDBOutbox",
    "DynamoDBUserRepository",
    "MalformedItemError",
    "Retries",
]
