"""Constants that the clients share with the worker, which they must not import, are equal."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.aws import batching
from adapters.dynamodb import table
from adapters.sns import subscription
from adapters.sqs import command_queue
from application import queue_port
from application.messages import commands, events
from biome_users import (
    _aws,
    _items,
    _subscription,
    _table,
    inbox,
    reader,
    second_factor,
    sender,
    tokens,
)
from biome_users import events as client_events
from domain import policy, sessions
from worker.settings import Settings

TYPESCRIPT = Path(__file__).parents[3] / "clients" / "typescript" / "src"
WORKER: dict[str, tuple[object, object]] = {
    "ids of users": (sender.USER_NAMESPACE, commands.USER_NAMESPACE),
    "times in the future": (sender.MAX_TIME_AHEAD, policy.MAX_TIME_AHEAD),
    "bytes of a call": (_aws.MAX_CALL_BYTES, batching.MAX_CALL_BYTES),
    "entries of a call": (_aws.MAX_BATCH, queue_port.MAX_BATCH),
    "suffix of FIFO": (_aws.FIFO, queue_port.FIFO_SUFFIX),
    "source of events": (client_events.SOURCE, events.SOURCE),
    "table": (reader.DEFAULT_TABLE, Settings().table),
    "leeway": (reader.REFRESH_LEEWAY, timedelta(seconds=Settings().refresh_leeway)),
    "index": (_table.REFRESH_TOKEN_INDEX, table.REFRESH_TOKEN_INDEX),
    "digits of a stored part": (_items.PART_DIGITS, sessions._PART_DIGITS),
    "period of codes": (timedelta(seconds=second_factor.PERIOD), policy.TOTP_PERIOD),
    "names of queues": (_subscription.QUEUE_PREFIX, subscription.OUTCOMES),
    "retention": (_subscription.RETENTION, subscription.RETENTION),
    "long poll": (_subscription.LONGEST_POLL, subscription.LONGEST_POLL),
    "reads of a new queue": (_subscription.NEW_QUEUE_READS, subscription.NEW_QUEUE_READS),
    "usable after": (_subscription.USABLE_AFTER, subscription.USABLE_AFTER),
    "missing queues": (_subscription.MISSING, frozenset(command_queue.MISSING)),
    "other attributes": (_subscription._OTHER_ATTRIBUTES, subscription._OTHER_ATTRIBUTES),
}


@pytest.mark.parametrize("name", WORKER)
def test_the_python_client_has_the_constant_of_the_worker(name: str) -> None:
    """A change of one side only would lose messages or refuse valid ones."""
    client, worker = WORKER[name]
    assert client == worker


PYTHON: dict[str, dict[str, Any]] = {
    "sender": {
        "USER_NAMESPACE": str(sender.USER_NAMESPACE),
        "MAX_ATTEMPTS": sender.MAX_ATTEMPTS,
        "MAX_BATCH": _aws.MAX_BATCH,
        "MAX_CALL_BYTES": _aws.MAX_CALL_BYTES,
        "FIRST_PAUSE": 1_000 * sender.FIRST_PAUSE,
    },
    "subscription": {
        "RETENTION": _subscription.RETENTION,
        "LONGEST_POLL": _subscription.LONGEST_POLL,
        "NEW_QUEUE_READS": _subscription.NEW_QUEUE_READS,
        "MISSING": _subscription.MISSING,
        "OTHER_ATTRIBUTES": _subscription._OTHER_ATTRIBUTES,
    },
    "reader": {
        "MAX_KEYS": _table.MAX_KEYS,
        "ATTEMPTS": _table.ATTEMPTS,
        "FIRST_PAUSE": 1_000 * _table.FIRST_PAUSE,
        "OWNER_READS": reader.OWNER_READS,
    },
    "items": {"PART_DIGITS": _items.PART_DIGITS},
    "inbox": {"REPETITIONS_END": 1_000 * inbox.REPETITIONS_END},
    "events": {"SOURCE": client_events.SOURCE},
    "tokens": {"SHORTEST_KEY": tokens.SHORTEST_KEY},
    "second-factor": {
        "PERIOD": second_factor.PERIOD,
        "RECOVERY_CODES": second_factor.RECOVERY_CODES,
    },
    "clients": {
        "connect": 1_000 * _aws.CONNECT_TIMEOUT,
        "answer": 1_000 * _aws.READ_TIMEOUT,
        "attempts": _aws.ATTEMPTS,
    },
}


@pytest.mark.parametrize("module", PYTHON)
def test_the_typescript_client_has_the_constants_of_the_python_client(module: str) -> None:
    """Times are in milliseconds there."""
    source = (TYPESCRIPT / f"{module}.ts").read_text()
    found = {name: constant(source, name) for name in PYTHON[module]}
    assert found == PYTHON[module]


def constant(source: str, name: str) -> Any:
    """Return the value of a constant, or of a field, of a module in TypeScript."""
    match = re.search(rf"(?m)^(?:(?:export )?const {name} = (.+);|  {name}: (.+),)$", source)
    assert match is not None, name
    text = match[1] or match[2]
    if '"' in text:
        texts = re.findall(r'"([^"]*)"', text)
        return frozenset(texts) if text.startswith("new Set") else texts[0]
    product = 1
    for factor in text.split(" * "):
        product *= int(factor)
    return product
