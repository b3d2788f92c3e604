"""The dead letters that pages show: read a page at a time, and remembered for a while."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from console.shared_read import SharedRead
from operations.dead_letters.filter import LetterFilter
from operations.dead_letters.letter import Letter
from operations.dead_letters.listing import Group, Listing, group_letters, list_letters
from operations.progress import Progress
from worker.connections import Aws

PAGE: Final = 100
"""Letters read for a page. SQS has no search: each is received and released again."""
SHOWN_AGAIN: Final = 1.0
"""Seconds for which a listing is shown again. A second reader would miss letters in the first
one's hands."""
REMEMBERED: Final = 1_000
REMEMBERED_BYTES: Final = 64_000_000
"""Limits of the letters that are remembered, so that a page about one need not search for it."""
GROUPS: Final = 10_000
"""Maximum number of groups whose keys are remembered."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Groups of all letters of the queue."""

    groups: list[Group]
    letters: int
    complete: bool
    at: float
    """Seconds since the epoch."""


@dataclass(slots=True)
class LetterShelf:
    """The letters read lately. Any thread."""

    counted: Counted | None = None
    """The last count of all letters."""
    _listing: Listing | None = None
    _read_at: float = float("-inf")
    _letters: OrderedDict[str, Letter] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _groups: OrderedDict[str, tuple[str, str]] = field(default_factory=OrderedDict)
    """Reason and command by the key of a group."""
    _group_bytes: int = 0
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _reading: SharedRead[Listing] = field(default_factory=SharedRead[Listing])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def first(self, aws: Aws, newest: float = SHOWN_AGAIN) -> Listing:
        """Return the first letters of the queue, as read up to `newest` seconds ago.

        Raises the errors of AWS.
        """

        def known() -> Listing | None:
            return self._listing if time.monotonic() - self._read_at < newest else None

        def read() -> Listing:
            self._listing = list_letters(aws, LetterFilter(), PAGE, bodies=True, once=True)
            self._read_at = time.monotonic()
            for letter in self._listing.letters:
                self._remember(letter)
            return self._listing

        return self._reading.get(known, read)

    def of_user(self, user_id: str) -> list[Letter]:
        """Return the remembered letters of a user, without a read: some may be gone by now."""
        with self._lock:
            return [each for each in self._letters.values() if each.user_id == user_id]

    def find(self, aws: Aws, message_id: str) -> Letter | None:
        """Return a remembered letter, or one of the first of the queue; `None` if not found."""
        if message_id not in self._letters:
            self.first(aws, 0)
        return self._letters.get(message_id)

    def key_of(self, reason: str, command: str) -> str:
        """Return the key of a group in addresses and forms, and remember the group.

        Anyone may have written the reason of a letter, so it may be personal data. A digest
        without a secret would let a reader of addresses confirm a guess.
        """
        text = f"{len(reason)} {reason} {command}".encode(errors="surrogatepass")
        key = hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:32]
        with self._lock:
            if key not in self._groups:
                self._groups[key] = reason, command
                self._group_bytes += len(reason) + len(command)
            self._groups.move_to_end(key)
            while len(self._groups) > GROUPS or self._group_bytes > REMEMBERED_BYTES:
                _, names = self._groups.popitem(last=False)
                self._group_bytes -= sum(map(len, names))
        return key

    def group_of(self, key: str) -> tuple[str, str] | None:
        """Return reason and command of a group; `None` if no page has shown it lately."""
        with self._lock:
            return self._groups.get(key)

    def count(self, aws: Aws, progress: Progress) -> Counted:
        """Read all letters, and remember how many each group has."""
        listing = list_letters(aws, LetterFilter(), progress=progress)
        groups = group_letters(listing.letters)
        self.counted = Counted(groups, len(listing.letters), listing.complete, time.time())
        return self.counted

    def forget(self) -> None:
        """Read again: an action has changed the queue."""
        with self._lock:
            self._letters.clear()
            self._bytes = 0
            self._listing = self.counted = None

    def _remember(self, letter: Letter) -> None:
        with self._lock:
            if letter.message_id in self._letters:
                return
            self._letters[letter.message_id] = letter
            self._bytes += len(letter.stored.body)
            while len(self._letters) > REMEMBERED or self._bytes > REMEMBERED_BYTES:
                _, oldest = self._letters.popitem(last=False)
                self._bytes -= len(oldest.stored.body)
