"""Check that each user's address is reserved, and that no reservation lacks its user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from adapters.dynamodb import mapper, table
from adapters.dynamodb.change import ABSENT, SAME_OWNER
from adapters.dynamodb.reads import Key
from adapters.errors import MalformedItemError
from application.ports import StoreUnavailableError
from application.repository import HELD
from domain.user import User
from domain.values import EmailAddress
from operations.migration.counts import Counts
from operations.migration.kinds import Kind
from operations.migration.metered import MeteredTable, unchanged

if TYPE_CHECKING:
    from adapters.dynamodb.table import Item

MAX_LOOKS: Final = 10
_Pair: TypeAlias = tuple[str, str]
"""User id and address key."""


@dataclass(frozen=True, slots=True)
class _Look:
    """A user and an address, read one after the other."""

    user_item: Item | None
    user: User | None
    owner: str | None
    """Id of the user who holds the address."""

    def user_has(self, address: str) -> bool:
        email = None if self.user is None else self.user.email
        return isinstance(email, EmailAddress) and email.key == address


class AddressAudit:
    """Compares users and address items, and repairs differences that have only one solution.

    Every write has a condition check that the user's item is unchanged since it was read: a user
    gets or gives up an address only in a transaction that changes that item.
    """

    def __init__(
        self, metered: MeteredTable, user_kind: Kind, address_kind: Kind, *, dry_run: bool
    ) -> None:
        """Audit a table; in a dry run, only count."""
        self._table = metered
        self._user_kind = user_kind
        self._address_kind = address_kind
        self._dry_run = dry_run

    def check(self, users: Sequence[User], owners: Mapping[str, str], counts: Counts) -> None:
        """Check scanned users, and address items, given as owners by address key.

        Raises:
            StoreUnavailableError: some were not checked.
        """
        held = {(user.user_id, user.email.key) for user in users if user.email is not None}
        # an address that is held for an erased user is released by the scrub job of that user
        claims = {(owner, address) for address, owner in owners.items() if owner != HELD}
        # a pair that matched when scanned was consistent then, and workers keep it so
        unsure = self._unmatched(held - claims, claims - held)
        found = self._table.get(
            key for user, address in unsure for key in (_user(user), _address(address))
        )
        for user_id, address in unsure:
            try:
                self._settle(user_id, address, found, counts)
            except MalformedItemError:
                continue  # the scan reports the item when it reaches it

    def _unmatched(self, held: set[_Pair], claims: set[_Pair]) -> list[_Pair]:
        """Return the pairs whose other side does not match.

        The other side is read with eventual consistency, which halves the price, and may be old.
        Whichever side was read in the later state, a match means that both agreed at that time,
        since a user and an address change in one transaction. Nearly all pairs match, so these
        reads are the main cost of an audit.
        """
        others = self._table.get(
            [_address(address) for _, address in held] + [_user(user) for user, _ in claims],
            consistent=False,
        )
        unowned = {pair for pair in held if self._owner(others.get(_address(pair[1]))) != pair[0]}
        unheld = {pair for pair in claims if self._holds(others.get(_user(pair[0]))) != pair[1]}
        return sorted(unowned | unheld)

    def _owner(self, item: Item | None) -> object:
        """Return the owner of an address; `None` if its item is missing or unreadable."""
        try:
            return None if item is None else self._address_kind.upcast(item)[1]
        except MalformedItemError:
            return None

    def _holds(self, item: Item | None) -> str | None:
        """Return the key of a user's address; `None` if the item is missing or unreadable."""
        try:
            user = None if item is None else self._user_kind.upcast(item)[1]
        except MalformedItemError:
            return None
        return user.email.key if isinstance(user, User) and user.email is not None else None

    def _settle(
        self, user_id: str, address: str, found: Mapping[Key, Item], counts: Counts
    ) -> None:
        """Read a user and an address, and repair them, until they agree."""
        look = self._read(user_id, address, found)
        for _ in range(MAX_LOOKS):
            if look.user_has(address) == (look.owner == user_id):
                return
            if not look.user_has(address):
                done = self._release(look, user_id, address, counts)
            elif look.owner is None:
                done = self._reserve(look, user_id, counts)
            else:
                done = self._free_of(look.owner, address, counts)
            if done:
                return
            before, look = look, self._look(user_id, address)
            if look == before and look.owner not in {None, user_id}:
                self._report_taken(user_id, counts)
                return
        raise StoreUnavailableError("an address and its user keep changing")

    def _look(self, user_id: str, address: str) -> _Look:
        return self._read(user_id, address, self._table.get([_user(user_id), _address(address)]))

    def _read(self, user_id: str, address: str, found: Mapping[Key, Item]) -> _Look:
        """Create a look from the items found.

        Raises:
            MalformedItemError: an item cannot be read.
        """
        user_item, address_item = found.get(_user(user_id)), found.get(_address(address))
        user = None if user_item is None else self._user_kind.upcast(user_item)[1]
        owner = None if address_item is None else self._address_kind.upcast(address_item)[1]
        assert user is None or isinstance(user, User)
        assert owner is None or isinstance(owner, str)
        return _Look(user_item, user, owner)

    # --- repairs ---------------------------------------------------------------------------

    def _reserve(self, look: _Look, user_id: str, counts: Counts) -> bool:
        """Reserve the address for the user; return False if an item has changed meanwhile."""
        assert look.user is not None
        assert look.user.email is not None
        item = mapper.render_address(look.user.email, user_id)
        put = {"Put": {"Item": item, "ConditionExpression": ABSENT}}
        if not self._dry_run and not self._table.transact(_still(user_id, look), put):
            return False
        counts.reserved += 1
        return True

    def _release(self, look: _Look, user_id: str, address: str, counts: Counts) -> bool:
        """Delete the address item of a user who does not have it; return like `_reserve`."""
        delete = {
            "Delete": {
                "Key": table.address_key(address),
                "ConditionExpression": SAME_OWNER,
                "ExpressionAttributeValues": {":u": {"S": user_id}},
            }
        }
        if not self._dry_run and not self._table.transact(_still(user_id, look), delete):
            return False
        counts.released += 1
        return True

    def _free_of(self, owner: str, address: str, counts: Counts) -> bool:
        """Delete the item of an owner who lacks the address, so that it can be reserved next.

        Return True if nothing more is to be done. In a dry run, the address item itself is counted
        when the scan reaches it.
        """
        look = self._look(owner, address)
        if look.owner != owner or look.user_has(address):
            return False
        if self._dry_run:
            counts.reserved += 1
        else:
            self._release(look, owner, address, counts)
        return self._dry_run

    def _report_taken(self, user_id: str, counts: Counts) -> None:
        counts.taken += 1
        rule = "is also the address of another user"
        counts.add_finding(_user(user_id), self._user_kind.item_format.kind, "email", rule)


def _still(user_id: str, look: _Look) -> dict[str, Any]:
    """Return a check that the user's item is unchanged since it was read, or still missing."""
    condition: dict[str, Any] = {"ConditionExpression": ABSENT}
    if look.user_item is not None:
        condition = unchanged(look.user_item)
    return {"ConditionCheck": {"Key": table.key(*_user(user_id)), **condition}}


def _user(user_id: str) -> Key:
    return Key(table.USER_PREFIX + user_id, table.USER)


def _address(address: str) -> Key:
    return Key(table.EMAIL_PREFIX + address, table.EMAIL)
