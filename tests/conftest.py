"""What every test gets: an AWS of its own, names of its own, and no way out of the machine.

Fixtures for others: `aws_endpoint`, `resource_names`, `fifo_resource_names`. The environment
holds fake credentials and a region, and none of the caller's own settings.
"""

from __future__ import annotations

import http.client
import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import hypothesis
import pytest
from botocore.hooks import EVENT_ALIASES, EventAliaser
from botocore.loaders import Loader

from operations.embedded_aws import EmbeddedAws
from tests.emitted import (  # noqa: F401  # pytest finds them here
    _listening,
    pytest_runtest_makereport,
)

REGION: Final = "us-east-1"
GIVEN_ENDPOINT: Final = os.environ.get("AWS_ENDPOINT_URL")
UNIT: Final = Path(__file__).parent / "unit"
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost", ""})

# how long an example takes says more of the machine's other work than of the code
hypothesis.settings.register_profile(
    "shared-machine",
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("shared-machine")

# A shell's background job ignores Ctrl-C, and so would every program that a test starts there.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True, slots=True)
class ResourceNames:
    """Names that no other test has; the fields are those of `Settings`."""

    table: str
    command_queue: str
    dead_letter_queue: str
    events_topic: str

    @classmethod
    def unique(cls, *, fifo: bool = False) -> ResourceNames:
        """Make up names; those of queues and topic end in `.fifo` if asked for."""
        mark = uuid.uuid4().hex[:12]
        suffix = ".fifo" if fifo else ""
        return cls(
            table=f"users-{mark}",
            command_queue=f"commands-{mark}{suffix}",
            dead_letter_queue=f"commands-dlq-{mark}{suffix}",
            events_topic=f"events-{mark}{suffix}",
        )


@pytest.fixture
def resource_names() -> ResourceNames:
    """Names of table, queues and topic for this test alone."""
    return ResourceNames.unique()


@pytest.fixture
def fifo_resource_names() -> ResourceNames:
    """As `resource_names`, with FIFO queues and a FIFO topic."""
    return ResourceNames.unique(fifo=True)


# --- AWS -----------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def _no_aws_of_the_callers() -> Iterator[None]:
    """No test can reach a real account: credentials are fake and no endpoint is set."""
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
def _read_models_once() -> Iterator[None]:
    """Let all sessions share what botocore reads from its own files, which do not change.

    For its first client a session reads a megabyte of JSON and looks into 400 folders; a run of
    all tests makes some thousand sessions. Moto, which changes what it has read, has a reader of
    its own class, and that one goes on reading for itself.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("load_data_with_path", "list_available_services"):
            patch.setattr(Loader, name, _shared(getattr(Loader, name)))
        patch.setattr(EventAliaser, "__init__", _knowing_names(EventAliaser.__init__))
        yield


def _shared(read: Callable[..., object]) -> Callable[..., object]:
    """Make a method of readers that remembers for all of them what it gave for a name."""
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
    """Let all emitters of botocore's events share which names are aliases of which.

    For each of its clients a session looks 900 names up in a list of aliases, which takes half
    of the time that a client takes.
    """
    known: dict[str, str] = {}

    def initialised(self: Any, *arguments: Any, **named: Any) -> None:
        init(self, *arguments, **named)
        if self._event_aliases == EVENT_ALIASES:
            self._alias_name_cache = known

    return initialised


@pytest.fixture(scope="session")
def aws_endpoint() -> Iterator[str]:
    """Where AWS answers, as a URL.

    It is the one that `AWS_ENDPOINT_URL` named when the tests were started, or else an embedded
    one, one for each test process. While a test that asks for it runs, `AWS_ENDPOINT_URL` is
    set to it, for clients made without arguments and for child processes.
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
    """Refuse at once an endpoint that is not on this machine, or where nobody answers."""
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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what only AWS's own DynamoDB gets right, when there is none; tests of AWS are known.

    Whatever asks for `aws_endpoint` has the marker `aws`, and so runs against LocalStack too.
    Where several processes share the tests, slow ones begin first, so that none is left for the
    end, when the other processes have nothing to do.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    for item in items:
        if "aws_endpoint" in getattr(item, "fixturenames", ()):
            item.add_marker("aws")
        if item.path.parent.name == "isolation":
            item.add_marker("isolation")
        if GIVEN_ENDPOINT is None and item.get_closest_marker("localstack"):
            item.add_marker(
                pytest.mark.skip(reason="needs AWS's own DynamoDB: make test-localstack")
            )


# --- the network ---------------------------------------------------------------------------


class NetworkBlockedError(AssertionError):
    """A test reached for an address that it must not reach for."""


class _Network:
    """Decides which addresses may be reached; Python asks it for every one (see PEP 578).

    An audit hook, unlike a patched `socket`, also sees names being looked up, and cannot be
    lost; since it cannot be taken away either, there is one for the whole run.
    """

    def __init__(self) -> None:
        self.loopback_allowed = True

    def audit(self, event: str, args: tuple[object, ...]) -> None:
        """Raise NetworkBlockedError for what may not be."""
        match event, args:
            case ("socket.getaddrinfo", (host, *_)):
                self._decide(host)
            case ("socket.connect" | "socket.sendto", (_, (host, *_))):
                self._decide(host)  # an address that is a string is a file on this machine

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
    """Unit tests reach no address; the others reach this machine only."""
    _network.loopback_allowed = UNIT not in request.path.parents
    yield
    _network.loopback_allowed = True
