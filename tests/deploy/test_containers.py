"""Guarantees of the image and the development stack, read from their files."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.commands.console import PASSWORD
from console.web import HEALTH
from tests.docs.programs import check_words
from worker.health.heartbeat import LIMIT

ROOT = Path(__file__).parents[2]
OURS = ("console", "provision", "worker")


@pytest.fixture
def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, with continued lines joined and without comments."""
    text = (ROOT / "Dockerfile").read_text()
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(word, rest) for word, rest in lines]


@pytest.fixture
def final_stage(instructions: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the instructions of the image itself, from the last FROM on."""
    last = max(index for index, (word, _) in enumerate(instructions) if word == "FROM")
    return instructions[last:]


@pytest.fixture
def services() -> dict[str, Any]:
    """Return the services of docker-compose.yml, with merge keys resolved."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services: dict[str, Any] = loaded["services"]
    return services


def test_the_base_image_is_named_by_its_digest(instructions: list[tuple[str, str]]) -> None:
    """Without a digest the build fails: a tag can be moved to another image."""
    images = [rest for word, rest in instructions if word == "FROM"]
    assert {image.split()[0] for image in images} == {"${PYTHON_IMAGE}"}
    assert [rest for word, rest in instructions if word == "ARG"] == ["PYTHON_IMAGE"] * 2
    check = next(rest for word, rest in instructions if word == "RUN")
    for image, code in [(DIGEST, 0), ("python:3.11.14-slim-bookworm", 1), ("", 1)]:
        done = subprocess.run(
            ["sh", "-c", check],
            env={"PYTHON_IMAGE": image},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "by its digest" in done.stderr) == (code, code == 1)


# --- scripts/pin-images.sh ---

DIGEST = f"python@sha256:{'0a' * 32}"
DOCKER = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in "$REFUSES"*) exit 1 ;; esac
case "$*" in image*) echo "$ANSWERS" ;; esac
"""


def pinned(folder: Path, *, answers: str = DIGEST, refuses: str = "nothing") -> Any:
    """Run the script with a docker that only notes what it is asked."""
    docker = folder / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    environment = {"CALLS": str(folder / "calls"), "REFUSES": refuses, "ANSWERS": answers}
    return subprocess.run(
        [ROOT / "scripts" / "pin-images.sh"],
        env={**environment, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_images_are_pinned_to_a_patch_release_by_their_digests(
    tmp_path: Path, services: dict[str, Any]
) -> None:
    """The script gives all variables that the stack requires."""
    done = pinned(tmp_path)
    assert done.stdout == f"PYTHON_IMAGE={DIGEST}\nLOCALSTACK_IMAGE={DIGEST}\n"
    pulled = re.findall(r"pull --quiet (\S+)", (tmp_path / "calls").read_text())
    assert re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+", pulled[0])
    assert re.fullmatch(r"localstack/localstack:\d+\.\d+\.\d+", pulled[1])
    required = set(re.findall(r"\$\{(\w+):\?", json.dumps(services)))
    assert required == set(re.findall(r"^(\w+)=", done.stdout, re.MULTILINE))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"refuses": "pull"}, "could not be pulled"),
        ({"answers": "python:3.11"}, "has no digest here"),
        ({"answers": ""}, "has no digest here"),
    ],
)
def test_an_image_without_a_digest_is_one_line(
    tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    """The build does not start with a tag instead."""
    done = pinned(tmp_path, **changes)
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stdout == ""


def test_the_image_does_not_run_as_root(final_stage: list[tuple[str, str]]) -> None:
    """The user is a number above those of the system, which Kubernetes checks without the image."""
    user = [rest for word, rest in final_stage if word == "USER"][-1]
    assert re.fullmatch(r"[1-9]\d{4}:[1-9]\d{4}", user)


def test_the_image_brings_no_build_tools(final_stage: list[tuple[str, str]]) -> None:
    """The image can neither install nor build; its code comes from the build stage only."""
    runs = " ".join(rest for word, rest in final_stage if word == "RUN")
    assert "apt-get" not in runs
    assert "pip install" not in runs
    assert re.search(r"pip uninstall .*setuptools wheel pip", runs)
    assert [rest for word, rest in final_stage if word == "COPY"] == [
        "--from=build /opt/user-worker /opt/user-worker",
        "deploy/permissions.toml /etc/user-worker/permissions.toml",
    ]


def test_what_the_build_installs_is_locked_by_hash(instructions: list[tuple[str, str]]) -> None:
    """A package of an index is installed only if its hash is in a lock."""
    runs = " && ".join(rest for word, rest in instructions if word == "RUN")
    installs = [part for part in runs.split("&&") if " install " in part]
    assert installs
    assert all("--require-hashes" in part or "--no-index" in part for part in installs)


def test_the_image_runs_the_command_line_without_a_shell(
    final_stage: list[tuple[str, str]],
) -> None:
    """SIGTERM reaches the worker.

    The health check uses the image's own program, and tests liveness.

    An unavailable AWS must not cause a restart.
    """
    stage = dict(final_stage)
    assert stage["ENTRYPOINT"] == '["user-worker"]'
    assert stage["CMD"] == '["run"]'
    assert stage["HEALTHCHECK"].endswith('CMD ["user-worker", "health", "--live"]')


def test_no_secret_and_no_test_gets_into_the_build(instructions: list[tuple[str, str]]) -> None:
    """The build context allows only what the Dockerfile copies."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source
        for word, rest in instructions
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert "*" in ignored
    assert allowed == copied


def test_a_worker_has_time_to_start_and_to_miss_a_heartbeat(
    final_stage: list[tuple[str, str]],
) -> None:
    """A container survives the start of its children, and a single late health check."""
    check = dict(final_stage)["HEALTHCHECK"]
    seconds = {name: int(value) for name, value in re.findall(r"--([a-z-]+)=(\d+)", check)}
    assert seconds["start-period"] >= 60
    assert seconds["retries"] * seconds["interval"] > LIMIT
    assert seconds["timeout"] < seconds["interval"]


def test_the_worker_of_the_stack_keeps_the_images_health_check(services: dict[str, Any]) -> None:
    """One-off services have no health check, and the worker's heartbeat is in its tmpfs."""
    assert services["provision"]["healthcheck"] == {"disable": True}
    assert "healthcheck" not in services["worker"]
    assert "TMPDIR" not in services["worker"]["environment"]
    assert "/tmp" in services["worker"]["tmpfs"]  # place of the heartbeat without TMPDIR


def test_no_image_of_the_stack_is_named_by_a_tag(services: dict[str, Any]) -> None:
    """Compose names the script if a variable is missing."""
    assert services["localstack"]["image"].startswith("${LOCALSTACK_IMAGE:?")
    assert services["worker"]["build"]["args"]["PYTHON_IMAGE"].startswith("${PYTHON_IMAGE:?")


def test_localstack_is_not_open_to_the_network(services: dict[str, Any]) -> None:
    """It accepts any credentials, so it listens on this machine only."""
    assert all(port.startswith("127.0.0.1:") for port in services["localstack"]["ports"])


def test_the_worker_starts_when_its_resources_are_there(services: dict[str, Any]) -> None:
    """One command starts everything in the required order."""
    assert services["localstack"]["healthcheck"]["test"][0] == "CMD"
    assert services["provision"]["command"] == ["provision"]
    assert services["provision"]["depends_on"] == {"localstack": {"condition": "service_healthy"}}
    assert services["worker"]["depends_on"] == {
        "localstack": {"condition": "service_healthy"},
        "provision": {"condition": "service_completed_successfully"},
    }


def test_the_console_of_the_stack_is_open_to_this_machine_with_a_password(
    services: dict[str, Any], tmp_path: Path
) -> None:
    """It starts on request only, since without a password it ends with an error."""
    console = services["console"]
    assert console["profiles"] == ["console"]
    check_words(["user-worker", *console["command"]], tmp_path, whole=True)
    assert console["ports"] == ["127.0.0.1:8600:8600"]
    assert "--public-host=127.0.0.1:8600" in console["command"]
    assert "--workers=worker" in console["command"]
    assert console["environment"][PASSWORD] == f"${{{PASSWORD}:-}}"
    assert HEALTH in console["healthcheck"]["test"][-1]
    others = {k: v for k, v in console["environment"].items() if k != PASSWORD}
    assert others == services["worker"]["environment"]
    assert "ports" not in services["worker"]


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_do_no_more_than_they_need(services: dict[str, Any], name: str) -> None:
    """A compromised worker cannot write, gain a privilege or use a capability."""
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]
    assert "privileged" not in service
    assert "volumes" not in service


@pytest.mark.parametrize("name", OURS)
def test_our_containers_use_localstack_and_fake_credentials(
    services: dict[str, Any], name: str
) -> None:
    """The stack cannot reach a real account."""
    environment = services[name]["environment"]
    assert environment["AWS_ENDPOINT_URL"] == "http://localstack:4566"
    assert environment["AWS_ACCESS_KEY_ID"] == "test"
    assert environment["AWS_SECRET_ACCESS_KEY"] == "test"
