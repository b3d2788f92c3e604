"""The options of `user-worker console`: each mistake is one line, and nothing is served."""

from __future__ import annotations

import getpass
import socket

import pytest

from cli.app import run
from cli.commands.console import PASSWORD, person
from console.server import listen
from worker.errors import CliError, ExitCode

GOOD = "correct horse battery staple"
PROXY = "--proxy-header=x-auth-request-user"


@pytest.mark.parametrize(
    ("options", "password", "texts"),
    [
        (["--host=10.0.0.1"], None, ("others can open the console", PASSWORD)),
        (["--host="], None, ("on all addresses others can open", PASSWORD)),
        (["--host=10.0.0.1", "--proxy-header="], None, ("not the name of a header", "correct it")),
        (["--proxy-header=x y"], None, ("not the name of a header", "correct it")),
        (["--proxy-header=x-é"], None, ("not the name of a header", "correct it")),
        (["--proxy-header=User-Agent"], None, ("every browser sends", "only the proxy sets")),
        ([PROXY], GOOD, ("cannot be combined", "use one")),
        ([], "short", ("shorter than 16", "generated")),
        ([], f"{GOOD}\n", ("cannot be typed", "line break")),
        ([], f"{GOOD}\udcff", ("cannot be typed", "control characters")),
        (["--host=0.0.0.0"], GOOD, ("does not know its name", "--public-host")),
        (["--host=::"], GOOD, ("does not know its name", "--public-host")),
        (["--public-host=https://a.example"], None, ("not a value of the Host", "without scheme")),
        (["--public-host=a.example/x"], None, ("not a value of the Host", "without scheme")),
        (["--as=ada@example.com"], None, ("--as must have 1 to 256", "correct it")),
        (["--as="], None, ("--as must have 1 to 256", "correct it")),
    ],
)
def test_a_wrong_option_is_a_usage_error(
    options: list[str],
    password: str | None,
    texts: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before anything listens."""
    monkeypatch.delenv(PASSWORD, raising=False)
    if password is not None:
        monkeypatch.setenv(PASSWORD, password)
    assert run(["console", "--port=0", *options]) == ExitCode.USAGE
    text = " ".join(capsys.readouterr().err.split())
    assert all(each in text for each in texts)
    assert "Traceback" not in text


@pytest.mark.parametrize("host", ["[::1]", "10.255.255.1", "no host", "a" * 300, "é" * 80, "."])
def test_an_address_of_another_machine_is_named(host: str) -> None:
    """The port is not at fault."""
    with pytest.raises(CliError, match="use an address of this machine"):
        listen(host, 8600).close()


def test_a_port_in_use_is_named() -> None:
    """Another console, for example."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CliError, match=f"port {port}: .*choose another --port"):
            listen("127.0.0.1", port)


def test_the_account_is_the_person_if_its_name_is_a_valid_actor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise no command could be sent: the worker refuses an address as actor."""
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    assert person() == "ada"
    monkeypatch.setattr(getpass, "getuser", lambda: "ada@corp.example")
    assert person().startswith("uid ")
