"""Load the permissions of producers from the file that a setting names."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from application.permissions import ALLOW_ALL, ANY, Permissions
from application.permissions_file import PermissionsError, parse_permissions
from worker.errors import SettingsError
from worker.settings import PREFIX, Settings, load_settings

_ADVICE = "correct the file (docs/how-to/permissions.md)"
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
                "replace them by the unique ids of your roles (docs/how-to/permissions.md)",
            )
        return permissions
    if settings.env == "prod":
        raise SettingsError(
            f"{PREFIX}PERMISSIONS is not set",
            "name the file that states which producer may send what (docs/how-to/permissions.md)",
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
    return _parse(path, settings.queues, settings.roles)


def read_with_queues(path: Path) -> tuple[Permissions, Settings]:
    """Read a file of permissions that may name queues which the worker does not serve yet.

    Return the permissions, and the settings whose additional queues are those of the file: all
    except the command queue and the priority queue, in the order of the file.

    Raises:
        SettingsError: the file cannot be read or is invalid, or a queue cannot be served together
            with the others.
    """
    settings = load_settings(additional_queues=())
    permissions = _parse(path, None, settings.roles)
    named = dict.fromkeys(queue for each in permissions.producers for queue in each.queues)
    additional = tuple(queue for queue in named if queue not in {ANY, *settings.queues})
    try:
        return permissions, load_settings(additional_queues=additional)
    except SettingsError as error:
        raise SettingsError(f"{path}: queues: {error.problem}", error.advice) from error


def _parse(path: Path, queues: Collection[str] | None, roles: Collection[str]) -> Permissions:
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
        return parse_permissions(text, queues, roles)
    except PermissionsError as error:
        raise SettingsError(f"{path}: {error}", _ADVICE) from error
