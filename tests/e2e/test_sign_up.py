"""The sign-up service and the mailer of examples/, in both languages, with a real worker."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from biome_users import LoginReader, UserView
from biome_users.second_factor import totp_code
from tests.e2e.account import ROOT, World, client
from tests.e2e.worker_process import eventually

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("readme"),
]

KEYS = {
    "SECOND_FACTOR_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
    "TOKEN_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
}
PYTHON = """
import base64, json, os, sys, uuid
sys.path.insert(0, "examples")
from biome_users import MailedTokens, RefreshToken, commands as c
from biome_users.second_factor import new_totp_secret
from passwords import Passwords
from second_factor import SecretCipher
from sign_up import Accounts

a = Accounts(
    f"/signup/{uuid.uuid4()}",
    MailedTokens(os.environ["TOKEN_KEY"].encode()),
    Passwords(),
    SecretCipher(base64.b64decode(os.environ["SECOND_FACTOR_KEY"])),
)
secret = new_totp_secret()
steps = {
    "register": a.register,
    "verify": lambda user_id, token: a.confirm(c.VerifyEmail, user_id, token),
    "enable": lambda user_id: (a.enable_second_factor(user_id, secret), secret.hex())[1],
    "log in": lambda *given: str(a.log_in(*given)),
    "refresh": lambda text: str(a.refresh(RefreshToken.parse(text))),
    "change": a.change_email,
    "confirm": lambda user_id, token: a.confirm(c.ConfirmEmailChange, user_id, token),
    "forgot": a.forgot_password,
    "reset": a.reset_password,
}
with a.outcomes:
    print("ready", flush=True)
    for line in sys.stdin:
        name, *given = json.loads(line)
        try:
            answer = steps[name](*given)
        except PermissionError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)
"""
NODE = """
import { createInterface } from "node:readline";
import { newTotpSecret, RefreshToken } from "@biome/users";
import * as a from "./sign_up.mjs";

const secret = newTotpSecret();
const steps = {
  register: a.register,
  verify: a.verify,
  enable: async (userId) => (await a.enableSecondFactor(userId, secret), secret.toString("hex")),
  "log in": async (...given) => (await a.logIn(...given)).text(),
  refresh: async (text) => (await a.refresh(RefreshToken.parse(text))).text(),
  change: a.changeEmail,
  confirm: a.confirmEmail,
  forgot: a.forgotPassword,
  reset: a.resetPassword,
};
console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...given] = JSON.parse(line);
  const answer = await steps[name](...given).catch((error) => ({ error: error.message }));
  console.log(JSON.stringify(answer ?? null));
}
await a.outcomes.close();
"""


class Service:
    """A running sign-up service, and the mails that the mailer has written."""

    def __init__(self, process: subprocess.Popen[str], mails: Path) -> None:
        self._process = process
        self._mails = mails

    def do(self, *step: str) -> Any:
        """Call a function of the service; return its result or `{"error": code}`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(step), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def mailed(self, user_id: str, subject: str) -> tuple[str, str]:
        """Wait for a mail to a user; return its recipient and the token."""

        def found() -> list[tuple[str, str]]:
            rows = [line.split("\t") for line in self._mails.read_text().splitlines()]
            return [(row[1], row[3]) for row in rows if (row[0], row[2]) == (user_id, subject)]

        (mail,) = eventually(found, 30, f"the mail {subject}")
        return mail


def subscribe(world: World, queue: str) -> None:
    """Create the mailer's queue, which receives the personal topic."""
    sns = client("sns", world.environment)
    topics = [topic["TopicArn"] for topic in sns.list_topics()["Topics"]]
    (topic,) = [arn for arn in topics if arn.endswith(":user-events-personal")]
    arn = f"{topic.rpartition(':')[0].replace(':sns:', ':sqs:')}:{queue}"
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    world.sqs.create_queue(QueueName=queue, Attributes={"Policy": policy})
    raw = {"RawMessageDelivery": "true"}
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=raw)


@contextmanager
def serving(world: World, command: list[str], mailer: list[str], folder: Path) -> Iterator[Service]:
    """Run service and mailer."""
    environment = world.environment | KEYS
    queue, mails = f"user-events-to-mailer-{uuid.uuid4().hex[:8]}", world.folder / uuid.uuid4().hex
    subscribe(world, queue)
    with (
        mails.open("w") as output,
        subprocess.Popen([*mailer, queue], cwd=folder, env=environment, stdout=output) as mailing,
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield Service(process, mails)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(40) == 0
            assert mailing.poll() is None
        finally:
            process.kill()
            mailing.kill()


@pytest.fixture(params=["python", "node"])
def service(request: pytest.FixtureRequest, world: World) -> Iterator[Service]:
    """Service and mailer in each language."""
    if request.param == "python":
        command = [sys.executable, "-c", PYTHON]
        mailer = [sys.executable, "examples/mailer.py"]
        folder = ROOT
    else:
        folder = request.getfixturevalue("node")
        (folder / "driver.mjs").write_text(NODE)
        command, mailer = ["node", "driver.mjs"], ["node", "mailer.mjs"]
    with serving(world, command, mailer, folder) as made:
        yield made


def read(world: World, email: str) -> UserView | None:
    """Read a user by address."""
    return LoginReader(client=client("dynamodb", world.environment)).by_email(email)


def test_a_person_signs_up_logs_in_and_recovers_the_account(world: World, service: Service) -> None:
    """Registration, verification, second factor, two tabs, another address and a reset."""
    name = uuid.uuid4().hex[:8]
    email, moved = f"ada.{name}@example.com", f"countess.{name}@example.com"

    user_id = service.do("register", email, "Ada", "first password")
    assert service.do("register", email, "Eve", "other password") == {"error": "EmailTaken"}
    to, token = service.mailed(user_id, "Verify your address")
    assert to == email
    assert service.do("verify", user_id, "0" * 64) == {"error": "TokenInvalid"}
    assert "error" not in (service.do("verify", user_id, token) or {})
    user = read(world, email)
    assert user is not None
    assert user.email_verified

    assert service.do("log in", email, "a wrong password") == {"error": "WrongPassword"}
    secret = bytes.fromhex(service.do("enable", user_id))
    assert service.do("log in", email, "first password") == {"error": "SecondFactorRequired"}
    code = totp_code(secret, int(time.time()) // 30)
    first = service.do("log in", email, "first password", code)
    assert service.do("log in", email, "first password", code) == {"error": "SecondFactorRequired"}

    tabs = [service.do("refresh", first), service.do("refresh", first)]
    assert len({first, *tabs}) == 3
    following = [service.do("refresh", tab) for tab in tabs]
    assert all(isinstance(each, str) for each in following)

    service.do("change", user_id, moved)
    to, token = service.mailed(user_id, "Confirm your new address")
    assert to == moved
    service.do("confirm", user_id, token)
    assert read(world, email) is None
    user = read(world, moved)
    assert user is not None

    service.do("forgot", moved)
    to, token = service.mailed(user_id, "Reset your password")
    assert to == moved
    service.do("reset", user_id, token, "second password")
    assert service.do("refresh", following[0]) == {"error": "SessionNotFound"}
    assert service.do("log in", moved, "first password") == {"error": "WrongPassword"}
    late = totp_code(secret, int(time.time()) // 30 + 1)
    assert isinstance(service.do("log in", moved, "second password", late), str)


def test_the_examples_have_fewer_than_60_lines() -> None:
    """Blank lines do not count."""
    for path in ("sign_up.py", "mailer.py", "node/sign_up.mjs", "node/mailer.mjs"):
        text = (ROOT / "examples" / path).read_text()
        assert sum(line != "" for line in text.splitlines()) < 60, path
