"""`make run` does what README and pages say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from scripts.user_messages import ROOT


@pytest.mark.parametrize("given", [None, "http://127.0.0.1:4566"], ids=["unset", "set"])
def test_make_run_starts_its_own_aws_whatever_is_exported(
    tmp_path: Path, given: str | None
) -> None:
    """AWS_ENDPOINT_URL may be exported for LocalStack; samples must not be sent there."""
    program = tmp_path / "user-worker"
    program.write_text('#!/bin/sh\necho "$@" "endpoint=${AWS_ENDPOINT_URL-none}"\n')
    program.chmod(0o755)
    installed = tmp_path / ".installed"
    installed.touch()
    # the tests themselves may run under make, whose variables would change what this one prints
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment = {**own, **({"AWS_ENDPOINT_URL": given} if given else {})}
    done = subprocess.run(
        [
            "make",
            "--no-print-directory",
            "run",
            f"BIN={tmp_path}",
            f"INSTALLED={installed}",
            "ARGS=--once",
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "dev --samples --once endpoint=none\n"
