from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.aws.batching import MAX_CALL_BYTES
from cli.commands.send import _events, _send
from operations.command_input import Options
from operations.sending import send_bodies
from tests.builders import uid
from worker.errors import CliError, UsageError
from worker.settings import Settings

URL = "http://sqs/commands"
FIFO_URL = f"{URL}.fifo"


class Sqs:
    """An SQS that accepts all bodies except those in `refuses`."""

    def __init__(
        self, refuses: set[str] | None = None, breaks_with: BaseException | None = None
    ) -> None:
        self.calls: list[list[dict[str, Any]]] = []
        self.breaks_with = breaks_with
        """What the second call raises."""
        self._refuses = refuses or set()
        self._taken = 0

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        """Accept the entries; answer out of order, as SQS may."""
        self.calls.append(Entries)
        if self.breaks_with is not None and len(self.calls) == 2:
            raise self.breaks_with
        good, bad = [], []
        for entry in Entries:
            if entry["MessageBody"] in self._refuses:
                bad.append({"Id": entry["Id"], "Code": "InvalidAddress", "SenderFault": True})
            else:
                good.append({"Id": entry["Id"], "MessageId": f"m{self._taken}"})
            self._taken += 1
        return {"Successful": list(reversed(good)), "Failed": bad}


def sent(messages: list[tuple[str, str]], url: str = URL, *, grouped: bool = False) -> Sqs:
    """Send; return the SQS that received the messages."""
    sqs = Sqs()
    send_bodies(sqs, url, messages, grouped=grouped)  # type: ignore[arg-type]
    return sqs


def test_commands_go_ten_a_call_and_their_ids_come_back_in_order() -> None:
    """The order of the answer has no effect."""
    sqs = Sqs()
    ids = send_bodies(sqs, URL, [(str(i), "g") for i in range(25)])  # type: ignore[arg-type]
    assert [len(call) for call in sqs.calls] == [10, 10, 5]
    assert ids == [f"m{i}" for i in range(25)]


def test_a_call_never_carries_more_than_sqs_takes() -> None:
    """Bytes are counted, not characters."""
    big = "ä" * (MAX_CALL_BYTES // 5)  # two bytes each
    sqs = sent([(big, "g")] * 5)
    assert [len(call) for call in sqs.calls] == [2, 2, 1]


def test_what_is_too_large_for_any_call_is_refused() -> None:
    """It is refused before anything is sent."""
    sqs = Sqs()
    messages = [*[("x", "g")] * 10, ("x" * (MAX_CALL_BYTES + 1), "g")]
    with pytest.raises(UsageError, match="256 KiB"):
        send_bodies(sqs, URL, messages)  # type: ignore[arg-type]
    assert sqs.calls == []


def test_on_a_fifo_queue_each_has_its_group_and_a_fresh_deduplication_id() -> None:
    """SQS must not drop a repetition, because the worker answers it."""
    (call,) = sent([("same", "a"), ("same", "b")], FIFO_URL).calls
    assert [entry["MessageGroupId"] for entry in call] == ["a", "b"]
    assert len({entry["MessageDeduplicationId"] for entry in call}) == 2


def test_on_a_standard_queue_there_is_a_group_only_if_one_is_asked_for() -> None:
    """A group makes it a fair queue, and no deduplication id is allowed."""
    assert "MessageGroupId" not in sent([("x", "g")]).calls[0][0]
    (entry,) = sent([("x", "g")], grouped=True).calls[0]
    assert entry["MessageGroupId"] == "g"
    assert "MessageDeduplicationId" not in entry


def test_a_refused_command_is_reported_with_the_number_of_sent_commands() -> None:
    """A partial success is not reported as a complete failure."""
    sqs = Sqs(refuses={"11"})
    with pytest.raises(CliError, match="rejected commands: InvalidAddress, after 19 of 25"):
        send_bodies(sqs, URL, [(str(i), "g") for i in range(25)])  # type: ignore[arg-type]
    assert len(sqs.calls) == 2  # no further call


ANYTHING = [
    RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a proxy's page"),
    KeyError("Successful"),
    KeyboardInterrupt(),
]
"""Errors that botocore raises, including some that no list of its exceptions has, and Ctrl-C."""


@pytest.mark.parametrize("error", ANYTHING, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("as_json", [False, True])
def test_after_a_partial_send_every_id_is_printed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    error: BaseException,
    as_json: bool,
) -> None:
    """Ids of sent commands are printed as always, the others to the terminal. None is lost."""
    sqs = Sqs(breaks_with=error)
    aws = SimpleNamespace(settings=Settings(), sqs=sqs, queue_url=lambda _: URL)
    monkeypatch.setattr("cli.composition.aws", lambda: aws)
    file = tmp_path / "commands.jsonl"
    line = json.dumps({"type": "UnbanUser", "subject": uid("ada"), "data": {}}) + "\n"
    file.write_text(line * 25)
    events = _events(None, [], None, str(file), Options())
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else CliError):
        _send(events, queue=None, group=None, wait=None, as_json=as_json)
    said = capsys.readouterr()
    ids = [json.loads(e["MessageBody"])["id"] for call in sqs.calls for e in call]
    told = said.out.splitlines()
    assert [json.loads(t)["command_id"] if as_json else t for t in told] == ids[:10]
    unsent = said.err.splitlines()
    assert [row.rpartition(" ")[0] for row in unsent] == ["not sent: UnbanUser"] * 15
    assert [row.rpartition(" ")[2] for row in unsent][:10] == ids[10:]


def test_whatever_the_sdk_raises_is_one_line() -> None:
    """This holds if nothing was sent, too."""
    sqs = Sqs(breaks_with=RuntimeError("refreshed credentials are still expired"))
    sqs.calls.append([])
    with pytest.raises(CliError, match="sending failed: RuntimeError, after 0 of 1 were sent"):
        send_bodies(sqs, URL, [("x", "g")])  # type: ignore[arg-type]


def test_a_group_that_is_given_replaces_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default is the user."""
    sqs = Sqs()
    aws = SimpleNamespace(settings=Settings(), sqs=sqs, queue_url=lambda _: FIFO_URL)
    monkeypatch.setattr("cli.composition.aws", lambda: aws)
    events = _events("UnbanUser", [], None, None, Options(user_id=uid("ada")))
    for group in (None, "own"):
        _send(events, queue=None, group=group, wait=None, as_json=False)
    assert [call[0]["MessageGroupId"] for call in sqs.calls] == [uid("ada"), "own"]


def test_commands_go_to_the_queue_that_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any of those that the worker serves; the command queue by default."""
    sqs, used = Sqs(), list[str]()
    settings = Settings(priority_queue="urgent", additional_queues=("back-office",))

    def queue_url(name: str) -> str:
        used.append(name)
        return URL

    aws = SimpleNamespace(settings=settings, sqs=sqs, queue_url=queue_url)
    monkeypatch.setattr("cli.composition.aws", lambda: aws)
    events = _events("UnbanUser", [], None, None, Options(user_id=uid("ada")))
    for queue in (None, "urgent", "back-office"):
        _send(events, queue=queue, group=None, wait=None, as_json=False)
    assert used == ["user-commands", "urgent", "back-office"]
    assert "sent UnbanUser to back-office" in capsys.readouterr().err


def test_a_queue_that_is_not_served_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command would wait there for ever; the dead-letter queue is not served either."""
    settings = Settings(additional_queues=("back-office",))
    monkeypatch.setattr("cli.composition.aws", lambda: SimpleNamespace(settings=settings))
    events = _events("UnbanUser", [], None, None, Options(user_id=uid("ada")))
    for queue, advice in {
        "back-ofice": "mean back-office",
        "user-commands-dlq": "mean user-c",
    }.items():
        with pytest.raises(UsageError, match=f"queue {queue} is not a command queue") as raised:
            _send(events, queue=queue, group=None, wait=None, as_json=False)
        assert advice in raised.value.advice
