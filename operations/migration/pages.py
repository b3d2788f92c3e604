"""Migrate one page of items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from adapters.dynamodb import table
from adapters.dynamodb.reads import key_of
from adapters.errors import MalformedItemError
from application.ports import StoreUnavailableError
from domain.user import User
from operations.migration import kinds as k
from operations.migration.addresses import AddressAudit
from operations.migration.counts import Counts
from operations.migration.kinds import KINDS, Kind, kind_of
from operations.migration.metered import MeteredTable

if TYPE_CHECKING:
    from adapters.dynamodb.table import Item

MAX_TRIES: Final = 10
"""Maximum tries for one item: an old worker may keep changing it in its older format."""


class PageMigration:
    """Migrates items while other processes write them."""

    def __init__(
        self,
        metered: MeteredTable,
        kinds: Mapping[str, Kind] = KINDS,
        *,
        dry_run: bool = False,
        addresses: bool = True,
    ) -> None:
        """Migrate to the formats of `kinds`; in a dry run, only count.

        With `addresses`, the reservations of addresses are checked, too.
        """
        self._table = metered
        self._kinds = kinds
        self.not_needed = k.filter_of_settled(kinds)
        self._dry_run = dry_run
        self._audit = (
            AddressAudit(metered, kinds[k.USER], kinds[k.ADDRESS], dry_run=dry_run)
            if addresses
            else None
        )

    def migrate(self, items: Sequence[Item], settled: int = 0) -> Counts:
        """Migrate the items of one page; repeating it changes nothing more.

        `settled` is the number of items of the page that the filter excluded.

        Raises:
            StoreUnavailableError: some items were not migrated.
        """
        counts = Counts()
        if settled:
            counts.found[k.OUTCOME, self._kinds[k.OUTCOME].item_format.writes] += settled
        users: list[User] = []
        owners: dict[str, str] = {}
        for item in items:
            read = self._item(item, counts)
            if isinstance(read, User):
                users.append(read)
            elif kind_of(key_of(item)) == k.ADDRESS and isinstance(read, str):
                owners[key_of(item).partition.removeprefix(table.EMAIL_PREFIX)] = read
        if self._audit is not None:
            self._audit.check(users, owners, counts)
        return counts

    def _item(self, item: Item, counts: Counts) -> object:
        """Migrate one item; return its parsed value, or `None` if it cannot be read."""
        key = key_of(item)
        try:
            kind = self._kind(kind_of(key))
            number = kind.number_of(item)
            new, read = kind.upcast(item)
            if new is not item:
                self._replace(kind, item, new, counts)
        except MalformedItemError as error:
            counts.bad += 1
            counts.add_finding(key, error.kind, error.attribute, error.rule)
            return None
        counts.found[kind.item_format.kind, number] += 1
        return read

    def _kind(self, name: str | None) -> Kind:
        if name is None:
            raise MalformedItemError("unknown", "pk, sk", "are not a key that the worker writes")
        return self._kinds[name]

    def _replace(self, kind: Kind, item: Item, new: Item, counts: Counts) -> None:
        """Replace the item by the new one, or detect that another process has changed it."""
        key, name = key_of(item), kind.item_format.kind
        indexed = table.REFRESH_FAMILY_HASH in new and table.REFRESH_FAMILY_HASH not in item
        for _ in range(MAX_TRIES):
            done = self._dry_run or self._table.replace(name, item, new)
            stored = None if done else self._table.get([key]).get(key)
            if done or stored == new:  # the first Put succeeded; only its retry failed
                counts.changed += 1
                counts.indexed += indexed
                return
            if stored is None:
                counts.gone += 1
                return
            item, (new, _) = stored, kind.upcast(stored)
            if new is item:  # it is in the current format
                counts.conflicts += 1
                return
        raise StoreUnavailableError("an item of an older format keeps changing")
