"""Check that the commands in lines of shell exist.

Each program that the pages name has a check here: `user-worker` by its own parser, `make` by the
Makefile, `aws` by the SDK's models of the services. A program without a check is an error.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import botocore.session
import yaml
from botocore import xform_name
from botocore.exceptions import UnknownServiceError
from typer.exceptions import Exit, TyperException
from typer.main import get_command

from cli.commands import app
from tests.docs.pages import ROOT
from tests.docs.shell import CommandError, commands

_OTHERS = """
    . : [ awk base64 cat cd chmod command cp curl cut date diff echo exit export false git
    grep head jq kill ls mkdir mv openssl printf pwd read rm sed set sha256sum sleep sort
    source tail tee test tr trap true uname uniq uuidgen wait wc xxd
"""
OTHERS: Final = frozenset(_OTHERS.split())
"""Common programs, which are not checked."""
OURS: Final = re.compile(
    r"^(?:\w+=\S+ )*(?:\.venv/bin/)?"
    r"(?:(?:user-worker|make|docker compose|celery)(?: |$)|(?:aws|cd|node|npm|pip|pytest|python) )"
)
"""How one of our commands starts in a sentence."""
_FILE = re.compile(r"^[\w-]+(?:\.\w+)+$")
_MAKEFILE: Final = (ROOT / "Makefile").read_text()
_ARGUMENTS_OF: Final = {
    "bench": "benchmarks/__main__.py",
    "chaos": "tests/chaos/__main__.py",
    "fuzz": "tests/fuzz/__main__.py",
    "audit": "scripts/supply_chain.py",
    "sbom": "scripts/supply_chain.py",
}
"""Files with the options that a target's ARGS may name."""
_AWS = """
    --cli-input-json --endpoint-url --max-items --no-cli-pager --output --profile --query --region
"""
_AWS_OPTIONS: Final = frozenset(_AWS.split())


def check_all(text: str, folder: Path, *, whole: bool = True) -> int:
    """Check each command in the text; return their number.

    Args:
        text: Lines of shell.
        folder: An empty folder, in which files that commands name are created.
        whole: Whether required arguments must be given; a sentence may name a command alone.

    Raises:
        CommandError: A program, command, option, target, operation or file does not exist.
    """
    count = 0
    for words in commands(text):
        check_words(words, folder, whole=whole)
        count += 1
    return count


def check_words(words: list[str], folder: Path, *, whole: bool) -> None:
    """Check one command; see `check_all`."""
    program, *arguments = words
    program = program.removeprefix(".venv/bin/")
    if program in OTHERS:
        return
    if program == "user-worker":
        _user_worker(arguments, folder, whole=whole)
    elif program in _PROGRAMS:
        _PROGRAMS[program](arguments, folder)
    elif "/" in program and (ROOT / program).is_file():
        return
    else:
        raise CommandError(
            f"{program}: not a program that tests/docs/programs.py knows; add a check"
        )


# --- our own -------------------------------------------------------------------------------


@cache
def _group() -> Any:
    return get_command(app)


def _user_worker(arguments: list[str], folder: Path, *, whole: bool) -> None:
    # A path of the repository is relative to the root, where the command is typed.
    rest = [str(ROOT / each) if (ROOT / each).exists() else each for each in arguments[1:]]
    arguments = [*arguments[:1], *rest]
    for each in arguments:
        if _FILE.match(each):
            (folder / each).touch()
    group = _group()
    first = next(iter(arguments), "--help")
    if first.endswith("-completion"):  # processed while it is parsed
        if not any(first in each.opts for each in group.params):
            raise CommandError(f"user-worker {first}: no such option")
        return
    try:
        context = group.make_context("user-worker", list(arguments))
        found = group.resolve_command(context, [*context._protected_args, *context.args])
        name, command, rest = found
        command.make_context(name, rest, parent=context)
    except Exit:  # --help
        return
    except TyperException as error:
        unknown = type(error).__name__ == "NoSuchOption" or "No such command" in str(error)
        if (whole and not _has_variable(arguments)) or unknown:
            raise CommandError(f"user-worker {shlex.join(arguments)}: {error}") from error


def _has_variable(arguments: list[str]) -> bool:
    return any("$" in each for each in arguments)


def _make(arguments: list[str], folder: Path) -> None:
    names = [each for each in arguments if "=" not in each]
    targets = set(re.findall(r"^([a-z0-9-]+):", _MAKEFILE, re.MULTILINE))
    for name in names:
        if name not in targets:
            raise CommandError(f"make {name}: no such target")
    for variable, _, value in (each.partition("=") for each in arguments if "=" in each):
        if f"$({variable})" not in _MAKEFILE:
            raise CommandError(f"make: the Makefile takes no {variable}")
        if variable == "ARGS":
            _make_arguments(names[0], shlex.split(value), folder)


def _make_arguments(target: str, arguments: list[str], folder: Path) -> None:
    """Check the arguments that a target passes on."""
    if target == "run":
        _user_worker(["dev", "--samples", *arguments], folder, whole=True)
    elif target in {"test", "test-e2e", "test-isolation", "test-localstack"}:
        _pytest(arguments, folder)
    elif target in _ARGUMENTS_OF:
        source = (ROOT / _ARGUMENTS_OF[target]).read_text()
        for option in arguments:
            if option.startswith("--") and f'"{option}"' not in source:
                raise CommandError(f"make {target}: {option} is no option of it")
    elif not (target == "lock" and arguments == ["--upgrade"]):
        raise CommandError(f"make {target}: what it takes is not known to tests/docs/programs.py")


def _pytest(arguments: list[str], _: Path) -> None:
    for each in arguments:
        if "/" in each and not (ROOT / each.partition("::")[0]).exists():
            raise CommandError(f"pytest: there is no {each}")


def _python(arguments: list[str], folder: Path) -> None:
    match arguments:
        case ["-m", "pytest", *rest]:
            _pytest(rest, folder)
        case ["-m", module, *_]:
            _module(module)
        case ["-c", program, *_]:
            compile(program, "-c", "exec")
        case [script, *_] if script.endswith(".py"):
            _script([script], folder)


def _module(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        raise CommandError(f"python: there is no module {name}")


def _script(arguments: list[str], _: Path) -> None:
    for folder in (ROOT, ROOT / "examples", ROOT / "examples" / "node"):
        if (folder / arguments[0]).is_file():
            return
    raise CommandError(f"there is no {arguments[0]}")


def _celery(arguments: list[str], _: Path) -> None:
    match arguments:
        case ["-A", module, "worker", *_]:
            _module(module)
        case _:
            raise CommandError("celery: not the form that the worker knows")


# --- others' -------------------------------------------------------------------------------


def _docker(arguments: list[str], _: Path) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    match arguments:
        case ["compose", ("up" | "down" | "logs" | "ps" | "build" | "exec" | "run"), *rest]:
            for each in rest:
                if not each.startswith("-") and each not in services:
                    raise CommandError(f"docker compose: there is no service {each}")
        case ["build" | "image" | "login" | "pull" | "push" | "run", *_]:
            return
        case _:
            raise CommandError(
                f"docker {shlex.join(arguments)}: not known to tests/docs/programs.py"
            )


def operations(service: str) -> frozenset[str]:
    """Return the operations of a service, by its name in policies and on the command line."""
    return frozenset(_service(service).operation_names)


@cache
def _service(name: str) -> Any:
    return botocore.session.Session().get_service_model(name)


@cache
def _waiters(service: str) -> dict[str, str]:
    """Return the operations of a service's waiters; both are named as on the command line."""
    loader = botocore.session.Session().get_component("data_loader")
    waiters = loader.load_service_model(service, "waiters-2")["waiters"]
    return {xform_name(k, "-"): xform_name(v["operation"], "-") for k, v in waiters.items()}


def _aws(arguments: list[str], _: Path) -> None:
    plain = [each for each in arguments if not each.startswith("$")]
    if len(plain) < 2:
        return  # a function that passes its arguments on
    service, name, *options = plain
    if (service, name) == ("cloudformation", "deploy"):
        _deploy(options)
        return
    if (service, name) == ("ecr", "get-login-password"):  # implemented by the command line itself
        return
    try:
        model = _service(service)
    except UnknownServiceError as error:
        raise CommandError(f"aws {service}: no such service") from error
    operations = {xform_name(each, "-"): each for each in model.operation_names}
    if name == "wait":  # its options are those of the operation that it repeats
        waiters = _waiters(service)
        name, *options = options
        if name not in waiters:
            raise CommandError(f"aws {service} wait {name}: no such waiter")
        name = waiters[name]
    if name not in operations:
        raise CommandError(f"aws {service} {name}: no such operation")
    shape = model.operation_model(operations[name]).input_shape
    known = {f"--{xform_name(each, '-')}" for each in (shape.members if shape else ())}
    for option in options:
        if option.startswith("--") and option.partition("=")[0] not in known | _AWS_OPTIONS:
            raise CommandError(f"aws {service} {name}: no option {option}")


def _deploy(options: list[str]) -> None:
    """Check a stack's deployment: the template exists, and has these parameters."""
    asked = argparse.ArgumentParser(exit_on_error=False)
    asked.add_argument("--stack-name", required=True)
    asked.add_argument("--template-file", required=True)
    asked.add_argument("--capabilities", nargs="*", default=[])
    asked.add_argument("--parameter-overrides", nargs="*", default=[])
    asked.add_argument("--no-execute-changeset", action="store_true")
    try:
        given = asked.parse_args(options)
    except (argparse.ArgumentError, SystemExit) as error:
        raise CommandError(f"aws cloudformation deploy: {error}") from error
    path = ROOT / given.template_file
    if not path.is_file():
        raise CommandError(f"aws cloudformation deploy: there is no {given.template_file}")
    parameters = path.read_text().partition("\nParameters:\n")[2].partition("\n\n")[0]
    for each in given.parameter_overrides:
        name = each.partition("=")[0]
        if not re.search(rf"^  {name}:$", parameters, re.MULTILINE):
            raise CommandError(f"{given.template_file} has no parameter {name}")


def _kubectl(arguments: list[str], _: Path) -> None:
    match arguments:
        case ["apply" | "diff", "-k", folder]:
            if not (ROOT / folder / "kustomization.yaml").is_file():
                raise CommandError(f"kubectl: there is no kustomization in {folder}")
        case ["create" | "describe" | "get" | "logs" | "port-forward" | "rollout", *_]:
            return
        case _:
            raise CommandError(f"kubectl {shlex.join(arguments)}: not known here")


def _any(_: list[str], __: Path) -> None:
    """Accept anything: it installs others' packages, or is defined on the page."""


_PROGRAMS: Final[dict[str, Callable[[list[str], Path], None]]] = {
    "aws": _aws,
    "celery": _celery,
    "docker": _docker,
    "exported": _any,  # the runbook's function
    "build/producer": _any,  # tests/e2e/test_typed_producers.py runs the page
    "go": _any,  # as build/producer
    "java": _any,  # as build/producer
    "javac": _any,  # as build/producer
    "kubectl": _kubectl,
    "logged": _any,  # the runbook's function
    "scaling": _any,  # the runbook's function
    "summed": _any,  # the runbook's function
    "tasks": _any,  # the runbook's function
    "make": _make,
    "node": _script,
    "npm": _any,
    "npx": _any,
    "pip": _any,
    "pytest": _pytest,
    "python": _python,
    "python3": _python,
    "sh": _script,
    "sqs": lambda arguments, folder: _aws(["sqs", *arguments], folder),  # an example's function
}
