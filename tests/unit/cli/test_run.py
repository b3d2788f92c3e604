from __future__ import annotations

import os
import signal
import sys

import pytest

from cli.app import run
from cli.commands.run import celery_arguments
from operations.signals import stop_on_signals
from worker.errors import UsageError
from worker.settings import Settings

MEMORY = Settings(repository="memory")


def test_by_default_it_is_celerys_own_worker_with_prefork() -> None:
    """It starts as many processes as Celery would."""
    arguments = celery_arguments(Settings(), None, None)
    assert arguments[:3] == ["-A", "worker.app", "worker"]
    assert "--pool=prefork" in arguments
    # Celery's default: the number of cores.
    assert not [a for a in arguments if a.startswith("--concurrency")]


def test_users_in_memory_mean_threads_and_never_processes() -> None:
    """Two processes would each have half of the users."""
    assert "--pool=threads" in celery_arguments(MEMORY, None, None)
    assert "--pool=solo" in celery_arguments(MEMORY, "solo", None)
    with pytest.raises(UsageError, match="--pool threads"):
        celery_arguments(MEMORY, "prefork", None)


def test_what_is_asked_for_goes_to_celery_and_what_follows_comes_last() -> None:
    """Celery uses the last value."""
    arguments = celery_arguments(Settings(), "threads", 3, ["-n", "one@%h"])
    assert {"--pool=threads", "--concurrency=3"} <= set(arguments)
    assert arguments[-2:] == ["-n", "one@%h"]


def test_run_becomes_celery(monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` replaces its own process, so signals and exit codes are those of Celery."""
    called: list[list[str]] = []

    def execv(path: str, arguments: list[str]) -> None:
        called.append([path, *arguments])
        raise SystemExit(7)

    monkeypatch.setattr(os, "execv", execv)
    with pytest.raises(SystemExit) as ended:
        run(["run", "-c", "2", "--", "--max-tasks-per-child", "5"])
    assert ended.value.code == 7
    assert called[0][:4] == [sys.executable, sys.executable, "-m", "celery"]
    assert called[0][-2:] == ["--max-tasks-per-child", "5"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_work_once_and_lets_the_clean_up_be(number: signal.Signals) -> None:
    """A second Ctrl-C does not interrupt the clean-up; the handlers are restored."""
    before = signal.getsignal(number)
    cleaned = False

    def work() -> None:
        nonlocal cleaned
        with stop_on_signals():
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), number)  # a second signal during the clean-up
                cleaned = True

    with pytest.raises(KeyboardInterrupt):
        work()
    assert cleaned
    assert signal.getsignal(number) == before
