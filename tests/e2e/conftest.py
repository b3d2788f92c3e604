"""Systems for end-to-end tests: one for each test, and a shared one with two workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import ResourceNames
from tests.e2e.account import ROOT, World, default_world
from tests.e2e.proxy import FaultyProxy, Slow
from tests.e2e.system import PREFORK, THREADS, Message, System, decided
from tests.e2e.worker_process import Queues, WorkerProcess, share
from tests.node_packages import compiled_client, copy_with_packages, with_client


@dataclass(frozen=True, slots=True)
class Pair:
    """Two running worker processes with different pools, on one system, behind one proxy."""

    system: System
    workers: tuple[WorkerProcess, WorkerProcess]
    proxy: FaultyProxy

    @contextmanager
    def racing(self) -> Iterator[None]:
        """Delay every commit, so that batches are sure to overlap between load and commit."""
        self.proxy.inject(Slow(0.3), "TransactWriteItems")
        yield
        self.proxy.clear()

    def told(self, sent: Message) -> list[str]:
        """Return the outcome that the workers logged for each delivery of a command."""
        lines = [line for worker in self.workers for line in decided(worker)]
        return [line["outcome"] for line in lines if line["command_id"] == sent.command_id]

    def share(self, scene: Callable[[], None]) -> None:
        """Repeat a scenario until both workers have taken part in it. Every run must succeed."""
        share([partial(_count, worker) for worker in self.workers], scene)


def _count(worker: WorkerProcess) -> int:
    return len(decided(worker))


@pytest.fixture
def queues(resource_names: ResourceNames, aws_endpoint: str) -> Iterator[Queues]:
    """A command queue with a visibility timeout of 30 s, and its dead-letter queue."""
    queues = Queues.create(resource_names, aws_endpoint, 30)
    yield queues
    queues.delete()


@pytest.fixture
def system(aws_endpoint: str, tmp_path: Path) -> Iterator[System]:
    """A system for this test only, without a worker."""
    system = System.create(aws_endpoint, tmp_path)
    yield system
    system.delete()


@pytest.fixture
def fifo_system(aws_endpoint: str, tmp_path: Path) -> Iterator[System]:
    """Like `system`, with FIFO queues and a FIFO topic."""
    system = System.create(aws_endpoint, tmp_path, fifo=True)
    yield system
    system.delete()


@pytest.fixture(scope="session")
def pair(aws_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two workers on one system, shared by all tests that request them.

    Starting a worker takes seconds. These tests share one xdist group, use their own users and
    addresses, and leave both workers running.
    """
    system = System.create(aws_endpoint, tmp_path_factory.mktemp("pair"))
    with (
        FaultyProxy(aws_endpoint) as proxy,
        system.worker(PREFORK, endpoint=proxy.url) as first,
        system.worker(THREADS, endpoint=proxy.url) as second,
    ):
        yield Pair(system, (first.ready(), second.ready()), proxy)
    system.delete()


@pytest.fixture(scope="session")
def world(aws_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An account with all resources under their default names, a worker and an event listener.

    Shared by all tests of the xdist group `readme`, which run in one process.
    """
    with default_world(aws_endpoint, tmp_path_factory.mktemp("readme")) as made:
        yield made


@pytest.fixture(scope="session")
def node(world: World) -> Path:
    """A copy of the Node examples with their packages; skips if the packages are unavailable."""
    copy = copy_with_packages(ROOT / "examples" / "node", world.folder / "node")
    (world.folder / "tree").mkdir()
    return with_client(copy, compiled_client(world.folder / "tree"))
