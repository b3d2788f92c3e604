"""The TypeScript client: its own tests, and the packed package in a service's project."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.system import System
from tests.e2e.worker_process import eventually
from tests.node_packages import copy_with_packages

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.embedded,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("typescript"),  # one process compiles the client
]

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "typescript"

SIGN_UP = """
import { NotSentError, parseEvent, UserCommands } from "@biome/users";
import { FakeUserCommands, sampleBody } from "@biome/users/testing";

const { QUEUE: queue = "", EMAIL: email = "" } = process.env;
const users = new UserCommands({ queue, source: "/test" });
const password_hash =
  "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo";
const id: string = await users.send("RegisterUser", { email, first_name: "Ada", password_hash });
const event = parseEvent(sampleBody("biome.user.EmailChanged.v1"));
if (event.known && event.type === "biome.user.EmailChanged.v1") {
  const address: string | null = event.data.new_email;
  if (address === null) throw new Error("the sample has no address");
}
await new FakeUserCommands().send("EraseUser", {}, { userId: id });
const nowhere = new UserCommands({ queue: "no-such-queue", source: "/test" });
const error = await nowhere.send("UnbanUser", {}, { userId: id }).catch((thrown) => thrown);
if (!(error instanceof NotSentError) || error.unsent.length !== 1) throw error;
console.log(id);
"""
MISTAKES = {
    "a_field_is_missing.ts": """
        import { UserCommands } from "@biome/users";
        const users = new UserCommands({ source: "/test" });
        await users.send("RegisterUser", { email: "a@example.com", password_hash: "" });
    """,
    "the_command_does_not_exist.ts": """
        import { UserCommands } from "@biome/users";
        await new UserCommands({ source: "/test" }).send("PromoteUser", {});
    """,
    "the_event_does_not_have_the_field.ts": """
        import { parseEvent } from "@biome/users";
        const event = parseEvent("");
        if (event.known && event.type === "biome.user.UserErased.v1") console.log(event.data.email);
    """,
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled copy of the client, beside contracts/ as in the tree."""
    root = tmp_path_factory.mktemp("tree")
    (root / "contracts").symlink_to(ROOT / "contracts")
    (root / "clients").mkdir()
    copy = copy_with_packages(CLIENT, root / "clients" / "typescript")
    run(copy, "node", "node_modules/typescript/bin/tsc")
    return copy


@pytest.fixture(scope="module")
def service(client: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the packed client and the packages that it depends on."""
    tmp_path = tmp_path_factory.mktemp("service")
    run(client, "npm", "pack", "--silent", "--pack-destination", str(tmp_path))
    (archive,) = tmp_path.glob("*.tgz")
    modules = tmp_path / "node_modules"
    (modules / "@biome").mkdir(parents=True)
    shutil.unpack_archive(archive, tmp_path)
    (tmp_path / "package").rename(modules / "@biome" / "users")
    for each in (client / "node_modules").iterdir():
        if each.name != "@biome":
            (modules / each.name).symlink_to(each)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    return tmp_path


def run(folder: Path, *command: str, **environment: str) -> str:
    """Run a program; return what it printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def compiled(folder: Path, programs: Mapping[str, str]) -> str:
    """Compile programs with every check of the compiler; return its errors."""
    for name, source in programs.items():
        (folder / name).write_text(source)
    options = ["--strict", "--module", "nodenext", "--target", "es2023", "--types", "node"]
    return subprocess.run(
        ["node", "node_modules/typescript/bin/tsc", *options, *programs],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    ).stdout


def test_the_generated_types_are_current(client: Path) -> None:
    """`npm run generate` would write the same files."""
    run(client, "node", "scripts/generate.mjs", "--check")


def test_its_own_tests_pass(client: Path) -> None:
    """They are written for Node's test runner."""
    files = sorted(str(path.relative_to(client)) for path in (client / "test").iterdir())
    assert "# fail 0" in run(client, "node", "--test", "--test-reporter=tap", *files)


def test_a_service_registers_a_user_with_the_packed_client(service: Path, system: System) -> None:
    """It is compiled with every check, and a real worker decides its command."""
    assert compiled(service, {"program.ts": SIGN_UP}) == ""
    with system.worker() as worker:
        worker.ready()
        command_id = run(
            service,
            "node",
            "program.js",
            AWS_ENDPOINT_URL=system.endpoint,
            AWS_REGION=os.environ["AWS_DEFAULT_REGION"],
            QUEUE=system.names.command_queue,
            EMAIL=f"{system.names.table}@example.com",
        ).strip()
        registered = "biome.user.UserRegistered.v1", command_id
        eventually(lambda: registered in {(e["type"], e["causationid"]) for e in system.events()})


def test_the_compiler_finds_a_mistake(service: Path) -> None:
    """Each program has one error."""
    errors = compiled(service, MISTAKES).splitlines()
    files = [line.partition("(")[0] for line in errors if ": error TS" in line]
    assert sorted(files) == sorted(MISTAKES), errors
