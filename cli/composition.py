"""The command line's composition root."""

from __future__ import annotations

from worker.connections import Aws
from worker.errors import UsageError
from worker.settings import PREFIX, Settings, load_settings

__all__ = ["Aws", "aws", "require_development"]


def aws(**overrides: object) -> Aws:
    """Put together what the environment asks for.

    Raises:
        SettingsError: a setting is wrong.
    """
    return Aws(load_settings(**overrides))


def require_development(settings: Settings, what: str) -> None:
    """Refuse in production.

    Raises:
        UsageError: the environment is production.
    """
    if settings.env == "prod":
        raise UsageError(
            f"{what} is for development, and {PREFIX}ENV is prod",
            "make the resources of production by your own templates",
        )
