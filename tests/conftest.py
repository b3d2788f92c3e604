"""Fixtures for every test: its own AWS and resource names, and no access to other machines.

Fixtures to request: `aws_endpoint`, `resource_names`, `fifo_resource_names`. The environment has
fake credentials and a region, and none of the caller's own settings.
"""

from __future__ import annotations

import functools
import gc
import http.client
import importlib
import os
import secrets
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import botocore.compat
import botocore.hooks
import hypothesis
import pytest
import typer.main
from botocore import useragent
from botocore.hooks import EVENT_ALIASES, EventAliaser
from botocore.loaders import Loader
from structlog.dev import ConsoleRenderer, plain_traceback

from operations.embedded_aws import EmbeddedAws
from tests.emitted import (  # noqa: F401  # pytest finds them here
    _listening,
    pytest_runtest_makereport,
)
from tests.node_packages import link_node

REGION: Final = "us-east-1"
GIVEN_ENDPOINT: Final = os.environ.get("AWS_ENDPOINT_URL")
UNIT: Final = Path(__file__).parent / "unit"
PROGRAMS: Final = frozenset({"browser", "e2e", "isolation"})
"""Folders in which every test runs real programs."""
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost", ""})
COLLECTOR_THRESHOLDS: Final = (50_000, 20, 100)
"""For `gc.set_threshold`. With Python's own, the garbage collector takes a tenth of the processor
time of unit tests."""

# The time of an example depends more on other work of the machine than on the code.
hypothesis.settings.register_profile(
    "shared-machine",
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("shared-machine")

# A background job of a shell ignores Ctrl-C, and so would every program that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True, slots=True)
class ResourceNames:
    """Names that no other test uses; the fields are those of `Settings`."""

    table: str
    command_queue: str
    dead_letter_queue: str
    quarantine_queue: str
    events_topic: str
    personal_topic: str

    @classmethod
    def unique(cls, *, fifo: bool = False) -> ResourceNames:
        """Create unique names; with `fifo`, those of queues and topic end in `.fifo`."""
        mark = uuid.uuid4().hex[:12]
        suffix = ".fifo" if fifo else ""
        return cls(
            table=f"users-{mark}",
            command_queue=f"commands-{mark}{suffix}",
            dead_letter_queue=f"commands-dlq-{mark}{suffix}",
            quarantine_queue=f"commands-quarantine-{mark}{suffix}",
            events_topic=f"events-{mark}{suffix}",
            personal_topic=f"events-{mark}-personal{suffix}",
        )


@pytest.fixture
def resource_names() -> ResourceNames:
    """Names of table, queues and topic for this test only."""
    return ResourceNames.unique()


@pytest.fixture
def fifo_resource_names() -> ResourceNames:
    """Like `resource_names`, with FIFO queues and a FIFO topic."""
    return ResourceNames.unique(fifo=True)


# --- AWS -----------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def _no_aws_of_the_callers() -> Iterator[None]:
    """Prevent access to a real account: credentials are fake and no endpoint is set."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "USER_WORKER_")):
                patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session", autouse=True)
def _node_of_the_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use the same Node in every test, whatever the machine has."""
    folder = tmp_path_factory.mktemp("node")
    link_node(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder), prepend=os.pathsep)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_width_of_the_callers() -> Iterator[None]:
    """Unset COLUMNS, which pytest-xdist sets: output has the width of a pipe."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COLUMNS", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _read_models_once() -> Iterator[None]:
    """Share the data of botocore's own files, which do not change, among all sessions.

    For its first client a session reads a megabyte of JSON and looks into 400 folders, and a run of
    all tests creates some thousand sessions. Moto changes the data that it has read, so its own
    class of loader is excluded.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("load_data_with_path", "list_available_services"):
            patch.setattr(Loader, name, _shared(getattr(Loader, name)))
        patch.setattr(EventAliaser, "__init__", _knowing_names(EventAliaser.__init__))
        patch.setattr(botocore.hooks, "accepts_kwargs", _accepts_kwargs)
        clean = functools.cache(useragent.sanitize_user_agent_string_component)
        patch.setattr(useragent, "sanitize_user_agent_string_component", clean)
        yield


@pytest.fixture(scope="session", autouse=True)
def _let_moto_repeat_less() -> Iterator[None]:
    """Share among all calls what moto computes for each call, message or attribute of a message.

    It converts the attribute's name, and computes the current time from two dates. Both together
    take half of the time of tests with many dead letters. For each message that it returns, it
    counts all messages of the queue three times, to read how long the queue keeps messages. It
    lists the methods of a service for each call. Each `mock_aws` registers 1,300 addresses for
    the package requests, which no test uses; botocore's calls do not go that way. It draws each
    letter of a receipt handle by itself.
    """
    if "moto" not in sys.modules:  # no test of this run uses it
        yield
        return
    utils, models, responses, queues = map(
        importlib.import_module,
        ("moto.core.utils", "moto.core.models", "moto.core.responses", "moto.sqs.models"),
    )

    def is_kept(self: Any, queue_name: str, message: Any) -> bool:
        kept: int = self.get_queue(queue_name).message_retention_period
        sent: float = message.sent_timestamp / 1000
        return kept + sent > time.time()

    with pytest.MonkeyPatch.context() as patch:
        convert = functools.cache(utils.camelcase_to_underscores)
        for module in (responses, queues):
            patch.setattr(module, "camelcase_to_underscores", convert)
        patch.setattr(queues, "unix_time_millis", lambda: time.time() * 1000)
        patch.setattr(queues.SQSBackend, "is_message_valid_based_on_retention_period", is_kept)
        listed = functools.cache(responses.method_names_from_class)
        patch.setattr(responses, "method_names_from_class", listed)
        patch.setattr(models, "RESPONSES_METHODS", ())
        patch.setattr(queues, "generate_receipt_handle", functools.partial(secrets.token_hex, 92))
        yield


@pytest.fixture(scope="session", autouse=True)
def _build_command_line_once() -> Iterator[None]:
    """Share the parsers of the command line, which a process otherwise builds for one run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def _plain_tracebacks() -> Iterator[None]:
    """Format exceptions of log lines without Rich, which takes seconds for one with its locals.

    It is used only where nothing has configured logging, as a worker and the command line do.
    """
    renderer = ConsoleRenderer.get_active()
    before = renderer.exception_formatter
    renderer.exception_formatter = plain_traceback
    yield
    renderer.exception_formatter = before


def _accepts_kwargs(handler: Callable[..., object]) -> object:
    """Return a true value if a handler takes any keyword; a session asks that of a hundred."""
    return _function_accepts_kwargs(getattr(handler, "__func__", handler))


_function_accepts_kwargs = functools.cache(botocore.compat.accepts_kwargs)


def _shared(read: Callable[..., object]) -> Callable[..., object]:
    """Return a method of loaders that caches results by name, for all loaders."""
    known: dict[tuple[str, ...], object] = {}

    def remembered(loader: Loader, *name: str, **named: str) -> object:
        if type(loader) is not Loader:
            return read(loader, *name, **named)
        key = (*name, *named.values(), *loader.search_paths)
        if key not in known:
            known[key] = read(loader, *name, **named)
        return known[key]

    return remembered


def _knowing_names(init: Callable[..., None]) -> Callable[..., None]:
    """Share the cache of alias names among all emitters of botocore's events.

    For each client a session looks up 900 names in a list of aliases, which takes half of the time
    that creating a client takes.
    """
    known: dict[str, str] = {}

    def initialised(self: Any, *arguments: Any, **named: Any) -> None:
        init(self, *arguments, **named)
        if self._event_aliases == EVENT_ALIASES:
            self._alias_name_cache = known

    return initialised


@pytest.fixture(scope="session")
def aws_endpoint() -> Iterator[str]:
    """The URL of the AWS endpoint.

    It is the one that `AWS_ENDPOINT_URL` named when the tests were started, or an embedded one for
    each test process. While a test with this fixture runs, `AWS_ENDPOINT_URL` is set to it, for
    clients created without arguments and for child processes.
    """
    if GIVEN_ENDPOINT is not None:
        yield GIVEN_ENDPOINT
        return
    with EmbeddedAws() as aws:
        yield aws.endpoint_url


@pytest.fixture(autouse=True)
def _endpoint_in_environment(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "aws_endpoint" in request.fixturenames:
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("aws_endpoint"))


def pytest_configure(config: pytest.Config) -> None:
    """Refuse an endpoint that is not on this machine, or that does not answer."""
    if GIVEN_ENDPOINT is None or hasattr(config, "workerinput"):
        return
    parts = urlsplit(GIVEN_ENDPOINT)
    if parts.scheme != "http" or parts.hostname not in LOOPBACK:
        raise pytest.UsageError(f"AWS_ENDPOINT_URL={GIVEN_ENDPOINT}: tests use this machine only")
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=5)
    try:
        connection.request("GET", "/_localstack/health")
        connection.getresponse().read()
    except OSError as error:
        raise pytest.UsageError(
            f"no AWS answers at AWS_ENDPOINT_URL={GIVEN_ENDPOINT} ({error}): start LocalStack"
        ) from error
    finally:
        connection.close()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect tests without the garbage collector.

    The modules and tests of a collection stay until the end, so the collector would look through
    more and more of them in vain: that takes a third of the time of a collection, and afterwards a
    part of every test. For the tests themselves, it starts less often than by default.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(*COLLECTOR_THRESHOLDS)
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by folder and by fixture; skip those that need AWS's own DynamoDB without it.

    Every test with the fixture `aws_endpoint` gets the marker `aws`, and so runs against LocalStack
    too. If several processes share the tests, slow ones start first and then groups, so that none
    is left for the end, when the other processes are idle.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)
    for item in items:
        if "aws_endpoint" in getattr(item, "fixturenames", ()):
            item.add_marker("aws")
        if item.path.parent.name in PROGRAMS:
            item.add_marker("e2e")
        if item.path.parent.name == "isolation":
            item.add_marker("isolation")
        if GIVEN_ENDPOINT is None and item.get_closest_marker("localstack"):
            item.add_marker(
                pytest.mark.skip(reason="needs AWS's own DynamoDB: make test-localstack")
            )


def _turn(item: pytest.Item) -> int:
    """Return the place of a test in the order: slow tests, groups, and the others."""
    if item.get_closest_marker("slow"):
        return 0
    return 1 if item.get_closest_marker("xdist_group") else 2


# --- the network ---------------------------------------------------------------------------


class NetworkBlockedError(AssertionError):
    """A test used an address that it must not use."""


class _Network:
    """Decides which addresses may be used; Python calls it for every one (see PEP 578).

    An audit hook, unlike a patched `socket`, also sees name look-ups, and cannot be lost. Because
    it cannot be removed either, there is one for the whole run.
    """

    def __init__(self) -> None:
        self.loopback_allowed = True

    def audit(self, event: str, args: tuple[object, ...]) -> None:
        """Raise NetworkBlockedError for a forbidden address."""
        match event, args:
            case ("socket.getaddrinfo", (host, *_)):
                self._decide(host)
            case ("socket.connect" | "socket.sendto", (_, (host, *_))):
                self._decide(host)  # a string is a file on this machine

    def _decide(self, host: object) -> None:
        name = host.decode() if isinstance(host, bytes) else host
        if name is None or (self.loopback_allowed and name in LOOPBACK):
            return
        where = "no address at all" if not self.loopback_allowed else "this machine only"
        raise NetworkBlockedError(f"{name} is out of bounds: this test may reach {where}")


_network = _Network()
sys.addaudithook(_network.audit)


@pytest.fixture(autouse=True)
def _network_bounds(request: pytest.FixtureRequest) -> Iterator[None]:
    """Allow unit tests no address, and other tests this machine only."""
    _network.loopback_allowed = UNIT not in request.path.parents
    yield
    _network.loopback_allowed = True
