"""A table in this process, and a reader of it with a cache and clocks by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from adapters.dynamodb import mapper
from biome_users import LoginReader, ReadCache
from tests.builders import NOW, uid
from tests.persistence import new_user, session
from tests.reliability.in_process_dynamodb import InProcessDynamoDB

ADA, PHONE = uid("ada"), uid("session phone")


class World:
    """A table in this process with Ada and her phone's session, a cache, and clocks by hand."""

    def __init__(self, size: int = 100, seconds: float = 10.0) -> None:
        self.table = InProcessDynamoDB()
        self.reads = 0
        self.seconds = 0.0
        self.cache = ReadCache(size, seconds, clock=lambda: self.seconds)
        self.reader = LoginReader(client=self, cache=self.cache, clock=lambda: NOW)
        phone = session("phone")
        live = {phone.session_id: phone.expires_at}
        self.user = replace(new_user("ada"), live_sessions=live)
        self.put(mapper.render_user(self.user))
        self.put(mapper.render_session(ADA, phone))

    def batch_get_item(self, **request: Any) -> Any:
        """Count the calls."""
        self.reads += 1
        return self.table.batch_get_item(**request)

    def put(self, item: Any) -> None:
        """Store an item as it is."""
        self.table.items[item["pk"]["S"], item["sk"]["S"]] = item

    def change(self, **fields: Any) -> None:
        """Store another version of Ada."""
        self.user = replace(self.user, version=self.user.version + 1, **fields)
        self.put(mapper.render_user(self.user))

    def item(self, sort: str) -> Any:
        """Return one of Ada's items, which a test can damage."""
        return self.table.items[f"USER#{ADA}", sort]
