"""The thread that reports a worker's health."""

from __future__ import annotations

from threading import Event, Thread

import structlog

from worker.errors import one_line
from worker.health.assessment import HealthAssessment
from worker.health.heartbeat import INTERVAL, HeartbeatError, HeartbeatFile
from worker.health.server import HealthServer

logger = structlog.get_logger(__name__)


class HealthReporter:
    """Write the heartbeat file at intervals. Created, started and stopped on the main thread."""

    def __init__(
        self,
        assessment: HealthAssessment,
        file: HeartbeatFile | None,
        server: HealthServer | None = None,
    ) -> None:
        self.assessment = assessment
        self.server = server
        self._file = file
        self._stopped = Event()
        self._failing = False
        self._thread = Thread(target=self._run, name="health-reporter", daemon=True)

    def start(self) -> None:
        """Write the first heartbeat, then the next ones in a thread."""
        if self._file is not None:
            self._beat(self._file)
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread, remove the file and close the server."""
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
            if not self._failing:  # log once per episode
                logger.warning("heartbeat_unwritten", reason=one_line(error))
            self._failing = True
        else:
            self._failing = False
