from __future__ import annotations

import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError
from celery.concurrency.prefork import TaskPool as Prefork
from celery.concurrency.solo import TaskPool as Solo
from celery.concurrency.thread import TaskPool as Threads

from adapters.dynamodb.repository import DynamoDBUserRepository
from adapters.errors import ResourceMismatchError
from adapters.memory import MemoryEventPublisher, MemoryOutbox, MemoryStore, MemoryUserRepository
from application.batch import Ports
from application.disposition import Ack, Dispositions, Retry
from application.messages import render_command
from application.messages.commands import command_data
from domain import commands as c
from tests.builders import NOW, email, message, uid
from worker import bootstrap, lifecycle
from worker.errors import ExitCode
from worker.health import step
from worker.health.assessment import HealthAssessment
from worker.settings import Settings, load_settings

LOCAL = "http://127.0.0.1:1"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The resources that were requested; nothing is created."""
    asked: list[object] = []
    monkeypatch.setattr(bootstrap, "provision", lambda resources, *_: asked.append(resources))
    return asked


def test_development_makes_its_resources_on_an_emulator(
    made: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new developer need not create them."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", LOCAL)
    bootstrap.provision_for_development(Settings())
    assert made == [bootstrap.resources(Settings())]


@pytest.mark.parametrize("variable", [None, "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_DYNAMODB"])
def test_nothing_is_made_as_soon_as_one_service_is_amazons(
    made: list[object], monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    """A worker that was started by mistake must leave no table in a real account."""
    if variable:
        monkeypatch.setenv(variable, LOCAL)
    bootstrap.provision_for_development(Settings())
    assert made == []


def test_nothing_is_created_if_the_settings_forbid_it(
    made: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Production never does, and development need not."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", LOCAL)
    bootstrap.provision_for_development(Settings(create_resources=False))
    bootstrap.provision_for_development(Settings(env="prod", create_resources=False))
    assert made == []


def test_what_cannot_be_made_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the queue whose attributes differ."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", LOCAL)

    def refuse(*_: object) -> None:
        raise ResourceMismatchError("queue", "user-commands", "VisibilityTimeout")

    monkeypatch.setattr(bootstrap, "provision", refuse)
    with pytest.raises(ResourceMismatchError, match=r"queue user-commands .* VisibilityTimeout"):
        bootstrap.provision_for_development(Settings())


def test_the_repository_is_chosen_by_the_settings() -> None:
    """Creating it makes no call."""
    dynamodb = bootstrap.build_ports(Settings())
    memory = bootstrap.build_ports(Settings(repository="memory"))
    assert isinstance(dynamodb.repository, DynamoDBUserRepository)
    assert isinstance(memory.repository, MemoryUserRepository)


@pytest.mark.parametrize(("setting", "failures"), [(None, 5), ("1", 1), ("7", 7)])
def test_as_many_login_failures_as_set_lock_a_user(
    monkeypatch: pytest.MonkeyPatch, setting: str | None, failures: int
) -> None:
    """The limit goes from the environment to the rule: not one failure too early or too late."""
    if setting:
        monkeypatch.setenv("USER_WORKER_LOCK_AFTER_FAILURES", setting)
    store, publisher = MemoryStore(), MemoryEventPublisher()
    clock: Any = SimpleNamespace(now=lambda: NOW)
    ports = Ports(MemoryUserRepository(store), MemoryOutbox(store), publisher, clock)
    monkeypatch.setattr(bootstrap, "build_ports", lambda _: ports)
    create = c.CreateUser(email("ada"), "Ada", ("customer",), last_name="Lovelace")
    messages = [
        message(
            render_command(
                command.type,
                command_data(command),
                command_id=uid(str(number)),
                user_id=uid("ada"),
                source="/test",
            )
        )
        for number, command in enumerate([create, *[c.RecordLoginFailure()] * failures])
    ]

    dispositions = bootstrap.build(load_settings()).batch.handle(messages)

    assert dispositions.items == (Ack(),) * len(messages)
    published = [event.type.split(".")[2] for event in publisher.published]
    assert published == ["UserCreated", *["LoginFailed"] * failures, "UserLocked"]


def test_each_process_has_a_worker_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked child must not use its parent's connections."""
    parents = bootstrap.worker()
    assert bootstrap.worker() is parents
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert bootstrap.worker() is not parents
    bootstrap._workers.clear()


def test_a_child_that_cannot_create_its_clients_counts_as_an_unavailable_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its messages are retried with one delay, as groups require; the breaker gets a report."""

    def without_credentials() -> bootstrap.Worker:
        raise NoCredentialsError

    monkeypatch.setattr(bootstrap, "worker", without_credentials)
    settled = bootstrap.handle_batch([message("a"), message("b", receives=4)])
    assert len(settled.items) == 2
    assert len(set(settled.items)) == 1
    assert isinstance(settled.items[0], Retry)
    assert settled.items[0].delay >= 8
    assert settled.store is False
    assert bootstrap.handle_batch([]) == Dispositions((), store=False)


@pytest.mark.parametrize(
    ("pool", "fits"),
    [(Solo, True), (Threads, True), (Prefork, False)],
    ids=["solo", "threads", "prefork"],
)
def test_memory_needs_a_pool_of_one_process(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], pool: type, *, fits: bool
) -> None:
    """Each child would have its own users; the message is that of `user-worker run`."""
    monkeypatch.setenv("USER_WORKER_REPOSITORY", "memory")
    monkeypatch.setenv("USER_WORKER_CREATE_RESOURCES", "false")
    monkeypatch.setattr(step, "begin", lambda *_: HealthAssessment())
    monkeypatch.setattr(lifecycle, "require_resources", lambda *_: None)
    worker = SimpleNamespace(pool_cls=pool)
    if fits:
        lifecycle.prepare(worker)
    else:
        with pytest.raises(SystemExit) as ended:
            lifecycle.prepare(worker)
        assert ended.value.code == ExitCode.USAGE
        assert "use --pool threads" in capfd.readouterr().err


def test_a_relay_that_cannot_be_made_yet_is_started_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Celery ignores what a signal handler raises: events would wait for another worker."""
    started, connected = threading.Event(), threading.Event()
    relay = SimpleNamespace(start=started.set)
    settings = SimpleNamespace(queues=("q",), repository="memory")
    failures = [NoCredentialsError(), OSError("of the metadata service")]

    def worker() -> Any:
        if failures:
            raise failures.pop()
        return SimpleNamespace(relay=relay, settings=settings)

    shutdown = SimpleNamespace(connect=lambda *_, **__: connected.set())
    monkeypatch.setattr(lifecycle, "worker_shutdown", shutdown)
    monkeypatch.setattr(bootstrap, "worker", worker)
    monkeypatch.setattr(lifecycle, "RELAY_RETRY", 0.01)
    lifecycle.start_relay()
    assert connected.wait(10)
    assert started.is_set()
    assert failures == []
