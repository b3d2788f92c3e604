"""The worker's own application, or that of a later release, selected by `APP_RELEASE`."""

from __future__ import annotations

import os

from tests.e2e.next_version import become
from worker.app import make_app
from worker.settings import load_settings

become(os.environ["APP_RELEASE"])

app = make_app(load_settings())
