from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from cli import composition
from cli.app import run
from cli.commands import app
from cli.commands.console import PACKAGES
from worker.errors import ExitCode

ROOT = Path(__file__).parents[3]

COMMANDS = list(get_command(app).commands)  # type: ignore[attr-defined]  # a group


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the only line on standard error."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("snd", "Did you mean 'send'?"),
        ("send --waitt 3", "--wait"),
        ("send --wait soon UnbanUser", "--wait"),
        ("send", "nothing to send"),
        ("send RegisterUsr", "did you mean RegisterUser"),
        ("send UnbanUser --file x", "cannot be combined"),
        ("send --file x --id 5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77", "--id is for one command only"),
        ("send --file /nowhere/at/all", "cannot read /nowhere/at/all"),
        ("events --category emails", "email"),
        ("outcome 5", "UUID"),
        ("user 5", "UUID"),
        ("user a@b", "host name"),
        ("dev --port 99999", "--port"),
        ("dev --once --keep-going", "cannot be combined"),
        ("run --pool fibres", "--pool"),
        ("status extra", "extra"),
    ],
)
def test_what_is_mistyped_is_one_line_and_exit_code_2(
    line: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake on the command line says what is wrong and what was probably meant."""
    assert run(line.split()) == ExitCode.USAGE
    assert says in complaint(capsys)


@pytest.mark.parametrize(
    ("variable", "value", "line", "says"),
    [
        ("USER_WORKER_ENV", "production", "status", "USER_WORKER_ENV"),
        ("USER_WORKER_VISIBILITY_TIMEOUT", "soon", "run", "USER_WORKER_VISIBILITY_TIMEOUT"),
        ("USER_WORKER_REPOSITORY", "memory", "user a@example.com", "REPOSITORY=memory"),
        ("USER_WORKER_REPOSITORY", "postgres", "dev", "USER_WORKER_REPOSITORY"),
        ("AWS_ENDPOINT_URL", "nonsense", "status", "AWS_ENDPOINT_URL"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_3(  # noqa: PLR0917
    variable: str,
    value: str,
    line: str,
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error in the environment names the variable."""
    monkeypatch.setenv(variable, value)
    assert run(line.split()) == ExitCode.ENVIRONMENT
    assert says in complaint(capsys)


@pytest.mark.parametrize("line", ["provision", "dev"])
def test_what_is_for_development_is_refused_in_production(
    line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No table is created, and nothing emulated, where users are real."""
    monkeypatch.setenv("USER_WORKER_ENV", "prod")
    assert run([line]) == ExitCode.USAGE
    assert "prod" in complaint(capsys)


def test_a_region_or_credentials_that_are_not_there_are_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds with an endpoint set too, although the SDK itself would need no region then."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert run(["status"]) == ExitCode.ENVIRONMENT
    assert "no AWS credentials" in complaint(capsys)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert run(["status"]) == ExitCode.ENVIRONMENT
    assert "no AWS region" in complaint(capsys)


def test_an_unexpected_error_is_one_line_and_with_debug_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error's text may contain secrets, so it is shown only on request."""

    def fail() -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(composition, "aws", fail)
    assert run(["status"]) == ExitCode.UNFORESEEN
    line = complaint(capsys)
    assert "RuntimeError" in line
    assert "--debug" in line
    assert "a secret" not in line
    monkeypatch.setenv("USER_WORKER_DEBUG", "1")
    with pytest.raises(RuntimeError):
        run(["status"])


def test_ctrl_c_has_its_exit_code_and_no_output(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user has pressed it and needs no message."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(composition, "aws", interrupt)
    assert run(["status"]) == ExitCode.INTERRUPTED
    assert capsys.readouterr() == ("", "")


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """`user-worker` alone is what a new user types first."""
    assert run([]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert all(command in captured.out + captured.err for command in COMMANDS)
    assert "error" not in captured.err


def test_help_and_mistakes_come_without_loading_what_is_slow() -> None:
    """Neither the SDK, Celery nor the settings are imported before a command needs them."""
    script = (
        "import sys\n"
        "from cli.app import run\n"
        "assert run(['--help']) == 0 and run(['snd']) == 2\n"
        "slow = {'boto3', 'botocore', 'celery', 'kombu', 'ministack', 'worker.settings'}\n"
        "sys.exit(', '.join(slow & sys.modules.keys()) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_the_console_without_its_extra_is_one_line_that_says_what_to_install(
    package: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that is missing ends the command before anything listens or asks AWS."""
    monkeypatch.setitem(sys.modules, package, None)
    assert run(["console"]) == ExitCode.ENVIRONMENT
    assert "pip install 'user-worker[console]'" in complaint(capsys)


def test_the_packages_of_the_console_are_those_of_its_extra() -> None:
    """A package that is added to the extra is looked for, too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {re.split(r"[^\w-]", each)[0] for each in project["optional-dependencies"]["console"]}
    assert {each.replace("-", "_") for each in named} == {*PACKAGES}
