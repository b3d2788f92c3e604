"""The lines of commands in the log of the worker of `dev`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.demo.command_log import CommandLog

ACCEPTED = (
    "12:16:49.258  command  RegisterUser             accepted              d82ad3be    5.0 ms"
)
DEAD = "12:16:49.254  message_not_understood  dead InvalidField  message 536de57b"
REASON = "              data.password_hash: must be an argon2id hash"
READY = "12:16:44.059 [info     ] celery@vm ready.         [celery.apps.worker]"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with a line of a command that was written before it is followed."""
    path = tmp_path / "worker.log"
    path.write_text(f"{ACCEPTED}\n")
    return path


def write(log: Path, *parts: str) -> None:
    """Append to the log."""
    with log.open("a") as stream:
        stream.write("".join(parts))


def test_only_new_lines_of_commands_and_their_reasons_are_shown(log: Path) -> None:
    """Lines of the start, of Celery and of tracebacks stay in the file."""
    followed = CommandLog(log)
    assert followed.lines() == []
    write(log, READY, "\n", REASON, "\n", ACCEPTED, "\n", DEAD, "\n", REASON, "\n", READY, "\n")
    assert followed.lines() == [ACCEPTED, DEAD, REASON]
    assert followed.lines() == []


def test_a_line_is_shown_when_it_is_complete(log: Path) -> None:
    """The worker may be writing it."""
    followed = CommandLog(log)
    write(log, DEAD, "\n", ACCEPTED[:20])
    assert followed.lines() == [DEAD]
    write(log, ACCEPTED[20:])
    assert followed.lines() == []
    write(log, "\n")
    assert followed.lines() == [ACCEPTED]


def test_lines_can_be_skipped(log: Path) -> None:
    """Samples are shown in a table."""
    followed = CommandLog(log)
    write(log, ACCEPTED, "\n")
    followed.skip()
    write(log, DEAD, "\n")
    assert followed.lines() == [DEAD]


def test_a_log_in_json_or_without_a_file_shows_nothing(log: Path, tmp_path: Path) -> None:
    """USER_WORKER_LOG_FORMAT=json is for programs."""
    followed = CommandLog(log)
    write(log, '{"event": "command", "outcome": "accepted"}\n')
    assert followed.lines() == []
    assert CommandLog(tmp_path / "none").lines() == []
    log.unlink()
    assert followed.lines() == []


def test_bytes_that_are_no_text_do_not_end_it(log: Path) -> None:
    """Anything may write to the worker's standard error."""
    followed = CommandLog(log)
    with log.open("ab") as stream:
        stream.write(b"\xff\xfe\n" + ACCEPTED.encode() + b"\n")
    assert followed.lines() == [ACCEPTED]
