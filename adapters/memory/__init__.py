"""The ports in memory: for tests, and for a worker without AWS.

Conditions, conflicts and reports are the same as DynamoDB's, under one lock. Arguments and results
are copied. Items do not expire.
"""

from adapters.memory.outbox import MemoryOutbox
from adapters.memory.publisher import MemoryEventPublisher
from adapters.memory.repository import MemoryUserRepository
from adapters.memory.store import MemoryStore

__all__ = ["MemoryEventPublisher", "MemoryOutbox", "MemoryStore", "MemoryUserRepository"]
