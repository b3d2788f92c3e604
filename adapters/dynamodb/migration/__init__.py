"""Bringing all stored items to the present formats, beside running workers."""

from adapters.dynamodb.migration.counts import Counts, Finding
from adapters.dynamodb.migration.kinds import KINDS, Kind, target
from adapters.dynamodb.migration.metered import MeteredTable
from adapters.dynamodb.migration.pages import PageMigration
from adapters.dynamodb.migration.scan import Migration, Progress, SegmentProgress, page_size
from adapters.dynamodb.migration.throughput import Bucket, Throughput, throughput_of

__all__ = [
    "KINDS",
    "Bucket",
    "Counts",
    "Finding",
    "Kind",
    "MeteredTable",
    "Migration",
    "PageMigration",
    "Progress",
    "SegmentProgress",
    "Throughput",
    "page_size",
    "target",
    "throughput_of",
]
