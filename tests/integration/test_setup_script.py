"""scripts/setup-localstack.sh, with a `docker` in the path that only notes what it is asked."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "setup-localstack.sh"
SCRIPT_FOR_WINDOWS = SCRIPT.with_name("Setup-LocalStack.ps1")
NOTES_ITS_CALLS = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in "$REFUSES"*) exit 1 ;; esac
"""


@pytest.fixture
def bin_directory(tmp_path: Path) -> Path:
    """A directory with what the script needs of the system, and no docker."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("bash", "cat", "dirname", "sh"):
        found = next(
            Path(place, name) for place in ("/usr/bin", "/bin") if Path(place, name).exists()
        )
        (directory / name).symlink_to(found)
    return directory


def run(
    bin_directory: Path, *, refuses: str = "nothing"
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run the script; give its result and what docker was asked."""
    calls = bin_directory.parent / "calls"
    calls.touch()
    environment = {"PATH": str(bin_directory), "CALLS": str(calls), "REFUSES": refuses}
    result = subprocess.run(
        [str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=20, check=False
    )
    return result, calls.read_text().splitlines()


@pytest.fixture
def docker(bin_directory: Path) -> Path:
    """The same directory, now with a docker."""
    program = bin_directory / "docker"
    program.write_text(NOTES_ITS_CALLS)
    program.chmod(0o755)
    return bin_directory


def test_it_can_be_run_as_it_stands() -> None:
    """A fresh clone keeps the script's permission."""
    assert os.access(SCRIPT, os.X_OK)


def test_it_starts_localstack_then_makes_the_resources(docker: Path) -> None:
    """Resources are made only after LocalStack is healthy, and the user learns what is next."""
    result, calls = run(docker)
    assert result.returncode == 0, result.stderr
    assert calls[2:] == [
        "compose up --detach --wait localstack",
        "compose build provision",
        "compose run --rm provision",
    ]
    assert "user-worker run" in result.stdout


def test_without_docker_the_error_says_so(bin_directory: Path) -> None:
    """The first thing that a newcomer may lack is named in one line."""
    result, _ = run(bin_directory)
    assert result.returncode == 1
    assert result.stderr == "setup-localstack: needs Docker, which is not installed\n"


@pytest.mark.parametrize(
    ("refuses", "says"),
    [
        ("info", "Docker is installed but not running"),
        ("compose version", "needs Docker Compose 2"),
        ("compose up", "LocalStack did not start"),
        ("compose build", "image could not be built"),
        ("compose run", "resources could not be made"),
    ],
)
def test_it_stops_at_the_step_that_fails(docker: Path, refuses: str, says: str) -> None:
    """No later step runs, the exit code is 1, and the message says what is wrong."""
    result, calls = run(docker, refuses=refuses)
    assert result.returncode == 1
    assert calls[-1].startswith(refuses)
    assert says in result.stderr
    assert "Next:" not in result.stdout


def test_the_script_for_windows_takes_the_same_steps(docker: Path) -> None:
    """PowerShell is not here to run it, but what it asks of docker, in which order, can be read."""
    _, calls = run(docker)
    asked = re.findall(r"Invoke-Docker @\(([^)]*)\)", SCRIPT_FOR_WINDOWS.read_text())
    assert [" ".join(re.findall("'([^']*)'", words)) for words in asked] == calls
