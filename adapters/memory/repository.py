"""The repository of users in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from operator import attrgetter

from adapters.memory.commit import commit
from adapters.memory.store import MemoryStore, copy_outcome
from application.ports import CommandKey
from application.repository import (
    READ_FIRST_BELOW,
    CommitReport,
    LoadRequest,
    Outcome,
    OutcomePage,
    Snapshot,
    UserChange,
    UserRepository,
)
from domain.user import User
from domain.values import EmailAddress


class MemoryUserRepository(UserRepository):
    """Users, addresses and outcomes in memory."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def get(self, user_id: str) -> User | None:
        """See the port."""
        return self.load(LoadRequest(users={user_id})).users.get(user_id)

    def get_many(self, user_ids: Sequence[str]) -> dict[str, User]:
        """See the port."""
        return self.load(LoadRequest(users=set(user_ids))).users

    def get_by_email(self, email: EmailAddress) -> User | None:
        """See the port."""
        with self._store.lock:
            owner = self._store.addresses.get(email.key)
            return None if owner is None else self.get(owner)

    def history(
        self, user_id: str, limit: int = 100, before: Outcome | None = None
    ) -> list[Outcome]:
        """See the port."""
        with self._store.lock:
            found = [o for key, o in self._store.outcomes.items() if key.user_id == user_id]
            found.sort(key=attrgetter("place"), reverse=True)
            meant = [o for o in found if before is None or o.place < before.place]
            return [copy_outcome(outcome) for outcome in meant[:limit]]

    def outcome_page(self, user_id: str, size: int, after: str | None = None) -> OutcomePage:
        """See the port."""

        def place(command_id: str) -> tuple[bool, str]:
            return command_id < READ_FIRST_BELOW, command_id

        with self._store.lock:
            found = [o for key, o in self._store.outcomes.items() if key.user_id == user_id]
            meant = [o for o in found if after is None or place(o.command_id) < place(after)]
            meant.sort(key=lambda outcome: place(outcome.command_id), reverse=True)
            page = [copy_outcome(outcome) for outcome in meant[:size]]
        return OutcomePage(page, page[-1].command_id if len(meant) > size else None)

    def outcome(self, key: CommandKey) -> Outcome | None:
        """See the port."""
        return self.load(LoadRequest(outcomes={key})).outcomes.get(key)

    def load(self, request: LoadRequest) -> Snapshot:
        """See the port. Also reads the users of the requested sessions and second factors."""
        snapshot = Snapshot()
        store = self._store
        owners = {user_id for user_id, _ in request.sessions}
        with store.lock:
            for user_id in request.users | owners | request.two_factors:
                if user_id in store.users:
                    snapshot.users[user_id] = replace(store.users[user_id], sessions={})
            for user_id, session_id in request.sessions:
                session = store.sessions.get((user_id, session_id))
                if session is not None and user_id in snapshot.users:
                    snapshot.users[user_id].sessions[session_id] = session
            for user_id in request.two_factors & snapshot.users.keys():
                snapshot.users[user_id].two_factor = store.two_factors.get(user_id)
            for address in request.addresses & store.addresses.keys():
                snapshot.addresses[address] = store.addresses[address]
            for hashed in request.banned & store.banned.keys():
                snapshot.banned[hashed] = store.banned[hashed]
            for key in request.outcomes & store.outcomes.keys():
                snapshot.outcomes[key] = copy_outcome(store.outcomes[key])
        return snapshot

    def commit(self, changes: Sequence[UserChange], now: datetime) -> CommitReport:
        """See the port."""
        return commit(self._store, changes, now)
