"""Log lines to pipes without a reader, closed pipes, full disks, and regular files."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from worker import log_stream, logs
from worker.log_stream import LogStreamHandler

PATIENCE = 0.3


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time for which a line waits."""
    monkeypatch.setattr(log_stream, "PATIENCE", PATIENCE)


@pytest.fixture
def logger_to() -> Iterator[Callable[[int], logging.Logger]]:
    """Make the root logger write JSON lines to a descriptor; restore it after the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def make(descriptor: int) -> logging.Logger:
        logs.configure("json", "INFO", "/dev/null")
        formatter = root.handlers[0].formatter
        handler = LogStreamHandler(descriptor)
        handler.setFormatter(formatter)
        root.handlers[:] = [handler]
        return logging.getLogger("test")

    yield make
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def _events(text: str) -> list[str]:
    return [json.loads(line)["event"] for line in text.splitlines()]


def _drain(reader: int) -> str:
    """Return all that a pipe holds now."""
    os.set_blocking(reader, False)
    parts: list[bytes] = []
    while True:
        try:
            parts.append(os.read(reader, 65_536))
        except BlockingIOError:
            return b"".join(parts).decode()


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("length", [100, 10_000])
def test_an_unread_pipe_loses_lines_and_their_number_is_logged(
    logger_to: Callable[[int], logging.Logger], length: int, *, blocking: bool
) -> None:
    """The first dropped line waits, the others do not; every line in the pipe is complete."""
    reader, writer = os.pipe()
    os.set_blocking(writer, blocking)
    logger = logger_to(writer)
    sent = 2_000 if length == 100 else 60
    began = time.monotonic()
    for number in range(sent):
        logger.info("%d %s", number, "x" * length)
    assert time.monotonic() - began < PATIENCE + 8
    text = _drain(reader)
    inconsistent = [line for line in text.splitlines() if not line.endswith("}")]
    assert len(inconsistent) <= 1
    kept = len(text.splitlines()) - len(inconsistent)
    assert 0 < kept < sent
    logger.info("after")
    lines = [json.loads(line) for line in _drain(reader).strip().splitlines()]
    assert [line["event"] for line in lines] == ["after", "log_lines_dropped"]
    assert lines[1]["lines"] == sent - kept
    assert lines[1]["level"] == "warning"
    logger.info("more")
    assert _events(_drain(reader)) == ["more"]
    os.close(reader)
    os.close(writer)


def test_a_reader_that_is_slow_loses_nothing(logger_to: Callable[[int], logging.Logger]) -> None:
    """While it reads anything, lines wait for it."""
    reader, writer = os.pipe()
    logger = logger_to(writer)
    read: list[bytes] = []

    def read_slowly() -> None:
        while part := os.read(reader, 4096):
            read.append(part)
            time.sleep(PATIENCE / 30)

    thread = threading.Thread(target=read_slowly)
    thread.start()
    for number in range(400):
        logger.info("%d %s", number, "x" * 500)
    os.close(writer)
    thread.join()
    assert len(_events(b"".join(read).decode())) == 400
    os.close(reader)


def test_an_unread_socket_loses_lines(
    logger_to: Callable[[int], logging.Logger],
) -> None:
    """The journal of systemd is one."""
    reader, writer = socket.socketpair()
    with reader, writer:
        logger = logger_to(writer.fileno())
        began = time.monotonic()
        for _ in range(3_000):
            logger.info("x" * 500)
        assert time.monotonic() - began < PATIENCE + 8
        reader.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            while reader.recv(1 << 20):
                pass
        logger.info("after")
        text = reader.recv(1 << 20).decode().strip()
    assert _events(text) == ["after", "log_lines_dropped"]


def test_a_closed_pipe_costs_lines_and_raises_nothing(
    logger_to: Callable[[int], logging.Logger], capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no traceback for each line either."""
    reader, writer = os.pipe()
    logger = logger_to(writer)
    os.close(reader)
    for _ in range(5):
        logger.info("lost")
    os.close(writer)
    logger.info("lost, too")
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_costs_lines_which_are_counted_when_there_is_room(
    logger_to: Callable[[int], logging.Logger], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The descriptor stays the same, like that of a log file."""
    full = os.open("/dev/full", os.O_WRONLY)
    logger = logger_to(full)
    logger.info("lost")
    logger.info("lost")
    path = tmp_path / "log"
    roomy = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.dup2(roomy, full)
    logger.info("after")
    os.close(roomy)
    os.close(full)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["event"], line.get("lines")) for line in lines] == [
        ("after", None),
        ("log_lines_dropped", 2),
    ]
    assert capsys.readouterr().err == ""


def test_a_line_that_was_broken_off_does_not_spoil_the_next_one(
    logger_to: Callable[[int], logging.Logger],
) -> None:
    """It starts on a new line."""
    reader, writer = os.pipe()
    logger = logger_to(writer)
    logger.info("x" * 100_000)
    _drain(reader)
    logger.info("after")
    text = _drain(reader)
    assert text.startswith("\n")
    assert _events(text.strip()) == ["after", "log_lines_dropped"]
    os.close(reader)
    os.close(writer)


def test_a_file_is_appended_to_and_takes_every_line(tmp_path: Path) -> None:
    """In order, from all threads."""
    path = tmp_path / "log"
    path.write_text("before\n")
    handler = LogStreamHandler.of_file(str(path))
    logger = logging.getLogger("test_a_file")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)

    def log() -> None:
        for number in range(500):
            logger.info("a line of %d", number)

    threads = [threading.Thread(target=log) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logger.removeHandler(handler)
    lines = path.read_text().splitlines()
    assert lines[0] == "before"
    assert len(lines) == 2_001
    with pytest.raises(FileNotFoundError):
        LogStreamHandler.of_file(str(tmp_path / "none" / "log"))


CHILD = """
import os, sys
from worker.log_stream import unblock_standard_streams
unblock_standard_streams()
written = 0
try:
    while True:
        written += os.write(1, b"x" * 4096)
except BlockingIOError:
    os.write(2, f"{written}".encode())
"""


def test_standard_output_is_unblocked_for_this_process_alone() -> None:
    """Another process that shares the pipe still blocks when it writes."""
    reader, writer = os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", CHILD], stdout=writer, stderr=subprocess.PIPE, timeout=30, check=True
    )
    assert int(done.stderr) > 0
    assert os.get_blocking(writer)
    os.close(reader)
    os.close(writer)
