"""A copy of the repository, changed as a page describes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.docs.pages import ROOT, Addition, blocks_of


def changed_tree(page: str, folder: Path) -> Path:
    """Return a copy of the repository with the blocks of a page inserted."""
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "build", "node_modules"))
    for block in blocks_of(page, (ROOT / page).read_text()):
        if (addition := Addition.of(block)) is not None:
            file = tree / addition.file
            file.write_text(addition.apply(file.read_text(), block.text))
    copy_mypy_cache(tree)
    return tree


def copy_mypy_cache(tree: Path) -> None:
    """Copy what mypy knows of this tree, if it has run here: most of it holds for the copy.

    As databases, not as files, because a mypy may be writing to them.
    """
    for database in (ROOT / ".mypy_cache").rglob("*.db"):
        copy = tree / database.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with (
            closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)


def run(tree: Path, *arguments: str) -> str:
    """Run a module of Python in the tree; it must succeed."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=tree,
        env=own | {"PYTHONPATH": f"{tree}:{tree / 'clients' / 'python'}"},
        capture_output=True,
        check=False,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout[-5000:]}{done.stderr[-2000:]}"
    return done.stdout
