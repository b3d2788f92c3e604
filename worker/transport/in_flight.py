"""Receipts that are held, and the call that each is due for: a state machine without threads."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import structlog

from application.backoff import Backoff
from application.disposition import Ack, DeadLetter, Disposition, Retry
from application.queue_port import MAX_BATCH, CallFailed, Failures, RawMessage
from application.retry import delay
from worker.transport.refusal import Refusal

logger = structlog.get_logger(__name__)

MAX_RENEWED_TIMEOUTS = 10
"""Visibility timeouts after which a message is no longer renewed: its task must be stuck."""
MAX_HELD_SECONDS = 43_200
"""SQS allows a message to be invisible for at most twelve hours in total."""
MAX_TRIES = {"quarantine": 3, "dead_letter": 3, "retry_later": 5, "delete": 20}
"""Attempts for a message that fails while SQS carries out the call for others."""
RETRIES = Backoff(0.2, 5.0)
"""Pauses between these attempts."""
LINGER = 0.02
"""Seconds that a disposition waits for others, unless ten are waiting or the queue is FIFO."""
GONE = frozenset(
    {
        "ReceiptHandleIsInvalid",
        "InvalidParameterValue",  # "the receipt handle has expired"
        "InvalidParameterValueException",  # the same, as LocalStack says it
        "MessageNotInflight",
        "AWS.SimpleQueueService.MessageNotInflight",
    }
)
"""Codes of a message that is no longer ours: it was deleted, or is visible again."""
UNSENDABLE = frozenset(
    {
        "BatchRequestTooLong",
        "AWS.SimpleQueueService.BatchRequestTooLong",
        "InvalidMessageContents",
        "InvalidParameterValue",
        "InvalidParameterValueException",
    }
)
"""Codes of a message that a queue refuses, even if it accepts others."""

Kind: TypeAlias = Literal["renew", "delete", "retry_later", "quarantine", "dead_letter"]
KINDS: tuple[Kind, ...] = ("renew", "delete", "retry_later", "quarantine", "dead_letter")
SENDS: frozenset[Kind] = frozenset({"quarantine", "dead_letter"})
"""Calls that send a message; a message must not be sent twice without need."""
_REFUSED = {"quarantine": "quarantine_refused", "dead_letter": "dead_letter_refused"}


@dataclass(slots=True, eq=False)
class Held:
    """One received message that is not finished. Times are from `time.monotonic`."""

    message: RawMessage
    since: float
    renew_at: float
    visible_at: float
    """When its visibility timeout ends, unless it is renewed."""
    disposition: Disposition | None = None
    act_at: float = 0.0
    tries: int = 0
    probes: int = 0
    """Number of times it was chosen to probe a refused call."""
    busy: bool = False
    """Whether it is in a call at this moment."""
    quarantined: bool = False
    """Whether the unchanged message is in the quarantine queue."""

    @property
    def kind(self) -> Kind:
        """The call that the message waits for."""
        match self.disposition:
            case Ack():
                return "delete"
            case Retry():
                return "retry_later"
            case DeadLetter(body=None):
                return "dead_letter"
            case DeadLetter():
                return "dead_letter" if self.quarantined else "quarantine"
            case None:
                return "renew"


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the queue for up to ten messages."""

    kind: Kind
    held: Sequence[Held]


@dataclass(slots=True)
class InFlight:
    """The messages of one queue between receive and acknowledgement; `now` is monotonic seconds."""

    visibility_timeout: int
    fifo: bool = False
    finishing: bool = False
    """Set at the end: nothing waits for others, and few attempts are made."""
    lost: set[str] = field(default_factory=set)
    """Receipts that expired before their message had a disposition; removed once it gets one."""
    queue: str = ""
    """The queue's name, for the log."""
    progress_at: float = float("-inf")
    """When a message was last finished, or when the first one was held after there was none."""
    _held: dict[str, Held] = field(default_factory=dict)
    _decided: dict[str, Held] = field(default_factory=dict)
    _next_renewal: float = float("inf")
    _refusals: dict[Kind, Refusal] = field(init=False)
    _samples: dict[Kind, Held] = field(default_factory=dict)
    """The message with which renewals or deletes failed last, to probe with if no message waits."""

    def __post_init__(self) -> None:
        """Create the record of each kind of call; both changes of visibility are one operation."""
        visibility = Refusal(self.queue, "ChangeMessageVisibilityBatch")
        self._refusals = {
            "renew": visibility,
            "delete": Refusal(self.queue, "DeleteMessageBatch"),
            "retry_later": visibility,
            "quarantine": Refusal(self.queue, "SendMessageBatch to the quarantine queue"),
            "dead_letter": Refusal(self.queue, "SendMessageBatch to the dead-letter queue"),
        }

    def __len__(self) -> int:
        return len(self._held)

    @property
    def unfinished(self) -> bool:
        """Whether a message waits for, or is in, a call that finishes it."""
        return bool(self._decided)

    @property
    def readiness_issue(self) -> str | None:
        """Which calls fail as a whole, and the codes; `None` if none does. Any thread."""
        texts = [refusal.readiness_issue for refusal in self._refusals.values()]
        return "; ".join(dict.fromkeys(text for text in texts if text)) or None

    def hold(self, messages: Iterable[RawMessage], now: float, visibility_timeout: int) -> None:
        """Hold messages just received: renew them until they are finished.

        They are invisible for `visibility_timeout` seconds, as the receive requested.
        """
        if not self._held:
            self.progress_at = now
        renew_at, visible_at = now + visibility_timeout / 2, now + visibility_timeout
        for message in messages:
            self._held[message.receipt] = Held(message, now, renew_at, visible_at)
        self._next_renewal = min(self._next_renewal, renew_at)

    def apply(self, dispositions: Iterable[tuple[str, Disposition]], now: float) -> None:
        """Record the dispositions of messages; ignore those no longer held."""
        for receipt, disposition in dispositions:
            held = self._held.get(receipt)
            self.lost.discard(receipt)
            if held is None or held.disposition is not None:
                continue
            held.disposition = disposition
            held.act_at = now if self.fifo or self.finishing else now + LINGER
            self._decided[receipt] = held

    def release(self, receipts: Collection[str], now: float) -> None:
        """Make messages visible at once; on a FIFO queue only whole groups.

        A message that is released before an earlier one of its group, which a task still has, could
        overtake it; such a message stays held until its visibility timeout ends.
        """
        kept = {
            held.message.group_id
            for receipt, held in self._held.items()
            if self.fifo and held.disposition is None and receipt not in receipts
        }
        free = [
            receipt
            for receipt in receipts
            if receipt in self._held and self._held[receipt].message.group_id not in kept
        ]
        self.lost.difference_update(receipts)
        self.apply([(receipt, Retry(0)) for receipt in free], now - LINGER)

    def begin_finishing(self, now: float) -> None:
        """Release all messages without a disposition, and retry once what was refused."""
        self.finishing = True
        self.release(self._held.keys(), now)
        for refusal in self._refusals.values():
            refusal.hurry()

    def due(self, now: float, limit: int) -> list[Call]:
        """Return at most `limit` calls to make now; their messages are busy until `finish`."""
        self._drop_lapsed(now)
        calls: list[Call] = []
        for kind in KINDS:
            for part in self._due_parts(kind, now):
                if len(calls) == limit:
                    return calls
                calls.append(self._begin(kind, part))
        for kind in self._unprobed(now):
            sample = self._samples.get(kind)
            if sample is None or sample.busy:
                self._refusals[kind].look_again(now)
            elif len(calls) < limit:
                calls.append(self._begin(kind, [sample]))
        return calls

    def _begin(self, kind: Kind, part: list[Held]) -> Call:
        refusal = self._refusals[kind]
        refusal.probing = refusal.refused
        for held in part:
            held.busy = True
        return Call(kind, part)

    def _due_parts(self, kind: Kind, now: float) -> list[list[Held]]:
        refusal = self._refusals[kind]
        if now < refusal.not_before:
            return []
        waiting = self._due_renewals(now) if kind == "renew" else self._due_dispositions(kind, now)
        return self._probe(kind, waiting) if refusal.refused else self._parts(kind, waiting)

    def _probe(self, kind: Kind, waiting: Sequence[Held]) -> list[list[Held]]:
        """Choose the one small call that checks whether SQS still refuses this kind of call.

        It uses another message each time, since one message may be the cause itself.
        """
        if not waiting:
            return []
        first = min(waiting, key=lambda held: held.probes)
        first.probes += 1
        group = first.message.group_id
        if kind == "retry_later" and self.fifo and group is not None:
            return self._parts(kind, [h for h in waiting if h.message.group_id == group])[:1]
        return [[first]]

    def _unprobed(self, now: float) -> list[Kind]:
        """Return the kinds of call that are due for a probe and have no message waiting.

        The last message that failed is tried again then: a late renewal or delete of it does no
        harm, and a worker without messages must also notice the end of a refusal. A message must
        not be sent twice: if none waits to be sent, the refusal ends.
        """
        unprobed: list[Kind] = []
        for kind in KINDS:
            if kind == "retry_later":  # the same refusal as that of renewals
                continue
            refusal = self._refusals[kind]
            if not refusal.refused or now < refusal.not_before:
                continue
            if kind not in SENDS:
                unprobed.append(kind)
            elif any(held.kind == kind for held in self._decided.values()):
                refusal.look_again(now)
            elif not self.finishing:
                refusal.succeeded(now)
        return unprobed

    def _drop_lapsed(self, now: float) -> None:
        """Forget messages that became visible while SQS refused to renew or to finish them.

        Except an acknowledged message: deleting it late is correct.
        """
        if not any(refusal.failing for refusal in self._refusals.values()):
            return
        for held in list(self._decided.values()):
            if not held.busy and held.visible_at <= now and held.kind != "delete":
                self._drop(held)

    def next_due(self) -> float:
        """Return when `due` may next return something: never too late, sometimes too early."""
        earliest = {kind: refusal.not_before for kind, refusal in self._refusals.items()}
        dispositions = (
            max(held.act_at, earliest[held.kind])
            for held in self._decided.values()
            if not held.busy
        )
        probes = (r.not_before for r in self._refusals.values() if r.refused)
        return min(max(self._next_renewal, earliest["renew"]), *dispositions, *probes, float("inf"))

    def finish(self, call: Call, failures: Failures, now: float) -> None:
        """Record the result of a call. Messages that fail together are retried together."""
        for held in call.held:
            held.busy = False
        codes = [failures.get(held.message.receipt) for held in call.held]
        if self._failed_as_a_whole(call, codes, now, answered=not isinstance(failures, CallFailed)):
            return
        jitter = random.uniform(0.5, 1)  # noqa: S311
        for held, code in zip(call.held, codes, strict=True):
            if code is None:
                self._succeeded(call.kind, held, now)
            elif code in GONE and call.kind not in SENDS:
                self._gone(held)
            else:
                self._failed(call.kind, held, code, now, jitter)

    def _failed_as_a_whole(
        self, call: Call, codes: Sequence[str | None], now: float, *, answered: bool
    ) -> bool:
        """Return True if a call failed as a whole, and then keep its messages as they are.

        A message whose entry fails alone may be the cause itself. Its call fails as a whole only if
        the call of another message has failed before it.
        """
        refusal = self._refusals[call.kind]
        refusal.probing = False
        own = UNSENDABLE if call.kind in SENDS else GONE
        if any(code is None or code in own for code in codes):
            refusal.succeeded(now)
            return False
        if answered and len(codes) == 1 and refusal.suspects(call.held[0].message.receipt):
            return False
        refusal.failed(codes[0] or "", now)
        self._samples["renew" if call.kind == "retry_later" else call.kind] = call.held[0]
        self._next_renewal = now  # messages that wait for a refused call are renewed from now on
        if self.finishing and refusal.refused:
            self._abandon(refusal)
        return True

    def _abandon(self, refusal: Refusal) -> None:
        """Give up refused calls at shutdown; the messages become visible by their timeout."""
        waiting = [
            held
            for held in self._decided.values()
            if not held.busy and self._refusals[held.kind] is refusal
        ]
        for held in waiting:
            self._drop(held)
        if waiting:
            logger.warning(
                "settling_abandoned", queue=self.queue, call=refusal.call, messages=len(waiting)
            )

    def _parts(self, kind: Kind, waiting: Sequence[Held]) -> list[list[Held]]:
        """Split into calls of at most ten; if possible, a FIFO group is delayed by one call.

        With two concurrent calls, the later messages of the group might become visible first.
        """
        whole_groups = self.fifo and kind == "retry_later"
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

    def _due_dispositions(self, kind: Kind, now: float) -> list[Held]:
        waiting = [
            held
            for held in self._decided.values()
            if not held.busy and held.kind == kind and held.act_at <= now + LINGER
        ]
        if len(waiting) < MAX_BATCH and not any(held.act_at <= now for held in waiting):
            return []
        return waiting

    def _due_renewals(self, now: float) -> list[Held]:
        if now < self._next_renewal:
            return []
        candidates = [held for held in self._held.values() if self._renewable(held, now)]
        # A message that is due but busy, or finds no free sender thread, is checked again shortly.
        again = now + min(0.5, self.visibility_timeout / 10)
        self._next_renewal = min(
            (max(held.renew_at, again) for held in candidates), default=float("inf")
        )
        free = [held for held in candidates if not held.busy]
        if not any(held.renew_at <= now for held in free):
            return []
        soon = now + self.visibility_timeout / 10  # so that they share the call
        return [held for held in free if held.renew_at <= soon]

    def _renewable(self, held: Held, now: float) -> bool:
        longest = MAX_HELD_SECONDS
        if held.disposition is None:
            longest = min(longest, (MAX_RENEWED_TIMEOUTS + 1) * self.visibility_timeout)
        if now + self.visibility_timeout > held.since + longest:
            return False
        kind = held.kind
        waits = held.act_at > now + LINGER or self._refusals[kind].failing
        return kind == "renew" or (kind != "retry_later" and waits)

    def _succeeded(self, kind: Kind, held: Held, now: float) -> None:
        match kind:
            case "renew":
                held.visible_at = now + self.visibility_timeout
                held.renew_at = now + self.visibility_timeout / 2
                self._next_renewal = min(self._next_renewal, held.renew_at)
            case "quarantine":
                held.quarantined, held.act_at, held.tries = True, now, 0
            case "dead_letter":
                held.disposition, held.act_at, held.tries = Ack(), now, 0
                self.progress_at = now
            case "delete" | "retry_later":
                self._drop(held)
                self.progress_at = now

    def _gone(self, held: Held) -> None:
        """Forget a message that is no longer ours."""
        if self._held.get(held.message.receipt) is held and held.disposition is None:
            self.lost.add(held.message.receipt)
            logger.info("message_lapsed", message_id=held.message.message_id)
        self._drop(held)

    def _failed(self, kind: Kind, held: Held, code: str, now: float, jitter: float) -> None:
        if kind == "renew":
            held.renew_at = now + self.visibility_timeout / 10
            self._next_renewal = min(self._next_renewal, held.renew_at)
            return
        held.tries += 1
        held.act_at = now + RETRIES.ceiling(held.tries) * jitter
        if held.tries < (2 if self.finishing else MAX_TRIES[kind]):
            return
        message = held.message
        if kind in SENDS:
            logger.error(_REFUSED[kind], message_id=message.message_id, reason=code)
            held.disposition = Retry(delay(message.receives, random.uniform))
            held.act_at, held.tries = now, 0
        else:  # its visibility timeout will end
            logger.warning("settlement_refused", message_id=message.message_id, reason=code)
            self._drop(held)

    def _drop(self, held: Held) -> None:
        self._held.pop(held.message.receipt, None)
        self._decided.pop(held.message.receipt, None)
