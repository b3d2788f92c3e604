"""Metrics for Prometheus to fetch: one port for a worker, however many children it has.

Each process counts in memory that is a file, and the parent adds the files up when it is asked
(the client library's multiprocess mode). So what a child counted outlives it, and a child is asked
for nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from worker.telemetry.configuration import HOST, PORT, Configuration, TelemetryError
from worker.telemetry.instruments import CATALOGUE, Instrument, Kind
from worker.telemetry.port import Meter, Reading

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Where the client library looks, when it is imported, for the folder of the files."""


class PrometheusMeter(Meter):
    """Measures with Prometheus's client; `Exposition` has to be there first."""

    def __init__(self) -> None:
        """Make the metrics, in this process's files."""
        from prometheus_client import CollectorRegistry, Counter, Histogram  # noqa: PLC0415

        registry = CollectorRegistry()  # of nobody: the files are what is read
        self._families: dict[str, Any] = {}
        for each in CATALOGUE:
            labels = tuple(label.replace(".", "_") for label in each.labels)
            name, text = each.prometheus_name, each.description
            if each.kind is Kind.COUNTER:
                self._families[each.name] = Counter(name, text, labels, registry=registry)
            elif each.kind is Kind.HISTOGRAM:
                self._families[each.name] = Histogram(
                    name, text, labels, registry=registry, buckets=each.buckets
                )
        self._children: dict[tuple[str, tuple[str, ...]], Callable[[float], None]] = {}

    def measure(self, instrument: Instrument, value: float, *labels: str) -> None:
        """See the port."""
        key = (instrument.name, labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._child(instrument, labels)
        child(value)

    def _child(self, instrument: Instrument, labels: tuple[str, ...]) -> Callable[[float], None]:
        family = self._families[instrument.name]
        of_labels = family.labels(*labels) if labels else family
        measure: Callable[[float], None] = (
            of_labels.inc if instrument.kind is Kind.COUNTER else of_labels.observe
        )
        return measure

    def observe(self, instrument: Instrument, read: Callable[[], Iterable[Reading]]) -> None:
        """See the port; a gauge is read in the parent, which has all that are read."""
        if _exposition is not None and _exposition.here:
            _exposition.gauges.append((instrument, read))

    def stop(self) -> None:
        """Do nothing: what is counted is in the files."""


class Exposition:
    """The port and the files behind it; made in the parent, before any child."""

    def __init__(self, configuration: Configuration) -> None:
        """Answer from now on.

        Raises:
            TelemetryError: the port is not to be had.
        """
        self.gauges: list[tuple[Instrument, Callable[[], Iterable[Reading]]]] = []
        self._pid = os.getpid()
        self._folder = Path(tempfile.mkdtemp(prefix="user-worker-metrics-"))
        os.environ[FOLDER] = str(self._folder)
        try:
            self._server = self._serve(configuration)
        except OSError as error:
            self._remove_folder()
            host, port = configuration.prometheus_host, configuration.prometheus_port
            reason = error.strerror or type(error).__name__
            raise TelemetryError(
                f"{PORT}: cannot listen on port {port} of {host}: {reason}; "
                f"choose another, or another {HOST}"
            ) from error

    def _serve(self, configuration: Configuration) -> Any:
        from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415
        from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

        registry: Any = CollectorRegistry()
        MultiProcessCollector(registry, str(self._folder))
        registry.register(self)
        server, _ = start_http_server(
            configuration.prometheus_port, configuration.prometheus_host, registry
        )
        return server

    @property
    def here(self) -> bool:
        """Whether this process answers, and is no child of the one that does."""
        return os.getpid() == self._pid

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_port)

    def collect(self) -> Iterator[Any]:
        """Read the gauges; Prometheus's client calls it."""
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

        families: dict[str, Any] = {}
        for instrument, read in self.gauges:
            family = families.get(instrument.name)
            if family is None:
                labels = [label.replace(".", "_") for label in instrument.labels]
                family = families[instrument.name] = GaugeMetricFamily(
                    instrument.prometheus_name, instrument.description, labels=labels
                )
            for value, values in read():
                family.add_metric(values, value)
        yield from families.values()

    def leave(self) -> None:
        """Close the port in a child, or it would stay taken when the parent has gone."""
        if not self.here:
            self._server.socket.close()

    def stop(self) -> None:
        """Answer no more, and remove the files."""
        if self.here:
            self._server.shutdown()
            self._server.server_close()
            self._remove_folder()

    def _remove_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        os.environ.pop(FOLDER, None)


_exposition: Exposition | None = None


def expose(configuration: Configuration) -> Exposition:
    """Open the port; see `Exposition`."""
    global _exposition  # noqa: PLW0603 - one a process, as the client library has it
    _exposition = Exposition(configuration)
    return _exposition


def leave() -> None:
    """Close the parent's port in a child."""
    if _exposition is not None:
        _exposition.leave()


def conceal() -> None:
    """Close the port for good, in the process that opened it."""
    global _exposition  # noqa: PLW0603 - as above
    if _exposition is not None and _exposition.here:
        _exposition.stop()
        _exposition = None
