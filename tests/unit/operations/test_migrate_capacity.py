"""A migration uses no more of the table's capacity than its share."""

from __future__ import annotations

from typing import Any

import pytest

from operations.migration.throughput import Bucket, Throughput, throughput_of


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ({"BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"}}, Throughput(12_000, 4_000)),
        (
            {
                "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
                "ProvisionedThroughput": {"ReadCapacityUnits": 0, "WriteCapacityUnits": 0},
                "OnDemandThroughput": {"MaxReadRequestUnits": 500, "MaxWriteRequestUnits": -1},
            },
            Throughput(500, 4_000),
        ),
        (
            {
                "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
                "WarmThroughput": {"ReadUnitsPerSecond": 30_000, "WriteUnitsPerSecond": 9_000},
                "OnDemandThroughput": {"MaxReadRequestUnits": -1, "MaxWriteRequestUnits": 8_000},
                "GlobalSecondaryIndexes": [
                    {"WarmThroughput": {"ReadUnitsPerSecond": 12_000, "WriteUnitsPerSecond": 7_000}}
                ],
            },
            Throughput(30_000, 7_000),
        ),
        (
            {
                "ProvisionedThroughput": {"ReadCapacityUnits": 100, "WriteCapacityUnits": 50},
                "GlobalSecondaryIndexes": [
                    {"ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 20}}
                ],
            },
            Throughput(100, 20),
        ),
    ],
)
def test_the_capacity_is_what_the_table_says(description: Any, expected: Throughput) -> None:
    """Indexes count too: they use a part of the writes, and none of the reads."""
    assert throughput_of(description) == expected
    assert expected.share(0.25).write == expected.write / 4


def test_a_bucket_keeps_to_its_rate_whatever_the_calls_cost() -> None:
    """The rate holds over a minute, apart from one second's burst and the last call."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    bucket = Bucket(100.0, lambda: now, sleep)
    while now < 60:
        bucket.wait()
        bucket.spend(37.5)
    assert 60 * 100 <= bucket.spent <= 61 * 100 + 2 * 37.5


def test_a_pause_saves_up_no_more_than_a_second() -> None:
    """A burst after an idle hour would throttle the workers."""
    now = 0.0
    waits: list[float] = []
    bucket = Bucket(10.0, lambda: now, waits.append)
    now = 3600.0
    for _ in range(20):
        bucket.wait()
        bucket.spend(1.0)
    assert len([pause for pause in waits if pause > 0]) == 9
