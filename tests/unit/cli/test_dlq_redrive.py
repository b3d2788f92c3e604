"""`user-worker dlq redrive` and `purge`."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest
import typer
from botocore.exceptions import ClientError

from adapters.aws.batching import MAX_CALL_BYTES
from adapters.sqs.dead_letter_queue import DeadLetterQueue, StoredLetter
from application.queue_port import MAX_BATCH
from cli.commands import dlq
from domain.values import parse_time
from operations.dead_letters import redrive
from operations.dead_letters.letter import Letter
from operations.dead_letters.originals import Originals
from tests.unit.cli.dlq_world import World, command, mocked
from worker.errors import ExitCode


@pytest.fixture(scope="module")
def _aws() -> Iterator[None]:
    """An AWS in this process, for all tests."""
    with mocked():
        yield


@pytest.fixture
def world(_aws: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    """Standard queues."""
    return World(capsys, monkeypatch)


@pytest.fixture
def fifo(_aws: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    """FIFO queues."""
    return World(capsys, monkeypatch, fifo=True)


def test_only_the_letters_that_are_meant_go_back(world: World) -> None:
    """They are sent unchanged, without their reason and with a count; the others stay."""
    meant = [world.letter("Unavailable")["body"] for _ in range(MAX_BATCH + 3)]
    left = [world.letter("NotJson")["body"] for _ in range(3)]

    done = world.dlq("redrive", "--reason", "Unavailable", "--yes", "--json")

    assert (done.code, done.rows) == (
        0,
        [{"redriven": len(meant), "method": "batches", "without_original": 0}],
    )
    back = world.waiting()
    assert sorted(row["Body"] for row in back) == sorted(meant)
    names = {name for row in back for name in row["MessageAttributes"]}
    assert names == {"redrive_count", "original_sent_at", "sender_principal"}
    assert sorted(world.dead()) == sorted(left)


def test_a_letter_keeps_its_producers_attributes_its_group_and_its_count(world: World) -> None:
    """Fair queueing stays fair, and a message that keeps returning can be seen."""
    world.letter(redrives="2", attributes={"team": "sign-up"}, MessageGroupId="import-7")
    world.dlq("redrive", "--limit", "1", "--yes")
    [row] = world.waiting()
    told = {name: value["StringValue"] for name, value in row["MessageAttributes"].items()}
    assert abs(parse_time(told.pop("original_sent_at")).timestamp() - time.time()) < 60
    assert told == {"team": "sign-up", "redrive_count": "3", "sender_principal": "unknown"}
    assert row["Attributes"]["MessageGroupId"] == "import-7"


@pytest.mark.parametrize("principal", ["AROASIGNUP", "AROA SIGNUP", ""])
def test_a_redrive_states_who_sent_the_message_first(world: World, principal: str) -> None:
    """A redrive repeats only a principal that a worker can have recorded."""
    world.letter(attributes={"sender_principal": principal} if principal else {})
    world.dlq("redrive", "--limit", "1", "--yes")
    [row] = world.waiting()
    stated = row["MessageAttributes"].get("sender_principal", {}).get("StringValue")
    assert stated == (principal if principal == "AROASIGNUP" else "unknown")


def test_a_letter_without_room_for_its_sender_stays() -> None:
    """It would count as a command of the operator; a sender could choose such a length."""
    nothing = cast("Any", None)
    redriver = redrive.Redriver(nothing, Originals(nothing), nothing)
    assert redriver.skips(StoredLetter("m", "x" * MAX_CALL_BYTES, 0.0))
    assert redriver.skips(StoredLetter("m", "x" * (MAX_CALL_BYTES - 20), 0.0))
    assert not redriver.skips(StoredLetter("m", "x" * (MAX_CALL_BYTES - 60), 0.0))


@pytest.mark.parametrize("count", ["-1", "many", "1e9", "99999"])
def test_an_invalid_count_starts_again_at_zero(world: World, count: str) -> None:
    """Anyone may write attributes."""
    world.letter(redrives=count)
    world.dlq("redrive", "--limit", "1", "--yes")
    [row] = world.waiting()
    assert row["MessageAttributes"]["redrive_count"]["StringValue"] == "1"


SENDER = {"sender_principal"}
DATED = SENDER | {"original_sent_at"}
COUNTED = DATED | {"redrive_count"}


@pytest.mark.parametrize(
    ("size", "attributes", "added", "kept"),
    [
        (MAX_CALL_BYTES - 60, 0, SENDER, 0),
        (MAX_CALL_BYTES - 80, 0, DATED, 0),
        (MAX_CALL_BYTES - 200, 0, COUNTED, 0),
        (1, 7, COUNTED, 7),
        (1, 8, DATED, 8),
        (1, 9, DATED, 8),
        (1, 10, DATED, 8),
    ],
)
def test_a_letter_without_room_is_redriven_without_its_count_and_keeps_its_age(
    size: int, attributes: int, added: set[str], kept: int
) -> None:
    """SQS would refuse it, and with it every redrive that includes it.

    The age comes before the last of the producer's attributes, which the worker does not read.
    """
    own = {f"a{n}": {"DataType": "String", "StringValue": "x"} for n in range(attributes)}
    letter = StoredLetter("m", "x" * size, 0.0, attributes=own)
    message = redrive._message(letter, letter.body)
    assert (message.attributes or {}).keys() == added | set(list(own)[:kept])


@pytest.mark.parametrize(
    ("stated", "original"),
    [
        pytest.param(None, 9_000.0, id="not stated"),
        pytest.param("1970-01-01T01:00:00.000Z", 3_600.0, id="earlier"),
        pytest.param("9000-01-01T00:00:00Z", 9_000.0, id="forged, in the future"),
        pytest.param("yesterday", 9_000.0, id="not a time"),
        pytest.param("", 9_000.0, id="empty"),
    ],
)
@pytest.mark.parametrize("by_sqs", [True, False])
def test_a_redrive_passes_on_when_the_message_was_first_sent(
    stated: str | None, original: float, by_sqs: bool
) -> None:
    """It is the earlier of SentTimestamp and what an earlier redrive or dead letter stated."""
    attribute = {"DataType": "String", "StringValue": stated}
    letter = StoredLetter(
        "m",
        "{}",
        9_000.0,
        attributes={} if stated is None else {"original_sent_at": attribute},
        source_queue="commands" if by_sqs else None,
    )
    attributes = redrive._message(letter, letter.body).attributes or {}
    assert parse_time(attributes["original_sent_at"]["StringValue"]).timestamp() == original


@pytest.mark.parametrize("setting", ["PRIORITY_QUEUE", "ADDITIONAL_QUEUES"])
def test_a_letter_goes_back_to_the_queue_it_came_from(
    world: World, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """An unknown queue is replaced by the command queue, which is reported once."""
    monkeypatch.setenv(f"USER_WORKER_{setting}", world.other)
    other = world.letter(queue=world.other)["body"]
    usual = [world.letter(queue=name)["body"] for name in (None, world.commands)]
    lost = [world.letter(queue="gone")["body"] for _ in range(2)]
    done = world.dlq("redrive", "--reason", "NotJson", "--yes")
    assert [row["Body"] for row in world.waiting(world.other)] == [other]
    assert sorted(row["Body"] for row in world.waiting()) == sorted([*usual, *lost])
    assert done.err.count("letters of queue gone, which is not in the settings") == 1


def test_a_dry_run_changes_nothing(world: World) -> None:
    """It reports which and how many, and which of them are redacted."""
    redacted = world.letter(attributes={"quarantined": "redacted"})
    bodies = [redacted["body"], world.letter()["body"]]
    for words, key in ((["redrive"], "would_redrive"), (["purge"], "would_delete")):
        done = world.dlq(*words, "--dry-run", "--json")
        assert (done.code, done.rows[0][key]) == (ExitCode.OK, 2)
        assert "1 is redacted: its original is in the quarantine queue" in done.err
    assert world.waiting() == []
    assert sorted(world.dead()) == sorted(bodies)


def test_bodies_are_not_edited(world: World) -> None:
    """A command's id stands for its content; the error names the remedy."""
    world.letter()
    done = world.dlq("redrive", "--edit", "x=y", "--yes")
    assert done.code == ExitCode.USAGE
    assert "send a new command" in done.err
    assert len(world.dead()) == 1


@pytest.mark.parametrize("words", [["redrive"], ["purge"]])
def test_a_script_must_give_yes(world: World, words: list[str]) -> None:
    """Without a terminal nothing is done unless `--yes` is given."""
    world.letter()
    assert world.dlq(*words).code == ExitCode.USAGE
    assert len(world.dead()) == 1


@pytest.mark.parametrize("agreed", [True, False])
def test_on_a_terminal_only_confirmed_letters_are_redriven(
    world: World, monkeypatch: pytest.MonkeyPatch, agreed: bool
) -> None:
    """Dead letters that arrive during the question stay."""
    before = world.letter("Unavailable")["body"]
    later: list[str] = []

    def confirm(text: str, **_: object) -> bool:
        assert text.startswith("Redrive 1 dead letter?")
        later.append(world.letter("Unavailable")["body"])
        if not agreed:
            raise typer.Abort
        return True

    monkeypatch.setattr(dlq, "_require_terminal", lambda _: None)
    monkeypatch.setattr(typer, "confirm", confirm)
    done = world.dlq("redrive", "--reason", "Unavailable")
    assert done.code == (ExitCode.OK if agreed else ExitCode.INTERRUPTED)
    assert ("1 arrived or became visible later, and stayed" in done.err) is agreed
    assert [row["Body"] for row in world.waiting()] == ([before] if agreed else [])
    assert sorted(world.dead()) == sorted(later if agreed else [before, *later])


def test_what_sqs_refuses_is_left_and_the_rest_is_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is 3, and the error has the number of dead letters done before."""
    bodies = [world.letter()["body"] for _ in range(3)]
    monkeypatch.setattr(redrive, "_sender", lambda *_: Refusing())
    done = world.dlq("redrive", "--limit", "2", "--yes")
    assert done.code == ExitCode.ENVIRONMENT
    assert "SQS rejected a message: Throttled; 0 dead letters were processed before" in done.err
    assert sorted(world.dead()) == sorted(bodies)


class Refusing:
    """A queue that refuses every message."""

    def send(self, _: object) -> Any:
        """Refuse."""
        return type("Report", (), {"message_ids": {}, "code": "Throttled", "error": None})


def test_a_crash_between_sending_and_deleting_leaves_the_letter(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be sent twice with one command id, which is harmless; it is never lost."""
    body = world.letter("Unavailable")["body"]
    with monkeypatch.context() as patch:
        patch.setattr(DeadLetterQueue, "delete", crash)
        assert world.dlq("redrive", "-r", "Unavailable", "--yes").code != ExitCode.OK
    assert world.dlq("redrive", "-r", "Unavailable", "--yes").code == ExitCode.OK
    assert [row["Body"] for row in world.waiting()] == [body, body]
    assert world.dead() == []


def crash(*_: object) -> None:
    """Fail like a connection."""
    raise ClientError({"Error": {"Code": "InternalFailure"}}, "DeleteMessageBatch")


def test_ctrl_c_gives_back_what_is_in_hand(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are visible at once, and not after their visibility timeout."""
    bodies = [world.letter()["body"] for _ in range(12)]
    monkeypatch.setattr(Letter, "read", interrupt)
    assert world.dlq("redrive", "--limit", "99", "--yes").code == ExitCode.INTERRUPTED
    assert world.dlq("list").code == ExitCode.INTERRUPTED
    assert sorted(world.dead()) == sorted(bodies)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_waits_for_what_is_being_sent(
    world: World, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """It ends after the current ten, which are sent and deleted; the others are visible at once."""
    bodies = [world.letter()["body"] for _ in range(25)]
    send = redrive._sender
    monkeypatch.setattr(redrive, "_sender", lambda *of: Interrupted(send(*of), number))
    assert world.dlq("redrive", "--limit", "99", "--yes").code == ExitCode.INTERRUPTED
    back = [row["Body"] for row in world.waiting()]
    assert len(back) == MAX_BATCH
    assert sorted(back + world.dead()) == sorted(bodies)


class Interrupted:
    """Sends, and raises the signal twice before it returns."""

    def __init__(self, sender: Any, number: signal.Signals) -> None:
        """Take the sender to use."""
        self._sender, self._number = sender, number

    def send(self, messages: Any) -> Any:
        """Send, and raise the signal."""
        report = self._sender.send(messages)
        for _ in range(2):
            signal.raise_signal(self._number)
        return report


def interrupt(*_: object) -> None:
    """Raise what Ctrl-C raises."""
    raise KeyboardInterrupt


def test_letters_that_come_back_at_once_do_not_go_round(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a worker dead-letters them again, the redrive must still end."""
    for _ in range(3):
        world.letter("NotJson")
    send = redrive._sender
    monkeypatch.setattr(redrive, "_sender", lambda *of: DeadLettering(world, send(*of)))
    done = world.dlq("redrive", "--reason", "NotJson", "--yes", "--json")
    assert done.rows == [{"redriven": 3, "method": "batches", "without_original": 0}]
    assert len(world.dead()) == 3


class DeadLettering:
    """Sends, and a worker dead-letters each message again at once."""

    def __init__(self, world: World, sender: Any) -> None:
        """Take the sender to use."""
        self._world, self._sender = world, sender

    def send(self, messages: Any) -> Any:
        """Send, and dead-letter the messages."""
        report = self._sender.send(messages)
        for message_id in report.message_ids.values():
            self._world.letter("NotJson", attributes={"original_message_id": message_id})
        return report


@pytest.mark.parametrize(("words", "key"), [(["redrive"], "redriven"), (["purge"], "deleted")])
def test_letters_that_were_not_read_are_reported(
    world: World, monkeypatch: pytest.MonkeyPatch, words: list[str], key: str
) -> None:
    """SQS limits the messages in flight.

    A script learns by exit code 1 that there may be more.
    """
    for _ in range(25):
        world.letter("Unavailable")
    defaults = DeadLetterQueue.__init__.__kwdefaults__ or {}
    monkeypatch.setattr(DeadLetterQueue.__init__, "__kwdefaults__", {**defaults, "most_held": 20})
    done = world.dlq(*words, "--reason", "NotJson", "--yes", "--json")
    assert (done.code, done.rows[0][key]) == (ExitCode.NEGATIVE, 0)
    assert "those behind them were not read" in done.err
    done = world.dlq(*words, "--reason", "Unavailable", "--yes", "--json")
    assert (done.code, done.rows[0][key], done.err) == (ExitCode.OK, 25, "")


def test_letters_in_flight_at_others_are_reported(world: World) -> None:
    """This is reported to a script too, which has seen no preview."""
    for _ in range(3):
        world.letter("Unavailable")
    world.sqs.receive_message(QueueUrl=world.urls[world.dead_letters], VisibilityTimeout=600)
    done = world.dlq("purge", "--reason", "Unavailable", "--yes", "--json")
    assert (done.code, done.rows) == (
        ExitCode.OK,
        [{"deleted": 2, "originals_deleted": 0, "originals_left": 0}],
    )
    assert "1 more is in flight at another consumer" in done.err


@pytest.mark.parametrize("rate", ["inf", "nan", "0", "1e99"])
def test_an_invalid_rate_is_refused(world: World, rate: str) -> None:
    """It is refused before anything is read."""
    world.letter()
    assert world.dlq("redrive", "--rate", rate, "--yes").code == ExitCode.USAGE
    assert len(world.dead()) == 1


# --- FIFO ---


def test_on_fifo_groups_keep_their_order_with_fresh_deduplication_ids(fifo: World) -> None:
    """SQS would drop what it has seen in the last five minutes."""
    sent = [fifo.letter(body=command(), MessageGroupId=group) for group in "abab" * 6]
    done = fifo.dlq("redrive", "--yes", "--json")
    assert done.rows == [{"redriven": 24, "method": "batches", "without_original": 0}]
    back = fifo.waiting()
    for group, start in (("a", 0), ("b", 1)):
        mine = [row["Body"] for row in back if row["Attributes"]["MessageGroupId"] == group]
        assert mine == [each["body"] for each in sent[start::2]]
    assert len({row["Attributes"]["MessageDeduplicationId"] for row in back}) == 24


def test_on_fifo_no_letter_overtakes_one_of_its_group_that_stays(fifo: World) -> None:
    """The command reports how many wait; other groups are redriven."""
    for code, group in (("NotJson", "a"), ("Unavailable", "a"), ("Unavailable", "b")):
        fifo.letter(code, command(), MessageGroupId=group)
    done = fifo.dlq("redrive", "--reason", "Unavailable", "--yes", "--json")
    assert done.rows == [{"redriven": 1, "method": "batches", "without_original": 0}]
    assert "1 matching dead letter is behind others" in done.err
    assert [row["Attributes"]["MessageGroupId"] for row in fifo.waiting()] == ["b"]


# --- purge ---


def test_purge_deletes_what_is_meant_and_nothing_else(world: World) -> None:
    """Also without a filter, dead letters that were not looked at are not touched."""
    for _ in range(11):
        world.letter("NotJson")
    left = world.letter("Unavailable")["body"]
    held = world.letter("Unavailable")["body"]
    done = world.dlq("purge", "--reason", "NotJson", "--yes", "--json")
    assert done.rows == [{"deleted": 11, "originals_deleted": 0, "originals_left": 0}]
    assert sorted(world.dead()) == sorted([left, held])
    assert world.waiting() == []


@pytest.mark.parametrize(("typed", "left"), [("2", 1), ("3", 3), ("", 3), ("yes", 3)])
def test_on_a_terminal_the_number_has_to_be_typed(
    world: World, monkeypatch: pytest.MonkeyPatch, typed: str, left: int
) -> None:
    """Typing the number is less likely to happen by habit than a `y`."""
    for code in ("NotJson", "NotJson", "Unavailable"):
        world.letter(code)
    monkeypatch.setattr(dlq, "_require_terminal", lambda _: None)
    monkeypatch.setattr(typer, "prompt", lambda *_, **__: typed)
    done = world.dlq("purge", "--reason", "NotJson")
    assert done.code == (ExitCode.OK if left == 1 else ExitCode.NEGATIVE)
    assert len(world.dead()) == left


# --- what cannot succeed -------------------------------------------------------------------

REUSED = "its id belongs to another command (CommandIdReused); send a new command with a new id"


def test_a_letter_that_cannot_succeed_is_left_with_the_reason(world: World) -> None:
    """It bounced at once; with --force it is sent all the same."""
    for code in ("Unavailable", "CommandIdReused", "Unavailable"):
        world.letter(code)
    shown = world.dlq("redrive", "--dry-run", "--json")
    assert shown.rows[0]["would_redrive"] == 2
    assert f"1 was left: {REUSED}, or use --force" in shown.err
    assert "2 of 3 dead letters would be redriven" in shown.err

    done = world.dlq("redrive", "--yes", "--json")
    (row,) = done.rows
    assert (done.code, row["redriven"], row["cannot_succeed"]) == (ExitCode.OK, 2, 1)
    assert f"1 was left: {REUSED}" in done.err
    assert [each["reason"] for each in world.dlq("list", "--each", "--json").rows] == [
        "CommandIdReused"
    ]

    forced = world.dlq("redrive", "--yes", "--force", "--json")
    assert (forced.code, forced.rows[0]["redriven"]) == (ExitCode.OK, 1)
    assert "1 fails again" in forced.err
    assert len(world.waiting()) == 3


def test_after_a_confirmation_it_is_not_counted_as_a_new_letter(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there before, and was not offered."""
    for code in ("Unavailable", "CommandIdReused"):
        world.letter(code)
    monkeypatch.setattr(dlq, "_require_terminal", lambda _: None)
    monkeypatch.setattr(typer, "confirm", lambda text, **_: text.startswith("Redrive 1 dead"))
    done = world.dlq("redrive")
    assert (done.code, done.out) == (ExitCode.OK, "1 dead letter redriven\n")
    assert "arrived" not in done.err


@pytest.mark.parametrize("by", ["--id", "--reason"])
def test_a_chosen_letter_that_cannot_succeed_is_left_too(world: World, by: str) -> None:
    """It is not called unknown; for a chosen id, the exit code says that nothing was sent."""
    value = {"--id": world.letter("CommandIdReused")["message_id"], "--reason": "CommandIdReused"}
    for more in (["--yes"], ["--dry-run"]):
        done = world.dlq("redrive", by, value[by], *more)
        assert REUSED in done.err
        assert "not found" not in done.err
    done = world.dlq("redrive", by, value[by], "--yes")
    assert (done.code, done.out) == (
        ExitCode.NEGATIVE if by == "--id" else ExitCode.OK,
        "0 dead letters redriven\n",
    )
    assert len(world.dead()) == 1


def test_on_fifo_no_letter_waits_for_one_that_cannot_succeed(fifo: World) -> None:
    """The order of the others is kept; this one would never be processed."""
    bodies = [fifo.letter(code)["body"] for code in ("Unavailable", "CommandIdReused", "NotJson")]
    done = fifo.dlq("redrive", "--yes", "--json")
    assert (done.rows[0]["redriven"], done.rows[0]["cannot_succeed"]) == (2, 1)
    assert [row["Body"] for row in fifo.waiting()] == [bodies[0], bodies[2]]
