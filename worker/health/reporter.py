"""The thread that reports a worker's health, as long as the process gets to run at all."""

from __future__ import annotations

from threading import Event, Thread
from typing import Protocol

import structlog

from worker.health.assessment import HealthAssessment
from worker.health.heartbeat import INTERVAL, HeartbeatError, HeartbeatFile
from worker.transport.port import one_line

logger = structlog.get_logger(__name__)


class Server(Protocol):
    """What tells the health on request, beside the file."""

    def close(self) -> None:
        """Listen no more."""
        ...


class HealthReporter:
    """Writes the heartbeat file from time to time. Made, started and stopped on the main thread."""

    def __init__(
        self, assessment: HealthAssessment, file: HeartbeatFile | None, server: Server | None = None
    ) -> None:
        """Take what is to be reported, and where: a file, a server, or neither."""
        self.assessment = assessment
        self.server = server
        self._file = file
        self._stopped = Event()
        self._failing = False
        self._thread = Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        """Beat once, so that there is a heartbeat from now on, and then in a thread."""
        if self._file is not None:
            self._beat(self._file)
            self._thread.start()

    def stop(self) -> None:
        """End the thread, take the file away and close the server."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(INTERVAL)
        if self._file is not None:
            self._file.remove()
        if self.server is not None:
            self.server.close()

    def _run(self) -> None:
        assert self._file is not None
        while not self._stopped.wait(INTERVAL):
            self._beat(self._file)

    def _beat(self, file: HeartbeatFile) -> None:
        try:
            file.write(self.assessment.report())
        except (OSError, HeartbeatError) as error:
            if not self._failing:  # one line an episode
                logger.warning("heartbeat_unwritten", reason=one_line(error))
            self._failing = True
        else:
            self._failing = False
