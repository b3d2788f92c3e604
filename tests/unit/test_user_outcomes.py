from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from adapters.subscription import OUTCOMES
from tests.builders import uid
from user_client import Answer, AnswerKind, NoAnswerError, OutcomeListener, UserClientError
from user_client.answers import AnswerBook

COMMAND = uid("command")


def event(name: str = "UserBanned", command: str = COMMAND, **data: Any) -> str:
    """Write an event as the worker does."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": uid(f"{name} of {command}"),
            "type": f"biome.user.{name}.v1",
            "subject": uid("ada"),
            "sequence": "00000000000000000007",
            "causationid": command,
            "data": data,
        }
    )


def answer(command: str = COMMAND, name: str = "UserBanned") -> Answer:
    """Read the answer that an event is."""
    read = Answer.read(event(name, command))
    assert read is not None
    return read


# --- what an event says --------------------------------------------------------------------

ENDINGS: dict[str, tuple[str, dict[str, Any], AnswerKind, str | None]] = {
    "an event": ("UserBanned", {"until": None}, AnswerKind.ACCEPTED, None),
    "no effect": ("CommandHadNoEffect", {"command_id": COMMAND}, AnswerKind.NO_EFFECT, None),
    "a rejection": (
        "CommandRejected",
        {"command_id": COMMAND, "code": "EmailTaken"},
        AnswerKind.REJECTED,
        "EmailTaken",
    ),
    "a stolen token": (
        "RefreshTokenReuseDetected",
        {"session_id": uid("s")},
        AnswerKind.REJECTED,
        "RefreshTokenReused",
    ),
    "an event of a later version": ("Unheard", {}, AnswerKind.ACCEPTED, None),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_every_event_of_a_command_is_an_answer(name: str) -> None:
    """It says how the command ended, for whom, and at which version."""
    type_, data, kind, code = ENDINGS[name]
    read = Answer.read(event(type_, **data))
    assert read is not None
    assert (read.command_id, read.kind, read.code) == (COMMAND, kind, code)
    assert (read.user_id, read.sequence) == (uid("ada"), 7)


def test_an_event_in_a_notification_is_read_too() -> None:
    """A subscription may lack raw message delivery."""
    wrapped = json.dumps({"Type": "Notification", "TopicArn": "arn", "Message": event()})
    assert Answer.read(wrapped) == answer()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "junk",
        "[]",
        "null",
        "[" * 100_000,
        "{}",
        '{"causationid": 1, "type": "x"}',
        '{"causationid": "x"}',
        '{"type": "biome.user.UserBanned.v1"}',
        '{"TopicArn": "arn", "Message": 1}',
        '{"TopicArn": "arn", "Message": "junk"}',
        '{"TopicArn": "arn"}',
        '{"TopicArn": "arn", "Message": "[1]"}',
    ],
)
def test_what_is_no_answer_is_passed_over(body: str) -> None:
    """Anyone may publish to the topic."""
    assert Answer.read(body) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("9" * 5_000),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
NAMES = ("causationid", "type", "subject", "sequence", "data", "TopicArn", "Message")


@given(st.dictionaries(st.sampled_from(NAMES), JSON))
def test_whatever_comes_is_read_without_a_mistake(event: dict[str, Any]) -> None:
    """A mistake would end the listening for good."""
    answer = Answer.read(json.dumps(event))
    assert answer is None or isinstance(event["causationid"], str)


def test_an_answer_shows_nothing_personal() -> None:
    """The event may hold an address."""
    read = Answer.read(event("UserRegistered", email="ada@example.com"))
    assert "ada@" not in repr(read)


# --- the book ------------------------------------------------------------------------------


def test_an_answer_that_came_first_waits_to_be_asked_for() -> None:
    """And can be asked for again, in any spelling of the id."""
    book = AnswerBook()
    book.tell(answer())
    assert book.ask(COMMAND).result(0) == answer()
    assert book.ask(COMMAND.upper()).result(0) == answer()


def test_all_who_wait_get_the_first_answer() -> None:
    """A repetition, or a second event of the command, changes nothing."""
    book = AnswerBook()
    early = [book.ask(COMMAND), book.ask(COMMAND)]
    book.tell(answer())
    book.tell(answer(name="CommandHadNoEffect"))
    assert [f.result(0) for f in (*early, book.ask(COMMAND))] == [answer()] * 3


def test_the_oldest_answer_gives_way() -> None:
    """What nobody asks for must not fill the memory."""
    book = AnswerBook(limit=2)
    for name in "abc":
        book.tell(answer(uid(name)))
    assert [book.ask(uid(name)).done() for name in "abc"] == [False, True, True]


def test_no_more_commands_are_waited_for_than_the_limit() -> None:
    """Until one is answered or forgotten; one more for the same command is no more."""
    book = AnswerBook(limit=2)
    first = book.ask(uid("a"))
    for _ in range(2):
        book.ask(uid("b"))
    with pytest.raises(UserClientError, match="more than 2"):
        book.ask(uid("c"))
    book.forget(uid("a"), first)
    book.ask(uid("c"))
    book.tell(answer(uid("b")))
    book.ask(uid("d"))


def test_who_gave_up_is_no_hindrance() -> None:
    """A cancelled future takes no answer, and the others get theirs."""
    book = AnswerBook()
    gone, there = book.ask(COMMAND), book.ask(COMMAND)
    gone.cancel()
    book.tell(answer())
    assert there.result(0) == answer()


STEPS = st.lists(st.tuples(st.sampled_from(["ask", "tell", "forget"]), st.integers(0, 3)))


@given(STEPS)
def test_in_any_order_who_asks_gets_the_answer_to_their_command(
    steps: list[tuple[str, int]],
) -> None:
    """At once or later, never another's, and nothing is left of those who gave up."""
    book, told = AnswerBook(), set()
    asked: list[tuple[int, Any]] = []
    for step, number in steps:
        command = uid(str(number))
        if step == "tell":
            book.tell(answer(command))
            told.add(number)
        elif step == "ask":
            asked.append((number, book.ask(command)))
        else:
            for other, future in asked:
                if other == number and not future.done():
                    book.forget(command, future)
            asked = [each for each in asked if each[0] != number]
    for number, future in asked:
        assert future.done() == (number in told)
        assert not future.done() or future.result(0).command_id == uid(str(number))


# --- the listener --------------------------------------------------------------------------


class Sqs:
    """A queue of bodies and errors, received one by one; it knows what was made and removed."""

    def __init__(self) -> None:
        self.coming: queue.SimpleQueue[str | Exception] = queue.SimpleQueue()
        self.deleted: list[str] = []
        self.removed: list[str] = []

    def get_queue_url(self, QueueName: str) -> dict[str, str]:  # noqa: N803
        """Know every queue."""
        return {"QueueUrl": f"http://sqs/{QueueName}"}

    def create_queue(self, QueueName: str, **_: object) -> dict[str, str]:  # noqa: N803
        """Make any queue."""
        return self.get_queue_url(QueueName)

    def get_queue_attributes(self, QueueUrl: str, **_: object) -> dict[str, Any]:  # noqa: N803
        """Know its ARN."""
        return {"Attributes": {"QueueArn": f"arn:aws:sqs:eu-west-1:42:{QueueUrl[11:]}"}}

    def set_queue_attributes(self, **_: object) -> None:
        """Take any policy."""

    def receive_message(self, **_: object) -> dict[str, Any]:
        """Wait for what is coming."""
        try:
            body = self.coming.get(timeout=1)
        except queue.Empty:
            return {}
        if isinstance(body, Exception):
            raise body
        return {"Messages": [{"Body": body, "ReceiptHandle": body}]}

    def delete_message_batch(self, Entries: list[dict[str, str]], **_: object) -> None:  # noqa: N803
        """Note it."""
        self.deleted += [entry["ReceiptHandle"] for entry in Entries]

    def delete_queue(self, QueueUrl: str) -> None:  # noqa: N803
        """Note it."""
        self.removed.append(QueueUrl)


class Sns:
    """A topic that notes who subscribes, and refuses if told to."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.subscribed: list[dict[str, Any]] = []
        self.removed: list[str] = []
        self._refuses = refuses

    def subscribe(self, **arguments: Any) -> dict[str, str]:
        """Note it."""
        if self._refuses:
            raise ClientError({"Error": {"Code": "AuthorizationError"}}, "Subscribe")
        self.subscribed.append(arguments)
        return {"SubscriptionArn": "subscription"}

    def unsubscribe(self, SubscriptionArn: str) -> None:  # noqa: N803
        """Note it."""
        self.removed.append(SubscriptionArn)


@pytest.fixture
def sqs() -> Sqs:
    """A queue without messages."""
    return Sqs()


@pytest.fixture
def listener(sqs: Sqs) -> Iterator[OutcomeListener]:
    """A listener to a queue that was there before."""
    with OutcomeListener(source="/signup", queue="mine", sqs=sqs) as listening:  # type: ignore[arg-type]
        yield listening


def test_an_answer_reaches_who_waits_for_it(listener: OutcomeListener, sqs: Sqs) -> None:
    """Whatever else comes before; every message is deleted."""
    others = ["junk", event(command=uid("another"))]
    for body in (*others, event()):
        sqs.coming.put(body)
    assert listener.answer(COMMAND, 30) == answer()
    assert sqs.deleted == [*others, event()]


def test_without_an_answer_the_wait_ends(listener: OutcomeListener) -> None:
    """With an error that says how long it was, and is a TimeoutError too; nothing stays behind."""
    with pytest.raises(NoAnswerError, match=r"^no answer in 0\.01 s$") as caught:
        listener.answer(COMMAND, 0.01)
    assert isinstance(caught.value, TimeoutError)
    assert listener._book._waiting == {}


def test_coroutines_wait_side_by_side(sqs: Sqs) -> None:
    """One that gives up does not disturb the other."""
    listener = OutcomeListener(source="/signup", queue="mine", sqs=sqs)  # type: ignore[arg-type]

    async def both() -> list[Any]:
        async with listener:
            waits = [listener.aanswer(uid("never"), 0.01), listener.aanswer(COMMAND, 30)]
            tasks = [asyncio.ensure_future(wait) for wait in waits]
            await asyncio.wait(tasks[:1])
            sqs.coming.put(event())
            return await asyncio.gather(*tasks, return_exceptions=True)

    nothing, something = asyncio.run(both())
    assert isinstance(nothing, NoAnswerError)
    assert something == answer()
    assert listener._book._waiting == {}


def test_it_listens_on_after_an_error(
    listener: OutcomeListener, sqs: Sqs, caplog: pytest.LogCaptureFixture
) -> None:
    """AWS may be away for a while; the log has the code only."""
    sqs.coming.put(ClientError({"Error": {"Code": "ServiceUnavailable"}}, "ReceiveMessage"))
    sqs.coming.put(event())
    assert listener.answer(COMMAND, 30) == answer()
    assert caplog.messages == ["outcomes cannot be received: ServiceUnavailable"]


def test_who_waits_in_vain_learns_that_the_queue_cannot_be_read(
    listener: OutcomeListener, sqs: Sqs
) -> None:
    """Or it would look as if the worker were slow."""
    sqs.coming.put(ClientError({"Error": {"Code": "AccessDenied"}}, "ReceiveMessage"))
    deadline = time.monotonic() + 30
    while listener._trouble is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    with pytest.raises(NoAnswerError, match="cannot be read: AccessDenied"):
        listener.answer(COMMAND, 0)


def test_a_queue_that_it_was_given_is_not_removed(sqs: Sqs) -> None:
    """It is the infrastructure's."""
    with OutcomeListener(source="/signup", queue="mine", sqs=sqs):  # type: ignore[arg-type]
        pass
    assert sqs.removed == []


def test_a_queue_of_its_own_hears_its_source_only_and_is_removed(sqs: Sqs) -> None:
    """With its subscription, to the topic beside it."""
    sns = Sns()
    with OutcomeListener(source="/signup/3", sqs=sqs, sns=sns):  # type: ignore[arg-type]
        (subscribed,) = sns.subscribed
        assert subscribed["TopicArn"] == "arn:aws:sns:eu-west-1:42:user-events"
        assert json.loads(subscribed["Attributes"]["FilterPolicy"]) == {
            "command_source": ["/signup/3"]
        }
        assert sqs.removed == []
    assert [url.startswith(f"http://sqs/{OUTCOMES}-") for url in sqs.removed] == [True]
    assert sns.removed == ["subscription"]


def test_what_cannot_be_subscribed_leaves_nothing_behind(sqs: Sqs) -> None:
    """No queue, and no thread."""
    listening = OutcomeListener(source="/s", sqs=sqs, sns=Sns(refuses=True))  # type: ignore[arg-type]
    before = threading.active_count()
    with pytest.raises(ClientError, match="AuthorizationError"):
        listening.start()
    assert len(sqs.removed) == 1
    assert threading.active_count() <= before
