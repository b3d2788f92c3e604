from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from botocore.exceptions import ClientError

from worker import logs

SECRET = "ada@example.com"


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """A JSON log file; the test runner's own handlers are restored afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    path = tmp_path / "log"
    logs.configure("json", "INFO", str(path))
    opened = root.handlers[:]
    yield path
    for handler in [*opened, *root.handlers]:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(path: Path) -> list[dict[str, object]]:
    """Return the lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_our_lines_and_the_librarys_have_one_form(log_file: Path) -> None:
    """One parser is sufficient for both."""
    structlog.get_logger("worker.command").bind(command_id="c").info("command", outcome="accepted")
    logging.getLogger("celery.apps.worker").info("%s ready.", "celery@here")
    ours, theirs = lines(log_file)
    assert (ours["event"], ours["command_id"], ours["outcome"]) == ("command", "c", "accepted")
    assert (theirs["event"], theirs["logger"]) == ("celery@here ready.", "celery.apps.worker")
    assert {"timestamp", "level", "logger"} <= ours.keys() & theirs.keys()


def test_an_exception_is_logged_by_class_and_place_never_by_its_text(log_file: Path) -> None:
    """Its text may contain personal data."""
    try:
        dict[str, str]()[SECRET]
    except KeyError:
        structlog.get_logger("application.batch").exception("batch_failed")
        logging.getLogger("library").exception("it failed")
    ours, theirs = lines(log_file)
    assert SECRET not in log_file.read_text()
    for line in (ours, theirs):
        assert line["error"] == "KeyError"
        assert "test_logs.py" in str(line["traceback"])


def test_an_error_of_aws_is_shown_with_its_code(log_file: Path) -> None:
    """The code is AWS's own term, and tells more than the class."""
    response = {"Error": {"Code": "ThrottlingException", "Message": SECRET}}
    error = ClientError(response, "PutItem")  # type: ignore[arg-type]  # the part that is read
    structlog.get_logger("worker").error("commit_failed", exc_info=error)
    [line] = lines(log_file)
    assert line["aws_error"] == "ThrottlingException"
    assert SECRET not in log_file.read_text()


def test_the_sdk_is_silent_even_at_debug(tmp_path: Path, log_file: Path) -> None:
    """Its debug lines contain whole requests."""
    logs.configure("json", "DEBUG", str(tmp_path / "debug"))
    logging.getLogger("botocore.endpoint").debug("Making request with %s", SECRET)
    logging.getLogger("worker").debug("shown")
    assert [line["event"] for line in lines(tmp_path / "debug")] == ["shown"]


def test_development_reads_lines_a_person_can(
    capsys: pytest.CaptureFixture[str], log_file: Path
) -> None:
    """No JSON, and no colours without a terminal."""
    logs.configure("console", "INFO")
    structlog.get_logger("worker.command").info("command", outcome="accepted")
    line = capsys.readouterr().err
    assert "command" in line
    assert "accepted" in line
    assert not set(line) & set("{\x1b")
