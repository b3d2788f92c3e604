"""The project as it is installed: in an empty environment, and in the image."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("wheel")]  # one process builds it

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
"""All packages of the tree, so that a new one cannot be forgotten."""
IMPORT_ALL = """
import importlib, sys
from pathlib import Path

home = Path(sys.prefix).resolve()
for name in sys.stdin.read().split():
    module = importlib.import_module(name)
    assert Path(module.__file__).resolve().is_relative_to(home), module.__file__
"""


def files() -> set[str]:
    """Every file of the packages, by its path from the root."""
    return {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def modules() -> list[str]:
    """Every module of the packages; what runs when it is imported is left out."""
    paths = (Path(file) for file in sorted(files()) if file.endswith(".py"))
    names = (path.with_suffix("").parts for path in paths if path.name != "__main__.py")
    return [".".join(parts[:-1] if parts[-1] == "__init__" else parts) for parts in names]


@pytest.fixture(scope="module")
def wheel_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel; built from a copy, so that the tree stays clean."""
    source = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, source / package, ignore=ignored)
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    subprocess.run(
        [*command, "--no-build-isolation", "--wheel-dir", str(source), str(source)],
        check=True,
        timeout=100,
    )
    return next(source.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(wheel_file: Path) -> zipfile.ZipFile:
    """The content of the wheel."""
    return zipfile.ZipFile(wheel_file)


@pytest.fixture(scope="module")
def environment(wheel_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and what it depends on from this one: no network is needed.

    A path in a .pth file is searched, but its own .pth files are not read: this project is not
    found there.
    """
    home = tmp_path_factory.mktemp("environment")
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(home)], check=True, timeout=50
    )
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install"]
    subprocess.run(
        [*pip, "--quiet", "--no-deps", "--no-index", str(wheel_file)], check=True, timeout=50
    )
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home


def ran(environment: Path, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program of the environment, outside of the tree."""
    program, *arguments = command
    return subprocess.run(
        [str(environment / "bin" / program), *arguments],
        check=False,
        cwd=environment,
        env={"PATH": str(environment / "bin")},
        input=given,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_the_tree_has_the_packages_that_others_import() -> None:
    """This ensures that the other tests can fail."""
    assert {"adapters", "domain", "operations", "worker"} <= set(PACKAGES)
    assert {"adapters", "adapters.sns.subscription", "cli", "domain.commands"} <= {*modules()}


def test_the_wheel_holds_every_file(wheel: zipfile.ZipFile) -> None:
    """What runs from the tree also runs from the image: no file is missing."""
    assert files() - set(wheel.namelist()) == set()
    for package in PACKAGES:
        assert f"{package}/py.typed" in wheel.namelist()


def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    """The image has neither tests nor benchmarks."""
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert sorted(top for top in tops if not top.endswith(".dist-info")) == PACKAGES


def test_every_module_can_be_imported_from_the_wheel(environment: Path) -> None:
    """No module is imported from the tree."""
    done = ran(environment, "python", "-I", "-c", IMPORT_ALL, given="\n".join(modules()))
    assert done.returncode == 0, done.stderr


def test_the_wheel_brings_the_command(environment: Path) -> None:
    """`user-worker` is there after an installation, and knows its version."""
    version = ran(environment, "user-worker", "--version")
    assert version.returncode == 0, version.stderr
    assert re.search(r"\d+\.\d+\.\d+", version.stdout)
    shown = ran(environment, "user-worker", "--help")
    assert shown.returncode == 0, shown.stderr
    assert "send" in shown.stdout


def test_the_console_starts_from_the_wheel(environment: Path) -> None:
    """Its templates, script and style are installed: a page is rendered and complete."""
    assert {"console/templates/jobs.html", "console/static/console.css"} <= files()
    console = subprocess.Popen(
        [str(environment / "bin" / "user-worker"), "console", "--port", "0"],
        cwd=environment,
        env={
            "PATH": str(environment / "bin"),
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",  # nothing answers, and no page below needs it
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert console.stderr is not None
        told = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", console.stderr.readline())
        assert told
        address, _, _ = told[0].partition("?")
        browser = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))
        with pytest.raises(HTTPError, match="503"):  # the first page reads AWS
            browser.open(told[0], timeout=30)
        with browser.open(f"{address}jobs", timeout=10) as page:
            text = page.read().decode()
        linked = re.findall(r'(?:href|src)="/(static/[^"]+)"', text)
        assert len(linked) >= 2
        for each in linked:
            with browser.open(address + each, timeout=10) as file:
                assert file.read()
    finally:
        console.terminate()
        _, log = console.communicate(timeout=10)
    assert "console_reading_failed" in log  # in the form of the worker's log
    assert "Traceback" not in log
    assert "\u2502" not in log  # the frame around the values of a traceback


def test_the_image_is_built_from_the_same_packages() -> None:
    """The Dockerfile copies each of them, and its context lets each of them in."""
    copied = re.findall(r"^COPY (\w+) \1$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines()}
    assert sorted(copied) == PACKAGES
    assert set(PACKAGES) <= allowed
