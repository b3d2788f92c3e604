"""The worker's own application with a fault in its parser, selected by `APP_FAULT`."""

from __future__ import annotations

import os

from tests.e2e.faults import install_fault
from worker.app import make_app
from worker.settings import load_settings

install_fault(os.environ["APP_FAULT"])

app = make_app(load_settings())
