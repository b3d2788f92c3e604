"""What all unit tests share."""

from __future__ import annotations

from hypothesis import settings

# a loaded machine is no failure: how long an example takes is not what these tests promise
settings.register_profile("project", deadline=None)
settings.load_profile("project")
