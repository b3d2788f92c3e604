"""The TypeScript client: its own tests, and the packed package in a service's project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.dynamodb import mapper, records
from domain.user import Ban
from tests.builders import NOW, email, token, uid
from tests.e2e.system import System
from tests.e2e.worker_process import eventually
from tests.node_packages import compiled_client, copy_with_packages
from tests.persistence import new_user, outcome, session, two_factor
from tests.unit.clients.addresses import MALFORMED, accepted_addresses
from tests.unit.clients.test_client_items import OLDER

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("typescript"),  # one process compiles the client
]

ROOT = Path(__file__).parents[2]
SIGN_UP = """
import {
  LoginReader, NotSentError, OutcomeListener, parseEvent, UserCommands, UserReader,
} from "@biome/users";
import { FakeUserCommands, sampleBody } from "@biome/users/testing";

const { QUEUE: queue = "", EMAIL: email = "", TABLE: table = "", TOPIC: topic = "" } = process.env;
const outcomes = await new OutcomeListener({ source: "/test", topic }).start();
const users = new UserCommands({ queue, source: "/test" });
const password_hash =
  "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo";
const id: string = await users.send("RegisterUser", { email, first_name: "Ada", password_hash });
const { kind, userId = "" } = await outcomes.answer(id);
if (kind !== "accepted") throw new Error(kind);
const again = await users.send("RegisterUser", { email, first_name: "Eve", password_hash });
if ((await outcomes.answer(again)).code !== "EmailTaken") throw new Error("was registered twice");
await outcomes.close();
const user = await new UserReader({ table }).byEmail(email);
if (user?.userId !== userId || user.passwordHash !== undefined) throw new Error("another user");
const known = await new LoginReader({ table }).get(userId);
if (known?.passwordHash !== password_hash) throw new Error("another hash");
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
    return compiled_client(tmp_path_factory.mktemp("tree"))


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


@pytest.fixture(params=["current", "oldest"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Node of the development environment, and of the oldest version that the client supports."""
    if request.param == "current":
        return "node"
    folder = copy_with_packages(ROOT / "tests" / "node_oldest", tmp_path / "oldest")
    found = [*(folder / "node_modules").glob("node-linux-*/bin/node")]
    if not found:
        pytest.skip("npm has no Node for this platform")
    return str(found[0])


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


def test_its_own_tests_pass(client: Path, runtime: str) -> None:
    """They are written for Node's test runner."""
    files = sorted(str(path.relative_to(client)) for path in (client / "test").iterdir())
    assert "# fail 0" in run(client, runtime, "--test", "--test-reporter=tap", *files)


SUPPORTED = """
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
const [semver, range, lock] = process.argv.slice(1);
const { subset } = createRequire(import.meta.url)(semver);
const packages = Object.entries(JSON.parse(readFileSync(lock, "utf8")).packages);
const refuses = ([, { engines }]) => engines?.node && !subset(range, engines.node);
console.log(JSON.stringify(packages.filter(refuses).map(([name]) => name)));
"""


@pytest.mark.parametrize("folder", ["clients/typescript", "examples/node"])
def test_every_locked_package_supports_the_oldest_node(folder: str) -> None:
    """The AWS SDK raises its own minimum from time to time."""
    npm = shutil.which("npm")
    assert npm is not None
    semver = Path(npm).resolve().parents[1] / "node_modules" / "semver"
    wanted = json.loads((ROOT / folder / "package.json").read_text())["engines"]["node"]
    lock = str(ROOT / folder / "package-lock.json")
    command = ["node", "--input-type=module", "-e", SUPPORTED, str(semver), wanted, lock]
    assert json.loads(run(ROOT, *command)) == []


READ_ITEMS = """
import { readFileSync } from "node:fs";
import {
  parseOutcome, parseOwner, parseSecondFactor, parseSession, parseUser,
} from "./dist/items.js";
const { user, factor, ...rest } = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify({
  user: parseUser(user),
  factor: parseSecondFactor(user, factor),
  owner: parseOwner(rest.address),
  sessions: rest.sessions.map((each) => parseSession(each, true)),
  outcomes: rest.outcomes.map(parseOutcome),
}));
"""


def test_it_reads_what_the_worker_stores(client: Path) -> None:
    """Items of the worker's mapper, in each format that the worker upcasts; times to the ms."""
    phone = replace(session("phone", used=1), started_at=NOW, device="phone", methods=("pwd",))
    ada = replace(
        new_user("ada"),
        live_sessions={phone.session_id: phone.expires_at},
        locked_until=NOW,
        ban=Ban("spam", NOW),
        last_totp_step=7,
    )
    items: dict[str, Any] = {
        "user": mapper.render_user(ada),
        "factor": mapper.render_two_factor(ada.user_id, two_factor()),
        "address": mapper.render_address(email("ada"), ada.user_id),
        "sessions": [mapper.render_session(ada.user_id, phone), OLDER["session", 1]],
        "outcomes": [records.render_outcome(outcome("c", "ada")), OLDER["outcome", 1]],
    }
    found = json.loads(
        subprocess.run(
            ["node", "--input-type=module", "-e", READ_ITEMS],
            cwd=client,
            input=json.dumps(items),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
    )
    now = NOW.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    user = found["user"]
    assert (user["userId"], user["version"], user["email"]) == (ada.user_id, 1, "ada@example.com")
    assert (user["passwordHash"], user["credentialVersion"]) == (ada.password_hash, 1)
    assert (user["lockedUntil"], user["ban"]) == (now, {"until": now})
    assert (user["roles"], user["liveSessions"]) == (["customer"], [phone.session_id])
    assert found["factor"] == {"secretCiphertext": "c2VjcmV0" * 16, "lastTotpStep": 7}
    assert found["owner"] == ada.user_id
    newer, older = found["sessions"]
    assert (newer["family"], newer["parts"]) == (
        phone.refresh_family_hash,
        [*phone.refresh_token_hashes],
    )
    assert (newer["replaced"], newer["replacedAt"]) == (phone.replaced_token_hash, now)
    assert (newer["view"]["startedAt"], newer["view"]["device"]) == (now, "phone")
    assert older["family"][:32] == older["parts"][0] == token("t").stored[:32]
    assert found["outcomes"] == [{"commandId": uid("c"), "version": 1}] * 2


def test_it_finds_an_address_by_the_key_of_the_worker(client: Path) -> None:
    """Otherwise a person could not log in, or would log in to another account."""
    keys = accepted_addresses()
    assert len(keys) > 5_000
    program = """
      import { readFileSync } from "node:fs";
      import { addressKey } from "./dist/addresses.js";
      const key = (text) => { try { return addressKey(text); } catch { return null; } };
      console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(key)));
    """
    done = subprocess.run(
        ["node", "--input-type=module", "-e", program],
        cwd=client,
        input=json.dumps([*keys, *MALFORMED]),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == [*keys.values(), *[None] * len(MALFORMED)]


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
            TABLE=system.names.table,
            TOPIC=system.names.events_topic,
        ).strip()
        registered = "biome.user.UserRegistered.v1", command_id
        eventually(lambda: registered in {(e["type"], e["causationid"]) for e in system.events()})


def test_the_compiler_finds_a_mistake(service: Path) -> None:
    """Each program has one error."""
    errors = compiled(service, MISTAKES).splitlines()
    files = [line.partition("(")[0] for line in errors if ": error TS" in line]
    assert sorted(files) == sorted(MISTAKES), errors
