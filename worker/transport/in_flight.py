"""Who holds which receipt, and which call each is due for: a state machine without threads.

A receipt is in at most one call at a time. That is what keeps a renewal from overwriting a
back-off, and it needs no lock, as one thread (the settler's) owns this object.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import structlog

from worker.retry import delay
from worker.settlement import Dead, Done, Later, Settlement
from worker.transport.port import MAX_BATCH, Failures, RawMessage

logger = structlog.get_logger(__name__)

MAX_RENEWED_TIMEOUTS = 10
"""Visibility timeouts after which a message is no longer renewed: its task must be stuck."""
MAX_HELD_SECONDS = 43_200
"""SQS lets a message be invisible for twelve hours in all."""
MAX_TRIES = {"bury": 3, "postpone": 5, "delete": 20}
LINGER = 0.02
"""Seconds a settlement waits for company, unless ten are waiting or the queue is FIFO."""
GONE = frozenset(
    {
        "ReceiptHandleIsInvalid",
        "InvalidParameterValue",  # "the receipt handle has expired"
        "InvalidParameterValueException",  # the same, as LocalStack says it
        "MessageNotInflight",
        "AWS.SimpleQueueService.MessageNotInflight",
    }
)
"""Codes that say that the message is no longer ours: deleted, or visible again."""

Kind: TypeAlias = Literal["renew", "delete", "postpone", "bury"]
KINDS: tuple[Kind, ...] = ("renew", "delete", "postpone", "bury")


@dataclass(slots=True, eq=False)
class Held:
    """One received message that is not settled yet. Times are of `time.monotonic`."""

    message: RawMessage
    renew_at: float
    renew_until: float
    order: Settlement | None = None
    act_at: float = 0.0
    tries: int = 0
    busy: bool = False
    """In a call at this moment."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the queue about up to ten messages."""

    kind: Kind
    held: Sequence[Held]


@dataclass(slots=True)
class InFlight:
    """The messages of one queue between receive and settlement; `now` is monotonic seconds."""

    visibility_timeout: int
    fifo: bool = False
    finishing: bool = False
    """Set at the end: nothing lingers and little is tried again."""
    lost: set[str] = field(default_factory=set)
    """Receipts that lapsed before their message was settled, until somebody tries to."""
    _held: dict[str, Held] = field(default_factory=dict)
    _ordered: dict[str, Held] = field(default_factory=dict)
    _next_renewal: float = float("inf")

    def __len__(self) -> int:
        return len(self._held)

    @property
    def settling(self) -> bool:
        """Whether a message waits for, or is in, a call that settles it."""
        return bool(self._ordered)

    def hold(self, messages: Iterable[RawMessage], now: float, visibility_timeout: int) -> None:
        """Take charge of messages just received: renew them until they are settled.

        They are invisible for `visibility_timeout` seconds, as the receive asked for.
        """
        renew_at = now + visibility_timeout / 2
        longest = min((MAX_RENEWED_TIMEOUTS + 1) * self.visibility_timeout, MAX_HELD_SECONDS)
        for message in messages:
            self._held[message.receipt] = Held(message, renew_at, now + longest)
        self._next_renewal = min(self._next_renewal, renew_at)

    def settle(self, orders: Iterable[tuple[str, Settlement]], now: float) -> None:
        """Note what shall become of messages; of those not held any more, nothing."""
        for receipt, order in orders:
            held = self._held.get(receipt)
            self.lost.discard(receipt)
            if held is None or held.order is not None:
                continue
            held.order = order
            held.act_at = now + self._linger
            self._ordered[receipt] = held

    def release(self, receipts: Collection[str], now: float) -> None:
        """Make messages visible at once; on a FIFO queue only whole groups.

        A message let go before an earlier one of its group, which a task still has, could
        overtake it; such a one stays until its visibility timeout ends.
        """
        kept = {
            held.message.group_id
            for receipt, held in self._held.items()
            if self.fifo and held.order is None and receipt not in receipts
        }
        free = [
            receipt
            for receipt in receipts
            if receipt in self._held and self._held[receipt].message.group_id not in kept
        ]
        self.lost.difference_update(receipts)
        self.settle([(receipt, Later(0)) for receipt in free], now - LINGER)

    def release_all(self, now: float) -> None:
        """Make visible whatever nobody has settled."""
        self.settle([(receipt, Later(0)) for receipt in self._held], now - LINGER)

    def due(self, now: float, limit: int) -> list[Call]:
        """Give at most `limit` calls to make now; their messages are busy until `finish`."""
        calls: list[Call] = []
        for kind in KINDS:
            waiting = self._due_renewals(now) if kind == "renew" else self._due_orders(kind, now)
            for part in self._parts(kind, waiting):
                if len(calls) == limit:
                    return calls
                calls.append(Call(kind, part))
                for held in calls[-1].held:
                    held.busy = True
        return calls

    def next_due(self) -> float:
        """Say when `due` may next have something: it may err on the early side only."""
        waiting = (held.act_at for held in self._ordered.values() if not held.busy)
        return min(self._next_renewal, *waiting, float("inf"))

    def finish(self, call: Call, failures: Failures, now: float) -> None:
        """Take in what became of a call. What failed together is tried again together."""
        jitter = random.uniform(0.5, 1)  # noqa: S311
        for held in call.held:
            held.busy = False
            code = failures.get(held.message.receipt)
            if code is None:
                self._succeeded(call.kind, held, now)
            elif code in GONE and call.kind != "bury":
                self._drop(held)
                if call.kind == "renew" and held.order is None:
                    self.lost.add(held.message.receipt)
                    logger.info("message_lapsed", message_id=held.message.message_id)
            else:
                self._failed(call.kind, held, code, now, jitter)

    @property
    def _linger(self) -> float:
        return 0.0 if self.fifo or self.finishing else LINGER

    def _parts(self, kind: Kind, waiting: Sequence[Held]) -> list[list[Held]]:
        """Cut into calls of ten at most; a FIFO group is put off by one call if it can be.

        Put off by two at the same time, the later ones might come back first.
        """
        whole_groups = self.fifo and kind == "postpone"
        units: dict[str, list[Held]] = {}
        for held in waiting:
            group = held.message.group_id if whole_groups else None
            units.setdefault(group or held.message.receipt, []).append(held)
        parts: list[list[Held]] = []
        for unit in units.values():
            if not parts or len(parts[-1]) + len(unit) > MAX_BATCH:
                parts.append([])
            for held in unit:
                if len(parts[-1]) == MAX_BATCH:
                    parts.append([])
                parts[-1].append(held)
        return parts

    def _due_orders(self, kind: Kind, now: float) -> list[Held]:
        waiting = [
            held
            for held in self._ordered.values()
            if not held.busy and _kind(held.order) == kind and held.act_at <= now + LINGER
        ]
        if len(waiting) < MAX_BATCH and not any(held.act_at <= now for held in waiting):
            return []
        return waiting

    def _due_renewals(self, now: float) -> list[Held]:
        if now < self._next_renewal:
            return []
        candidates = [held for held in self._held.values() if self._renewable(held, now)]
        # What is due but busy, or finds no free lane, is looked at again shortly.
        again = now + min(0.5, self.visibility_timeout / 10)
        self._next_renewal = min(
            (max(held.renew_at, again) for held in candidates), default=float("inf")
        )
        free = [held for held in candidates if not held.busy]
        if not any(held.renew_at <= now for held in free):
            return []
        soon = now + self.visibility_timeout / 10  # so that neighbours share the call
        return [held for held in free if held.renew_at <= soon]

    def _renewable(self, held: Held, now: float) -> bool:
        if now + self.visibility_timeout > held.renew_until:
            return False
        if held.order is None:
            return True
        return _kind(held.order) != "postpone" and held.act_at > now + LINGER

    def _succeeded(self, kind: Kind, held: Held, now: float) -> None:
        match kind:
            case "renew":
                held.renew_at = now + self.visibility_timeout / 2
                self._next_renewal = min(self._next_renewal, held.renew_at)
            case "bury":
                held.order, held.act_at, held.tries = Done(), now, 0
            case "delete" | "postpone":
                self._drop(held)

    def _failed(self, kind: Kind, held: Held, code: str, now: float, jitter: float) -> None:
        pause = min(0.2 * 2**held.tries, 5.0) * jitter
        if kind == "renew":
            held.renew_at = now + min(pause, self.visibility_timeout / 10)
            self._next_renewal = min(self._next_renewal, held.renew_at)
            return
        held.tries += 1
        held.act_at = now + pause
        if held.tries < (2 if self.finishing else MAX_TRIES[kind]):
            return
        message = held.message
        if kind == "bury":
            logger.error("dead_letter_refused", message_id=message.message_id, reason=code)
            held.order = Later(delay(message.receives, random.uniform))
            held.act_at, held.tries = now, 0
        else:  # it comes back by itself, when its visibility timeout ends
            logger.warning("settlement_refused", message_id=message.message_id, reason=code)
            self._drop(held)

    def _drop(self, held: Held) -> None:
        self._held.pop(held.message.receipt, None)
        self._ordered.pop(held.message.receipt, None)


def _kind(order: Settlement | None) -> Kind:
    match order:
        case Done():
            return "delete"
        case Later():
            return "postpone"
        case Dead():
            return "bury"
        case None:
            return "renew"
