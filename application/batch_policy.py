"""Limits of a batch, its source of jitter, and the limits of the users' rules."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from application.backoff import Draw
from application.key_ring import KeyRing
from domain.policy import DEFAULT_POLICY, UserPolicy

REGISTRATION_RECEIVES: Final = 5
"""Number of receives for which an unknown user may still be registered, whatever the clocks say.

The delays between them add up to at least 15 s. After an outage every message is old, and a clock
that is ahead makes every message look old, so the age alone does not decide.
"""


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Limits of a batch and its source of jitter."""

    max_receives: int
    """On the last receive a command no longer waits: it gets its outcome."""
    outcome_lifetime: timedelta
    command_lifetime: timedelta
    """Maximum age of a command; shorter than the lifetime of outcomes by a margin."""
    registration_grace: timedelta
    """Time after a message's first receive during which its unknown user may still be
    registered."""
    registration_receives: int = REGISTRATION_RECEIVES
    """The receive from which the user of a command must exist, once the grace period is over."""
    user: UserPolicy = DEFAULT_POLICY
    hash_keys: KeyRing = field(kw_only=True)
    """Keys of the fingerprints of commands, and of the hashes of banned addresses."""
    draw: Draw = random.uniform
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    """Clock of the cool-down of throttled users, in seconds."""
