"""Check everything that the project emits during tests for planted secrets and addresses.

The checks see: what each test prints and logs, what it reads from `capsys`, the log files of worker
processes, the output of command lines, and what the test receives from and publishes to queues and
topics: attributes of dead letters and of events, and events themselves. A test that emits a planted
value fails. The values are those of `tests.builders`, the examples and the fuzzer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.client import BaseClient

from adapters.aws.fast_calls.call import _DirectCall
from domain.events import EVENTS
from tests import canaries

IN_CLEAR: Final = ("hunter2-correct-horse", canaries.SECRET)
"""Passwords that no command may carry; they must not be in a dead letter's body either."""
CREDENTIALS: Final = (
    canaries.TOKEN_MARK,
    "c29tZXNhbHRzb21lc2FsdA",  # the salt of the tests' password hashes
    "okk3ysaF0czpbsQEYF5nYw",  # and of the README's
    *IN_CLEAR,
    canaries.TOKEN_HASH[:32],
    canaries.PASSWORD_HASH.rpartition("$")[2],
)
# The look-behind keeps the time linear: without it, a search starts at each character of a word.
_ADDRESS = re.compile(r"(?<![\w.+-])[\w.+-]+(@|%40|\\u0040)example\.(com|org|net)", re.IGNORECASE)
_LOG_LINE = re.compile(r"[A-Z]+ +\S+:\S+\.py:\d+ ")
REACHING_A_PERSON: Final = frozenset(
    f"biome.user.{name}.v1"
    for name in (
        "UserRegistered",
        "UserCreated",
        "EmailVerificationRequested",
        "EmailChangeRequested",
        "EmailChanged",
        "PasswordResetRequested",
    )
)
"""The events that contain an address."""


class LeakError(AssertionError):
    """A value was emitted that must stay internal."""


def no_credential(text: str, where: str) -> None:
    """Raise LeakError if a text contains a secret or the hash of one."""
    for mark in CREDENTIALS:
        if mark in text:
            raise LeakError(f"{where} shows a credential ({mark[:6]}...)")


def nothing_personal(text: str, where: str) -> None:
    """Raise LeakError if a text contains a credential or an address."""
    no_credential(text, where)
    if found := _ADDRESS.search(text):
        around = text[max(0, found.start() - 60) : found.start()]
        raise LeakError(f"{where} shows an address (after {around!r})")


# --- what a test prints and logs -----------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a phase of a test that printed or logged a planted value."""
    report = yield
    if report.outcome == "passed":
        try:
            for title, text in report.sections:
                check = no_credential if "stdout" in title else nothing_personal
                check(_lines_of_ours(text) if title.endswith("log call") else text, title)
        except LeakError as leak:
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid}: {leak}"
    return report


def _lines_of_ours(log: str) -> str:
    """Remove the tracebacks that pytest writes; the worker's own lines have none."""
    return "\n".join(line for line in log.splitlines() if _LOG_LINE.match(line))


def check_captured(out: str, err: str) -> None:
    """Check that an output has no credential, and that errors have no personal data at all."""
    no_credential(out, "standard output")
    nothing_personal(err, "standard error")


def check_log_files(folder: Path) -> int:
    """Check that no worker's log has personal data; return the number of logs."""
    files = [path for path in folder.rglob("log-*") if path.is_file()]
    for path in files:
        nothing_personal(path.read_text(errors="replace"), f"a worker's log, {path}")
    return len(files)


# --- what goes over queues and topics ------------------------------------------------------


def check_call(operation: str, request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    """Check what is published to or received from a queue or topic."""
    match operation:
        case "PublishBatch":
            for entry in request["PublishBatchRequestEntries"]:
                check_event(entry["Message"])
                _check_attributes(entry)
        case "SendMessageBatch":
            for entry in request["Entries"]:
                _check_attributes(entry)
        case "ReceiveMessage":
            for message in answer.get("Messages", ()):
                check_event(message["Body"])
                _check_attributes(message)
                if "error_code" in message.get("MessageAttributes", {}):
                    _no_secret_in_clear(message["Body"])


def _check_attributes(entry: Mapping[str, Any]) -> None:
    for name, value in entry.get("MessageAttributes", {}).items():
        nothing_personal(str(value.get("StringValue")), f"message attribute {name}")


def _no_secret_in_clear(body: str) -> None:
    for secret in IN_CLEAR:
        if secret in body:
            raise LeakError("a dead letter's body shows a secret in clear")


def check_event(body: str) -> None:
    """Check that an event has no credential, and an address only if it is meant for a person."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return
    if not isinstance(event, dict) or event.get("type") not in EVENTS:
        return  # a command, whose content is its sender's
    check = no_credential if event["type"] in REACHING_A_PERSON else nothing_personal
    check(json.dumps(event), f"event {event['type']}")


@pytest.fixture(scope="session", autouse=True)
def _listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Check captured output and AWS calls of all tests, and workers' logs at the end."""
    read, call = pytest.CaptureFixture.readouterr, BaseClient._make_api_call  # type: ignore[attr-defined]
    direct = _DirectCall.__call__  # bypasses `_make_api_call`

    def heard_read(self: pytest.CaptureFixture[str]) -> Any:
        captured = read(self)
        if isinstance(captured.out, str):
            check_captured(captured.out, captured.err)
        return captured

    def heard_call(self: Any, operation_name: str, api_params: dict[str, Any]) -> Any:
        answer = call(self, operation_name, api_params)
        check_call(operation_name, api_params, answer)
        return answer

    def heard_direct(self: Any, **parameters: Any) -> Any:
        answer = direct(self, **parameters)
        check_call(self._operation.name, parameters, answer)
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_DirectCall, "__call__", heard_direct)
        patch.setattr(pytest.CaptureFixture, "readouterr", heard_read)
        patch.setattr(BaseClient, "_make_api_call", heard_call)
        yield
    check_log_files(tmp_path_factory.getbasetemp())
