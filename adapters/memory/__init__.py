"""Every port in memory: for tests, and for a worker that has nothing else.

The same conditions, conflicts and reports as DynamoDB's, under one lock. What goes in and
comes out is copied. Nothing expires.
"""

from adapters.memory.outbox import MemoryOutbox
from adapters.memory.publisher import MemoryEventPublisher
from adapters.memory.repository import MemoryUserRepository
from adapters.memory.store import MemoryStore

__all__ = ["MemoryEventPublisher", "MemoryOutbox", "MemoryStore", "MemoryUserRepository"]
