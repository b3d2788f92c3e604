"""Checks that need no AWS: the program, the environment, files and ports."""

from __future__ import annotations

import importlib.util
import os
import platform
import socket
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from operations.doctor.emulator import DEFAULT_PORT, HOST, find_emulator
from operations.printable import counted
from worker.errors import SettingsError
from worker.permissions import load_permissions
from worker.resources.finding import Finding, error_finding, ok, warn
from worker.settings import PREFIX, Settings, load_settings, unknown_settings

SUPPORTED = "5.7."
"""Minor version of Celery and kombu whose internals the transport uses (pyproject.toml)."""
_OURS = (PREFIX, "AWS_")


def program() -> Iterator[Finding]:
    """Check Python and the installed packages."""
    yield ok("python", f"Python {platform.python_version()}, {sys.executable}")
    installed = {name: version(name) for name in ("celery", "kombu", "boto3")}
    text = ", ".join(f"{name} {number}" for name, number in installed.items())
    if all(installed[name].startswith(SUPPORTED) for name in ("celery", "kombu")):
        yield ok("packages", text)
    else:
        advice = f"install the versions of requirements.txt: {SUPPORTED}x of Celery and kombu"
        yield warn("packages", text, advice)
    if importlib.util.find_spec("ministack") is None:
        text = "the embedded AWS is not installed; only `user-worker dev` needs it"
        yield warn("embedded AWS", text, "pip install 'user-worker[embedded]', or use LocalStack")
    else:
        yield ok("embedded AWS", f"MiniStack {version('ministack')}")


def read_settings() -> Settings | Finding:
    """Return the settings, or a finding if they are invalid."""
    try:
        return load_settings()
    except SettingsError as error:
        return error_finding("settings", error)


def environment(settings: Settings) -> Iterator[Finding]:
    """Find variables that are set but have no effect."""
    yield ok("settings", f"env {settings.env}, repository {settings.repository}")
    if settings.env == "prod" and not settings.hash_keys:
        text = f"{PREFIX}HASH_KEYS is not set here; a worker in prod does not start without it"
        yield warn("hash keys", text, "set it where workers run (docs/explanation/security.md)")
    yield _producers(settings)
    strangers = unknown_settings()
    if strangers:
        text = f"{', '.join(strangers)}: unknown settings, which are ignored"
        advice = "correct the names (docs/reference/settings.md), or unset them"
        yield warn("other variables", text, advice)
    yield from _env_files(Path.cwd())


def _producers(settings: Settings) -> Finding:
    """Check the file that states which producer may send what."""
    if settings.permissions is None:
        text = f"{PREFIX}PERMISSIONS is not set"
        if settings.env == "prod":
            return warn(
                "producers",
                f"{text}; a worker in prod does not start without it",
                "see docs/how-to/permissions.md",
            )
        return ok("producers", f"{text}: everything is permitted")
    try:
        permissions = load_permissions(settings)
    except SettingsError as error:
        return error_finding("producers", error)
    if permissions.allow_all:
        return warn("producers", "every sender may send every command", "name the producers")
    unused = [name for name in settings.queues if not permissions.sends_to(name)]
    if unused:
        return warn(
            "producers",
            f"no producer of the file sends to {', '.join(unused)}",
            "name the queues in the file, or remove them from the settings "
            "(docs/how-to/permissions.md)",
        )
    return ok("producers", ", ".join(each.name for each in permissions.producers))


def _env_files(directory: Path) -> Iterator[Finding]:
    """Report .env files that are not read; of their content, show only names of variables."""
    for path in sorted(directory.glob(".env*")):
        try:
            lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        except OSError:
            continue
        names = [line.removeprefix("export ").partition("=")[0].strip() for line in lines]
        unset = [n for n in names if n.startswith(_OURS) and n not in os.environ]
        if unset:
            text = f"{path.name} sets {', '.join(unset)}, but user-worker does not read this file"
            yield warn(".env file", text, f"run: set -a; . ./{path.name}; set +a")


def ports(settings: Settings) -> Iterator[Finding]:
    """Check the port of emulators if no endpoint is set."""
    if settings.env != "dev" or os.environ.get("AWS_ENDPOINT_URL"):
        return
    url = f"http://{HOST}:{DEFAULT_PORT}"
    with socket.socket() as probe:
        probe.settimeout(1)
        taken = probe.connect_ex((HOST, DEFAULT_PORT)) == 0
    if not taken:
        yield ok("port", f"{DEFAULT_PORT} is free, for LocalStack (`make up`)")
    elif (found := find_emulator(url)) is not None:
        text = f"{found.name} answers at {url}, but AWS_ENDPOINT_URL is not set: calls go to Amazon"
        yield warn("port", text, f"to use {found.name}, run: export AWS_ENDPOINT_URL={url}")
    else:
        text = f"{DEFAULT_PORT} is in use by a program that is no emulator"
        yield warn("port", text, "stop it before `make up`; `user-worker dev` uses a free port")


def files() -> Iterator[Finding]:
    """Find log files that `dev` leaves after a failure."""
    logs = sorted(Path(tempfile.gettempdir()).glob("user-worker-dev-*/worker.log"))
    if logs:
        directory = logs[-1].parent.parent
        text = (
            f"{counted(len(logs), 'log')} of `user-worker dev`, running or failed, in {directory}"
        )
        yield ok("logs", f"{text}: user-worker-dev-*")
