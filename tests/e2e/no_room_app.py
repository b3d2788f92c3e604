"""The worker's own application on a machine where creating a semaphore fails with ERRNO."""

from __future__ import annotations

import os
from typing import Any

from billiard import synchronize

from worker.app import app


def _refuse(*_: Any, **__: Any) -> None:
    number = int(os.environ["ERRNO"])
    raise OSError(number, os.strerror(number))


synchronize.SemLock.__init__ = _refuse

__all__ = ["app"]
