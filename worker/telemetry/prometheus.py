"""A port for Prometheus: one for a worker, however many children it has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily

from worker.telemetry.configuration import HOST, PORT, Configuration, TelemetryError
from worker.telemetry.counting import Counts


class PrometheusPort:
    """Answers with what a worker has counted; in the parent."""

    def __init__(self, counts: Counts, configuration: Configuration) -> None:
        """Answer from now on.

        Raises:
            TelemetryError: the port is not to be had.
        """
        self._counts = counts
        host, port = configuration.prometheus_host, configuration.prometheus_port
        registry = CollectorRegistry()
        registry.register(self)
        try:
            self._server, _ = start_http_server(port, host, registry)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise TelemetryError(
                f"{PORT}: cannot listen on port {port} of {host}: {reason}; "
                f"choose another, or another {HOST}"
            ) from error

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_port)

    def collect(self) -> Iterator[Any]:
        """Give counts and gauges; Prometheus's client calls it."""
        yield from self._counts.families()
        for instrument, readings in self._counts.gauges().items():
            family = GaugeMetricFamily(
                instrument.prometheus_name,
                instrument.description,
                labels=instrument.prometheus_labels,
            )
            for value, labels in readings:
                family.add_metric(labels, value)
            yield family

    def leave(self) -> None:
        """Close the port in a child, or it would stay taken when the parent has gone."""
        self._server.socket.close()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
