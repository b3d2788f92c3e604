"""The names of samples in Prometheus."""

from __future__ import annotations

from worker.telemetry.instruments import Instrument, Kind

ENDINGS = {
    Kind.COUNTER: ("_total",),
    Kind.HISTOGRAM: ("_bucket", "_count", "_sum"),
    Kind.GAUGE: ("",),
}


def prometheus_names(instrument: Instrument) -> frozenset[str]:
    """Return the names of all samples of a metric."""
    return frozenset(instrument.prometheus_name + ending for ending in ENDINGS[instrument.kind])
