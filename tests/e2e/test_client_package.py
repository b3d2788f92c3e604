"""The Python client as another service installs it: with boto3 and pydantic only.

The service has a package `domain` of its own, a name that the worker uses too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.e2e.system import System
from tests.e2e.worker_process import eventually

CLIENT = Path(__file__).parents[2] / "clients" / "python"
DEPENDENCIES = ("boto3", "pydantic")

SIGN_UP = '''
"""Registers a user, learns the outcome and reads the user, as a sign-up service does."""

import os

import domain
from biome_users import LoginReader, NotSentError, OutcomeListener, UserCommands, UserReader
from biome_users.commands import RegisterUser, UnbanUser
from biome_users.event_types import UserRegistered
from biome_users.testing import sample_event

assert domain.OWN
users = UserCommands(os.environ["QUEUE"], source="/test")
hashed = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo"
command = RegisterUser(email=os.environ["EMAIL"], first_name="Ada", password_hash=hashed)
with OutcomeListener(source="/test", topic=os.environ["TOPIC"]) as outcomes:
    command_id = users.send(command)
    answer = outcomes.answer(command_id)
    assert answer.kind == "accepted", answer
    assert outcomes.answer(users.send(command)).code == "EmailTaken"
user = UserReader(os.environ["TABLE"]).by_email(os.environ["EMAIL"])
assert user.user_id == answer.user_id and user.password_hash is None
assert LoginReader(os.environ["TABLE"]).get(user.user_id).password_hash == hashed
assert isinstance(sample_event(UserRegistered).data, UserRegistered)
try:
    UserCommands("no-such-queue", source="/test").send(UnbanUser(), user_id=command_id)
    raise SystemExit("a queue that does not exist took a command")
except NotSentError as error:
    assert len(error.unsent) == 1
print(command_id)
'''


def closure(names: tuple[str, ...]) -> set[str]:
    """Return distributions and all that they require, without extras."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub("[-_.]+", "-", waiting.pop()).lower()
        if name not in found:
            found.add(name)
            required = distribution(name).requires or ()
            waiting += [re.split(r"[^\w.-]", each)[0] for each in required if ";" not in each]
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An environment with the built client and exactly what its dependencies require."""
    source, home = tmp_path / "source", tmp_path / "service"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    shutil.copytree(CLIENT, source, ignore=ignored)
    pip = [sys.executable, "-m", "pip"]
    wheel = [*pip, "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*wheel, "--wheel-dir", str(source), str(source)], check=True, timeout=100)
    venv = [sys.executable, "-m", "venv", "--without-pip", str(home)]
    subprocess.run(venv, check=True, timeout=50)
    install = [*pip, "--python", str(home / "bin" / "python"), "install", "--quiet", "--no-deps"]
    (file,) = source.glob("*.whl")
    subprocess.run([*install, "--no-index", str(file)], check=True, timeout=50)
    (packages,) = home.glob("lib/python*/site-packages")
    for name in closure(DEPENDENCIES):
        for path in distribution(name).files or ():
            top = packages / path.parts[0]
            if path.parts[0] != ".." and not top.exists():
                top.symlink_to(Path(str(distribution(name).locate_file(path.parts[0]))))
    (home / "domain").mkdir()
    (home / "domain" / "__init__.py").write_text("OWN = True\n")
    return home


def test_the_dependencies_are_boto3_and_pydantic() -> None:
    """A further one would have to be installed by every service."""
    required = distribution("biome-users").requires or []
    needed = [each for each in required if "extra ==" not in each]
    assert sorted(re.split(r"[^\w.-]", each)[0] for each in needed) == sorted(DEPENDENCIES)


def test_a_service_registers_a_user_with_the_installed_client(home: Path, system: System) -> None:
    """A real worker decides the command; nothing of the worker is installed there."""
    (home / "sign_up.py").write_text(SIGN_UP)
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
    environment = {name: os.environ[name] for name in names} | {
        "AWS_ENDPOINT_URL": system.endpoint,
        "EMAIL": f"{system.names.table}@example.com",
        "QUEUE": system.names.command_queue,
        "TABLE": system.names.table,
        "TOPIC": system.names.events_topic,
    }
    with system.worker() as worker:
        worker.ready()
        done = subprocess.run(
            [str(home / "bin" / "python"), "sign_up.py"],
            cwd=home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        registered = "biome.user.UserRegistered.v1", done.stdout.strip()
        eventually(lambda: registered in {(e["type"], e["causationid"]) for e in system.events()})
