"""The worker's own application; with `APP_VERSION=2` in the environment, that of a next version."""

from __future__ import annotations

import os

from tests.e2e.next_version import become_next
from worker.app import make_app
from worker.settings import load_settings

if os.environ["APP_VERSION"] == "2":
    become_next()

app = make_app(load_settings())
