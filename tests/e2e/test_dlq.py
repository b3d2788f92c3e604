"""The command line redrives dead letters, and a real worker handles each command once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from adapters.sqs.dead_letter_queue import DeadLetterQueue
from adapters.sqs.dead_letters import time_text
from domain import commands as c
from domain.errors import RejectionCode
from tests.builders import email, register, token
from tests.conftest import ResourceNames
from tests.e2e.command_line import CommandLine
from tests.e2e.system import Message, System, decided, message
from tests.e2e.test_addresses import in_an_hour
from tests.e2e.worker_process import Queues, WorkerProcess, eventually

pytestmark = [pytest.mark.xdist_group("dlq")]

REASONS = ("Unavailable", "Contended", "UnknownType", "Unforeseen", None)
"""None stands for dead letters that SQS has moved by itself."""
EACH = 200


@pytest.fixture(scope="module")
def running(
    aws_endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[System, WorkerProcess]]:
    """A system with a worker."""
    system = System.create(aws_endpoint, tmp_path_factory.mktemp("dlq"))
    with system.worker() as worker:
        yield system, worker.ready()
    system.delete()


def reset() -> Message:
    """Create a command without effect, which writes nothing but its outcome."""
    stranger = email(f"nobody-{uuid4().hex}")
    return message(
        c.RequestPasswordReset(str(uuid4()), token(uuid4().hex), in_an_hour(), stranger), None
    )


def write_letters(
    queues: Queues,
    reason: str | None,
    messages: Sequence[Message],
    group: str = "",
    days: float | None = None,
) -> None:
    """Put messages into the dead-letter queue as a worker or, without a reason, SQS would.

    `days` is how long ago they were first sent; `None`: not stated.
    """
    told = {"error_code": reason} if reason else {}
    if days is not None:
        told["original_sent_at"] = time_text(time.time() - days * 86_400)
    attributes = {n: {"DataType": "String", "StringValue": v} for n, v in told.items()}
    for start in range(0, len(messages), 10):
        entries = [
            {
                "Id": str(place),
                "MessageBody": each.body,
                "MessageAttributes": attributes,
                **queues._fifo(group or None, start + place),
            }
            for place, each in enumerate(messages[start : start + 10])
        ]
        answer = queues.sqs.send_message_batch(QueueUrl=queues.dead_letter_url, Entries=entries)
        assert not answer.get("Failed")


def depth(queues: Queues) -> int:
    """Count dead letters, including invisible ones."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    url = queues.dead_letter_url
    answer = queues.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)
    return sum(int(answer["Attributes"][name]) for name in names)


def test_a_thousand_letters_go_back_by_reason_and_each_is_done_once(
    running: tuple[System, WorkerProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """First those with one reason, with a crash between sending and deleting; then all others."""
    system, worker = running
    cli = CommandLine.on(system.names, system.endpoint)
    written = {reason: [reset() for _ in range(EACH)] for reason in REASONS}
    for reason, messages in written.items():
        write_letters(system.queues, reason, messages)

    chosen = ("dlq", "redrive", "--reason", "Unavailable", "--yes", "--json")
    with monkeypatch.context() as patch:
        patch.setattr(DeadLetterQueue, "delete", crash)
        assert cli.run(*chosen).code == 3
    done = cli.run(*chosen)
    assert (done.code, json.loads(done.out)["redriven"]) == (0, EACH), done.err
    system.outcomes(written[REASONS[0]])
    rest = [each for reason in REASONS if reason != "Unavailable" for each in written[reason]]
    assert system.load(outcomes={each.key for each in rest}).outcomes == {}
    assert depth(system.queues) == len(rest)

    done = cli.run("dlq", "redrive", "--type", "RequestPasswordReset", "--yes", "--json")
    assert (done.code, json.loads(done.out)["redriven"]) == (0, len(rest)), done.err
    system.outcomes([each for messages in written.values() for each in messages], seconds=60)
    eventually(system.queues.empty)
    assert depth(system.queues) == 0
    ends = Counter((line["command_id"], line["outcome"]) for line in decided(worker))
    first = {each.command_id for messages in written.values() for each in messages}
    assert {command for command, outcome in ends if outcome != "duplicate"} == first
    assert all(count == 1 for (_, outcome), count in ends.items() if outcome != "duplicate")
    assert sum(count for (_, outcome), count in ends.items() if outcome == "duplicate") == 10


def crash(*_: object) -> None:
    """Fail like a connection."""
    raise ClientError({"Error": {"Code": "InternalFailure"}}, "DeleteMessageBatch")


@pytest.mark.parametrize("options", [(), ("--move-task",)], ids=["letter by letter", "by SQS"])
def test_an_old_command_that_is_redriven_does_not_undo_a_newer_decision(
    running: tuple[System, WorkerProcess], options: tuple[str, ...]
) -> None:
    """Twenty days after it was first sent, UnbanUser is rejected; after twenty hours it is not."""
    system, _ = running
    users = {days: str(uuid4()) for days in (20, 20 / 24)}
    for user_id in users.values():
        system.do(message(register(f"banned-{user_id}"), user_id))
        system.do(message(c.BanUser("fraud"), user_id))
    unbans = {days: message(c.UnbanUser(), user_id) for days, user_id in users.items()}
    for days, each in unbans.items():
        write_letters(system.queues, "Unavailable", [each], days=days)

    done = CommandLine.on(system.names, system.endpoint).run("dlq", "redrive", "--yes", *options)

    assert done.code == 0, done.err
    old, young = system.outcomes(list(unbans.values()))
    assert (old.code, young.code) == (RejectionCode.COMMAND_EXPIRED, None)
    assert system.user(users[20]).ban is not None
    assert system.user(users[20 / 24]).ban is None
    assert depth(system.queues) == 0


def test_sqs_moves_them_itself_where_it_can(
    running: tuple[System, WorkerProcess],
) -> None:
    """If SQS cannot, the command says so and sends the dead letters one by one."""
    system, _ = running
    written = [reset() for _ in range(5)]
    write_letters(system.queues, "Unavailable", written)
    done = CommandLine.on(system.names, system.endpoint).run(
        "dlq", "redrive", "--move-task", "--yes", "--json"
    )
    lacking = "moving letters one by one" in done.err
    method = "batches" if lacking else "move_task"
    assert (done.code, json.loads(done.out)) == (
        0,
        {"redriven": 5, "method": method, "without_original": 0},
    )
    system.outcomes(written)
    assert depth(system.queues) == 0


def test_a_letter_that_is_dead_lettered_again_has_its_redrive_count(
    running: tuple[System, WorkerProcess],
) -> None:
    """The worker passes on the count and the first time of sending, and records the queue."""
    system, _ = running
    cli = CommandLine.on(system.names, system.endpoint)
    [sent] = system.queues.send("no command")
    first_sent = set[str]()
    for redrives in (0, 1, 2):
        letter = eventually(
            partial(seen, cli, redrives), what=f"a letter after {redrives} redrives"
        )
        assert (letter["reason"], letter["queue"]) == ("NotJson", system.names.command_queue)
        assert (letter["original_message_id"] == sent) is (redrives == 0)
        assert letter["sent_at"] > letter["original_sent_at"]
        first_sent.add(letter["original_sent_at"])
        done = cli.run("dlq", "redrive", "--id", letter["message_id"], "--yes", "--json")
        assert json.loads(done.out)["redriven"] == 1
    first_sent.add(eventually(partial(seen, cli, 3))["original_sent_at"])
    assert len(first_sent) == 1
    assert cli.run("dlq", "purge", "--yes").out == ("1 dead letter deleted, 1 with the original\n")
    assert depth(system.queues) == 0


def seen(cli: CommandLine, redrives: int) -> dict[str, Any]:
    """Return the dead letter with this redrive count, or an empty dict until it is there."""
    out = cli.run("dlq", "list", "--each", "--json").out
    rows: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    return next((row for row in rows if row["redrives"] == redrives), {})


def test_on_fifo_queues_a_redrive_keeps_the_order_of_groups(
    fifo_resource_names: ResourceNames, aws_endpoint: str
) -> None:
    """The redrive runs twice within the five minutes in which SQS deduplicates."""
    queues = Queues.create(fifo_resource_names, aws_endpoint, 30)
    cli = CommandLine.on(fifo_resource_names, aws_endpoint)
    sent = {group: [reset() for _ in range(13)] for group in ("a", "b")}
    for _ in range(2):
        for group, messages in sent.items():
            write_letters(queues, "Unavailable", messages, group, days=20)
        done = cli.run("dlq", "redrive", "--yes", "--json")
        assert (done.code, json.loads(done.out)) == (
            0,
            {"redriven": 26, "method": "batches", "without_original": 0},
        )
        got = received(queues, 26)
        for group, messages in sent.items():
            assert got[group] == [each.body for each in messages]
    assert depth(queues) == 0
    queues.delete()


def received(queues: Queues, count: int) -> dict[str, list[str]]:
    """Receive and delete messages of the command queue; return their bodies by group, in order."""
    groups: dict[str, list[str]] = {}

    def all_there() -> bool:
        rows = queues.sqs.receive_message(
            QueueUrl=queues.url,
            MaxNumberOfMessages=10,
            MessageSystemAttributeNames=["MessageGroupId"],
            MessageAttributeNames=["original_sent_at"],
        ).get("Messages", [])
        for row in rows:
            stated = row["MessageAttributes"]["original_sent_at"]["StringValue"]
            assert stated < time_text(time.time() - 19 * 86_400), "the age is kept"
            groups.setdefault(row["Attributes"]["MessageGroupId"], []).append(row["Body"])
            queues.sqs.delete_message(QueueUrl=queues.url, ReceiptHandle=row["ReceiptHandle"])
        return sum(map(len, groups.values())) == count

    eventually(all_there, what=f"{count} messages")
    return groups
