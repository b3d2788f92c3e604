"""Load the permissions of producers from the file that a setting names."""

from __future__ import annotations

from pathlib import Path

from application.permissions import ALLOW_ALL, Permissions
from application.permissions_file import PermissionsError, parse_permissions
from worker.settings import PREFIX, Settings, SettingsError

_ADVICE = "correct the file (docs/permissions.md)"
MAX_BYTES = 1_000_000
"""Maximum size of a file; a larger one is a mistake."""


def load_permissions(settings: Settings) -> Permissions:
    """Return who may send what; outside prod everything is permitted if no file is set.

    Raises:
        SettingsError: no file is set in prod, or the file cannot be read or is invalid.
    """
    if settings.permissions is not None:
        permissions = read_permissions(settings.permissions, settings)
        if settings.env == "prod" and _is_example(permissions):
            raise SettingsError(
                f"{settings.permissions}: contains principals of the example",
                "replace them by the unique ids of your roles (docs/permissions.md)",
            )
        return permissions
    if settings.env == "prod":
        raise SettingsError(
            f"{PREFIX}PERMISSIONS is not set",
            "name the file that states which producer may send what (docs/permissions.md)",
        )
    return ALLOW_ALL


def _is_example(permissions: Permissions) -> bool:
    named = [
        *permissions.operators,
        *(p for each in permissions.producers for p in each.principals),
    ]
    return any(principal.startswith("AROAEXAMPLE") for principal in named)


def read_permissions(path: Path, settings: Settings) -> Permissions:
    """Read a file of permissions.

    Raises:
        SettingsError: the file cannot be read or is invalid.
    """
    content = b""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise SettingsError(f"{path}: is larger than {MAX_BYTES} bytes", _ADVICE)
        text = content.decode()
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read: {error.strerror or error}", _ADVICE
        ) from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{path}: line {line}: is not UTF-8", _ADVICE) from error
    try:
        return parse_permissions(text, settings.queues, settings.roles)
    except PermissionsError as error:
        raise SettingsError(f"{path}: {error}", _ADVICE) from error
