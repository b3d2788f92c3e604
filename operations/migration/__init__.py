"""Migrate all stored items to the current formats, while workers are running."""

from operations.migration.counts import Counts, Finding
from operations.migration.kinds import KINDS, Kind, target
from operations.migration.metered import MeteredTable
from operations.migration.pages import PageMigration
from operations.migration.scan import Migration, Progress, SegmentProgress, page_size
from operations.migration.throughput import Bucket, Throughput, throughput_of

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
