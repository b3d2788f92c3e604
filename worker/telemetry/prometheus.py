"""Metrics for Prometheus: one port per worker, for any number of children.

Every process records with Prometheus's client library in its multiprocess mode, in its own mapped
files, and the parent adds up the files. Measurements of a child are kept after its end.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from worker.telemetry.configuration import HOST, PORT, Configuration, TelemetryError
from worker.telemetry.instruments import CATALOGUE, Instrument, Kind
from worker.telemetry.metrics import Meter, ReadGauge

logger = structlog.get_logger(__name__)

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which the client library finds the folder of the files."""


class PrometheusPort(Collector):
    """Serves the metrics of a worker; created in the parent, before any child."""

    def __init__(self, configuration: Configuration) -> None:
        """Create the folder and listen.

        Raises:
            TelemetryError: no temporary directory is writable, or the port is not available.
        """
        self._pid = os.getpid()
        self.gauges: Final[defaultdict[Instrument, list[ReadGauge]]] = defaultdict(list)
        """Functions that read each gauge, in the parent, which has the values."""
        try:
            self.folder: Final = Path(tempfile.mkdtemp(prefix="user-worker-metrics-"))
        except OSError as error:
            raise TelemetryError(
                f"TMPDIR must be a writable folder for the metrics: "
                f"{error.strerror or type(error).__name__}"
            ) from error
        self.registry: Final = CollectorRegistry()
        MultiProcessCollector(self.registry, str(self.folder))
        self.registry.register(self)
        host, port = configuration.prometheus_host, configuration.prometheus_port
        try:
            self._server, _ = start_http_server(port, host, self.registry)
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            reason = error.strerror or type(error).__name__
            raise TelemetryError(
                f"{PORT}: cannot listen on port {port} of {host}: {reason}; "
                f"choose another port or another {HOST}"
            ) from error

    @property
    def port(self) -> int:
        """The port number."""
        return int(self._server.server_port)

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges; the client library calls it."""
        for instrument, reads in list(self.gauges.items()):
            family = GaugeMetricFamily(
                instrument.prometheus_name,
                instrument.description,
                labels=instrument.prometheus_labels,
            )
            for value, labels in (reading for read in reads for reading in read()):
                family.add_metric(labels, value)
            yield family

    def leave(self) -> None:
        """Close the port in a forked child: else it stays in use after the parent has ended."""
        if os.getpid() != self._pid:
            self._server.socket.close()

    def stop(self) -> None:
        """Stop listening and remove the files, in the process that created them."""
        if os.getpid() == self._pid:
            self._server.shutdown()
            self._server.server_close()
            shutil.rmtree(self.folder, ignore_errors=True)


class PrometheusMeter(Meter):
    """Records in the files of one process."""

    def __init__(self, port: PrometheusPort) -> None:
        """Create the metrics; those without labels start at 0."""
        self._gauges = port.gauges
        self._failing = False
        os.environ[FOLDER] = str(port.folder)
        # Created in each process: the parent's lock may have been held at the fork.
        values.ValueClass = values.MultiProcessValue()
        self._metrics = {
            each.name: _metric(each) for each in CATALOGUE if each.kind is not Kind.GAUGE
        }

    def measure(self, instrument: Instrument, value: float, *labels: str) -> None:
        """See the port. On a full disk, a new series is lost, with one line in the log."""
        metric = self._metrics[instrument.name]
        try:
            series = metric.labels(*labels) if labels else metric
        except OSError as error:
            if not self._failing:
                logger.warning("metrics_not_counted", reason=error.strerror)
            self._failing = True
            return
        if isinstance(series, Counter):
            series.inc(value)
        else:
            series.observe(value)

    def observe(self, instrument: Instrument, read: ReadGauge) -> None:
        """See the port."""
        self._gauges[instrument].append(read)


def _metric(instrument: Instrument) -> Counter | Histogram:
    name, labels = instrument.prometheus_name, instrument.prometheus_labels
    if instrument.kind is Kind.COUNTER:
        return Counter(name, instrument.description, labels, registry=None)
    buckets = instrument.buckets
    return Histogram(name, instrument.description, labels, buckets=buckets, registry=None)
