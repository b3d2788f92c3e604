"""The command line's composition root."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.connections import Aws


def aws() -> Aws:
    """Return clients and ports for the settings of the environment.

    Raises:
        SettingsError: a setting is invalid.
    """
    from worker.connections import Aws
    from worker.settings import load_settings

    return Aws(load_settings())
