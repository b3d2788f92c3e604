"""Errors of the operating system at the start of a worker."""

from __future__ import annotations

import errno
import os
import tempfile

import pytest
from celery.platforms import LockFailed

from cli.health import show_health
from worker.cli_errors import exit_if_start_fails, explain_system_error
from worker.errors import ExitCode
from worker.health.heartbeat import HeartbeatError, directory

ERRORS: list[tuple[Exception, str]] = [
    (OSError(errno.ENOSPC, "No space left on device"), "/dev/shm"),
    (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), "--concurrency"),
    (OSError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
    (PermissionError(errno.EACCES, "Permission denied", "/run/x"), "/run/x"),
    (OSError(errno.EROFS, "Read-only file system", b"/run/y"), "/run/y"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory"), "semaphores"),
    (OSError(errno.ENOSYS, "Function not implemented"), "--pool threads"),
    (MemoryError(), "out of memory"),
    (RuntimeError("can't start new thread"), "no more threads"),
    (ImportError("This platform lacks a functioning sem_open implementation"), "semaphores"),
    (LockFailed("[Errno 2] No such file or directory: '/x.pid'"), "/x.pid"),
]


@pytest.mark.parametrize(("error", "says"), ERRORS, ids=str)
def test_what_the_machine_lacks_is_one_line_with_exit_code_3(
    error: Exception, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The line says what is missing, and what to do."""
    with pytest.raises(SystemExit) as ended, exit_if_start_fails():
        raise error
    assert ended.value.code == ExitCode.ENVIRONMENT
    assert says in str(explain_system_error(error))
    assert capfd.readouterr().err.count("\n") <= 1


def test_an_error_after_the_start_and_a_bug_are_raised_as_they_are() -> None:
    """Their traceback is needed."""
    with pytest.raises(OSError, match="later"), exit_if_start_fails(lambda: False):
        raise OSError(errno.ENOSPC, "later")
    for bug in (RuntimeError("a bug"), ImportError("a bug"), OSError("without a number")):
        with pytest.raises(type(bug)), exit_if_start_fails():
            raise bug


def test_without_a_temporary_directory_there_is_no_heartbeat_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a read-only or full file system."""

    def fail() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found", os.curdir)

    monkeypatch.setattr(tempfile, "gettempdir", fail)
    with pytest.raises(HeartbeatError, match="set TMPDIR"):
        directory()
    assert show_health(live_only=False, as_json=False) == ExitCode.ENVIRONMENT
    assert capsys.readouterr().err == ("error: no temporary directory is writable; set TMPDIR\n")
