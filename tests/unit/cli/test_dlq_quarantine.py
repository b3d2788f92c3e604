"""`user-worker dlq` and the originals of redacted dead letters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from adapters.sqs.dead_letter_queue import DeadLetterQueue, StoredLetter
from application.messages import Redactor
from operations.dead_letters import originals
from operations.dead_letters.letter import Letter
from tests.secrets import SECRET, reveals
from tests.unit.cli.dlq_world import World, command, mocked
from worker.errors import ExitCode

ORIGINAL = command(password=SECRET)


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


def quarantined(world: World, form: str = "redacted", *, copies: int = 1, **more: Any) -> str:
    """Put a letter and its original on their queues; return the id of its message."""
    sent = str(uuid4())
    attributes = {"quarantined": form, "original_message_id": sent}
    world.letter(more.pop("code", "UnknownField"), attributes=attributes, **more)
    for _ in range(copies):
        world.original(sent, ORIGINAL)
    return sent


def bodies(world: World, queue: str) -> list[str]:
    """Receive and delete the messages of a queue; return their bodies."""
    return [row["Body"] for row in world.waiting(queue)]


def deny(
    monkeypatch: pytest.MonkeyPatch, world: World, operation: str, code: str = "AccessDenied"
) -> None:
    """Refuse an operation on the quarantine queue."""
    real = DeadLetterQueue.__init__

    def made(self: DeadLetterQueue, client: Any, url: str, **options: Any) -> None:
        real(self, client, url, **options)
        if url == world.urls[world.quarantine]:
            self._client = _Denying(client, operation, code)  # type: ignore[assignment]

    made.__kwdefaults__ = real.__kwdefaults__
    monkeypatch.setattr(DeadLetterQueue, "__init__", made)


class _Denying:
    def __init__(self, client: Any, operation: str, code: str) -> None:
        self._client, self._operation, self._code = client, operation, code

    def __getattr__(self, name: str) -> Any:
        if name == self._operation:
            return self._refuse
        return getattr(self._client, name)

    def _refuse(self, **_: Any) -> None:
        raise ClientError({"Error": {"Code": self._code, "Message": SECRET}}, self._operation)


# --- redrive -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["redacted", "unwrapped"])
@pytest.mark.parametrize("copies", [1, 2])
def test_the_original_is_sent_and_both_are_deleted(world: World, form: str, copies: int) -> None:
    """Byte for byte, with the number of redrives; a second copy is deleted as well."""
    quarantined(world, form, copies=copies)
    done = world.dlq("redrive", "--yes", "--json")
    assert (done.code, done.rows[0]["redriven"]) == (ExitCode.OK, 1)
    (row,) = world.waiting()
    assert row["Body"] == ORIGINAL
    assert row["MessageAttributes"]["redrive_count"]["StringValue"] == "1"
    assert row["MessageAttributes"]["sender_principal"]["StringValue"] == "unknown"
    assert "quarantined" not in row["MessageAttributes"]
    assert (world.dead(), bodies(world, world.quarantine)) == ([], [])


@pytest.mark.parametrize("code", ["AccessDenied", "KmsAccessDenied"])
def test_without_access_redacted_letters_stay_and_complete_ones_are_sent(
    world: World, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """One line says how many stay, why, and what to do."""
    quarantined(world)
    ban = command("BanUser")
    quarantined(world, "unwrapped", body=ban)
    plain = world.letter("Unavailable")["body"]
    deny(monkeypatch, world, "receive_message", code)
    done = world.dlq("redrive", "--yes", "--json")
    assert done.code == ExitCode.NEGATIVE
    assert done.rows == [{"redriven": 2, "method": "batches", "without_original": 1}]
    assert sorted(bodies(world, world.commands)) == sorted([plain, ban])
    (line,) = [each for each in done.err.splitlines() if "was left" in each]
    assert line.startswith(
        f"1 redacted dead letter was left: no access to queue {world.quarantine} ({code})."
    )
    assert "Run it with a role" in done.err
    assert len(world.dead()) == 1
    assert not reveals(done.out + done.err)


def test_without_the_queue_redacted_letters_stay(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names the queue."""
    quarantined(world)
    monkeypatch.setenv("USER_WORKER_QUARANTINE_QUEUE", "absent")
    done = world.dlq("redrive", "--yes")
    assert done.code == ExitCode.NEGATIVE
    assert "was left: queue absent does not exist" in done.err
    assert len(world.dead()) == 1


def test_a_redacted_letter_whose_original_is_gone_stays(world: World) -> None:
    """Originals expire; a complete letter is sent as it is."""
    quarantined(world, copies=0)
    quarantined(world, "unwrapped", copies=0)
    world.original(str(uuid4()), "of another letter")
    done = world.dlq("redrive", "--yes")
    assert "1 redacted dead letter was left: their originals are not in the quarantine" in done.err
    assert len(bodies(world, world.commands)) == len(world.dead()) == 1
    assert bodies(world, world.quarantine) == ["of another letter"]


def test_no_letter_needs_the_quarantine_queue_if_none_has_an_original(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operators without access notice nothing."""
    world.letter("Unavailable")
    monkeypatch.setenv("USER_WORKER_QUARANTINE_QUEUE", "absent")
    done = world.dlq("redrive", "--yes")
    assert (done.code, done.err) == (ExitCode.OK, "")


@pytest.mark.parametrize("step", ["letter", "original"])
def test_a_crash_between_the_steps_loses_neither(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The next redrive sends the original again; its command is a duplicate then."""
    quarantined(world)
    crash = RuntimeError("a crash")

    def fail(self: DeadLetterQueue, letters: Any) -> Any:
        if (self._url == world.urls[world.quarantine]) is (step == "original"):
            raise crash
        return real(self, letters)

    real = DeadLetterQueue.delete
    with monkeypatch.context() as patch:
        patch.setattr(DeadLetterQueue, "delete", fail)
        assert world.dlq("redrive", "--yes").code not in {ExitCode.OK, ExitCode.NEGATIVE}
    assert bodies(world, world.commands) == [ORIGINAL]
    again = world.dlq("redrive", "--yes", "--json").rows[0]
    assert again["redriven"] == (step == "letter")
    left = [] if step == "letter" else [ORIGINAL]
    assert bodies(world, world.commands) == [ORIGINAL] * (step == "letter")
    assert (world.dead(), bodies(world, world.quarantine)) == ([], left)


def test_an_original_that_cannot_be_deleted_expires(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command was sent: the letter is deleted, and the redrive succeeds."""
    quarantined(world)
    deny(monkeypatch, world, "delete_message_batch")
    done = world.dlq("redrive", "--yes")
    assert (done.code, bodies(world, world.commands)) == (ExitCode.OK, [ORIGINAL])
    assert world.dead() == []


def test_with_a_limit_of_memory_the_rest_is_left_for_the_next_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Originals can be 1 MiB each."""
    monkeypatch.setattr(originals, "MAX_BYTES", 10)
    for _ in range(12):
        quarantined(world)
    done = world.dlq("redrive", "--yes", "--json")
    assert done.rows[0]["redriven"] + done.rows[0]["without_original"] == 12
    assert "start it again" in done.err
    while world.dlq("redrive", "--yes", "--json").rows[0]["without_original"]:
        pass
    assert bodies(world, world.commands) == [ORIGINAL] * 12


def test_on_fifo_an_original_of_a_purged_letter_hides_no_other(fifo: World) -> None:
    """Each original is a group of its own."""
    fifo.original(str(uuid4()), "of a purged letter")
    quarantined(fifo)
    done = fifo.dlq("redrive", "--yes", "--json")
    assert (done.code, done.rows[0]["redriven"]) == (ExitCode.OK, 1)
    (row,) = fifo.waiting()
    assert (row["Body"], row["Attributes"]["MessageGroupId"]) == (ORIGINAL, "g")


def test_sqs_moves_no_letter_while_there_are_originals(world: World) -> None:
    """It would send the redacted bodies, and the link to the originals would be lost."""
    quarantined(world)
    done = world.dlq("redrive", "--move-task", "--yes", "--json")
    assert done.rows[0]["method"] == "batches"
    assert bodies(world, world.commands) == [ORIGINAL]


# --- what fails again ----------------------------------------------------------------------


def test_letters_that_fail_again_are_counted_before_and_after(world: World) -> None:
    """By reason, in one line; the age counts from the first send."""
    for code in ("NotPermitted", "NotPermitted", "UnknownType", "Unavailable"):
        world.letter(code)
    world.letter("Unavailable", attributes={"original_sent_at": "2020-01-01T00:00:00Z"})
    expected = (
        "4 fail again unless the worker or the permissions were changed: "
        "2 NotPermitted, 1 UnknownType, 1 too old for their type"
    )
    for words in (["--dry-run"], ["--yes"]):
        assert expected in " ".join(world.dlq("redrive", *words).err.split())
    world.letter("NotPermitted")
    assert "fail again" not in world.dlq("purge", "--dry-run").err


# --- purge ---------------------------------------------------------------------------------


def test_a_purge_deletes_originals_as_well(world: World) -> None:
    """Those of the purged letters only."""
    quarantined(world, code="NotJson")
    quarantined(world, code="InvalidField")
    done = world.dlq("purge", "--reason", "NotJson", "--yes")
    assert done.out == "1 dead letter deleted, 1 with the original\n"
    assert len(world.dead()) == len(bodies(world, world.quarantine)) == 1


@pytest.mark.parametrize("operation", ["receive_message", "delete_message_batch"])
def test_without_access_a_purge_says_that_originals_expire(
    world: World, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """The letters are deleted."""
    quarantined(world)
    deny(monkeypatch, world, operation)
    done = world.dlq("purge", "--yes", "--json")
    assert done.rows == [{"deleted": 1, "originals_deleted": 0, "originals_left": 1}]
    assert "1 original was not deleted: it expires in the quarantine queue" in done.err
    assert world.dead() == []


# --- list and show -------------------------------------------------------------------------


def test_of_a_letter_that_sqs_moved_nothing_is_shown_that_its_sender_may_have_made_up() -> None:
    """Its attributes, those with the worker's names too, its group and its body."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    texts = dict.fromkeys(
        ("error_code", "error_detail", "quarantined", "original_queue", "note", SECRET), SECRET
    )
    texts |= {"traceparent": trace, "redrive_count": "2", "sender_principal": "AROAEXAMPLE"}
    attributes: dict[str, Any] = {name: {"StringValue": text} for name, text in texts.items()}
    attributes["blob"] = {"BinaryValue": SECRET.encode()}
    body = json.dumps({"password": SECRET})
    letter = Letter.read(StoredLetter("m", body, 0.0, SECRET, attributes, source_queue="commands"))
    shown = letter.attributes()
    told = {"facts": letter.facts(0.0), "attributes": shown, "body": letter.body(Redactor([]))}
    assert not reveals(json.dumps(told))
    assert shown.pop("[unknown]") == [f"[string of {len(SECRET)} characters]"] * 6 + [
        f"[binary of {len(SECRET)} bytes]"
    ]
    assert shown == {
        "traceparent": trace,
        "redrive_count": "2",
        "sender_principal": "AROAEXAMPLE",
    }
