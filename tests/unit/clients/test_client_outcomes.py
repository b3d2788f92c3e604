from __future__ import annotations

import asyncio
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from adapters.sns.subscription import OUTCOMES
from biome_users import (
    Answer,
    AnswerKind,
    NoAnswerError,
    NotListeningError,
    NotSubscribedError,
    OutcomeListener,
    UsersError,
    _subscription,
    outcomes,
)
from biome_users.answers import AnswerBook
from tests.builders import uid

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
    "a dead letter": (
        "CommandDeadLettered",
        {"command_id": COMMAND, "code": "InvalidField"},
        AnswerKind.DEAD_LETTERED,
        "InvalidField",
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
def test_a_message_that_is_not_an_answer_is_ignored(body: str) -> None:
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
    """It can be requested again, in any spelling of the id."""
    book = AnswerBook()
    book.add(answer())
    assert book.ask(COMMAND).result(0) == answer()
    assert book.ask(COMMAND.upper()).result(0) == answer()


def test_all_who_wait_get_the_first_answer() -> None:
    """A repetition, or a second event of the command, changes nothing."""
    book = AnswerBook()
    early = [book.ask(COMMAND), book.ask(COMMAND)]
    book.add(answer())
    book.add(answer(name="CommandHadNoEffect"))
    assert [f.result(0) for f in (*early, book.ask(COMMAND))] == [answer()] * 3


def test_an_answer_after_a_redrive_replaces_that_of_the_dead_letter() -> None:
    """A dead letter is not the end of a command; a repetition of its event changes nothing."""
    book = AnswerBook()
    dead = answer(name="CommandDeadLettered")
    book.add(answer(name="CommandDeadLettered"))
    assert book.ask(COMMAND).result(0) == dead
    book.add(answer())
    book.add(dead)
    assert book.ask(COMMAND).result(0) == answer()


def test_the_oldest_answer_gives_way() -> None:
    """Answers that are never requested must not fill the memory."""
    book = AnswerBook(limit=2)
    for name in "abc":
        book.add(answer(uid(name)))
    assert [book.ask(uid(name)).done() for name in "abc"] == [False, True, True]


def test_no_more_commands_are_waited_for_than_the_limit() -> None:
    """Answered and abandoned commands are not counted; a second wait for one command is free."""
    book = AnswerBook(limit=2)
    first = book.ask(uid("a"))
    for _ in range(2):
        book.ask(uid("b"))
    with pytest.raises(UsersError, match="more than 2"):
        book.ask(uid("c"))
    book.forget(uid("a"), first)
    book.ask(uid("c"))
    book.add(answer(uid("b")))
    book.ask(uid("d"))


def test_a_caller_that_gave_up_does_not_block_others() -> None:
    """A cancelled future takes no answer, and the others get theirs."""
    book = AnswerBook()
    gone, there = book.ask(COMMAND), book.ask(COMMAND)
    gone.cancel()
    book.add(answer())
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
            book.add(answer(command))
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

MISSING = ClientError(
    {"Error": {"Code": "AWS.SimpleQueueService.NonExistentQueue"}}, "ReceiveMessage"
)
ANYTHING = [
    RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a proxy's page"),
    KeyError("Messages"),
    TypeError("no dict"),
    RecursionError(),
    MemoryError(),
    EndpointConnectionError(endpoint_url="http://sqs"),
    ClientError({"Error": {"Code": "ServiceUnavailable"}}, "ReceiveMessage"),
    OSError(24, "too many open files"),
]
"""Errors that botocore raises, including some that no list of its exceptions has."""


class Sqs:
    """Queues, and one stream of bodies and errors that is received from whichever exists."""

    def __init__(self) -> None:
        self.coming: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.silence = 1.0
        self.deleted: list[str] = []
        self.removed: list[str] = []
        self.created: list[dict[str, str]] = []
        self.policies: dict[str, str | None] = {}
        """Of the queues that exist, by URL."""
        self.delete_fails: Exception | None = None
        self.calls: list[str] = []
        self.polled = threading.Event()

    def get_queue_url(self, QueueName: str) -> dict[str, str]:  # noqa: N803
        """Know every queue."""
        return {"QueueUrl": f"http://sqs/{QueueName}"}

    def create_queue(self, QueueName: str, Attributes: dict[str, str]) -> dict[str, str]:  # noqa: N803
        """Create any queue."""
        self.calls.append("create")
        self.created.append(Attributes)
        self.policies[f"http://sqs/{QueueName}"] = Attributes.get("Policy")
        return self.get_queue_url(QueueName)

    def get_queue_attributes(self, QueueUrl: str, **_: object) -> dict[str, Any]:  # noqa: N803
        """Know its ARN and policy."""
        self.calls.append("read")
        if QueueUrl not in self.policies:
            raise MISSING
        policy = self.policies[QueueUrl]
        arn = {"QueueArn": f"arn:aws:sqs:eu-west-1:42:{QueueUrl[11:]}"}
        return {"Attributes": {**arn, **({} if policy is None else {"Policy": policy})}}

    def receive_message(self, QueueUrl: str, **_: object) -> Any:  # noqa: N803
        """Wait for what is coming."""
        if "mine" not in QueueUrl and QueueUrl not in self.policies:
            raise MISSING
        self.polled.set()
        try:
            body = self.coming.get(timeout=self.silence)
        except queue.Empty:
            return {}
        if isinstance(body, BaseException):
            raise body
        if not isinstance(body, str):
            return body
        return {"Messages": [{"Body": body, "ReceiptHandle": body}]}

    def delete_message_batch(self, Entries: list[dict[str, str]], **_: object) -> None:  # noqa: N803
        """Record the deletion."""
        if self.delete_fails is not None:
            raise self.delete_fails
        self.deleted += [entry["ReceiptHandle"] for entry in Entries]

    def delete_queue(self, QueueUrl: str) -> None:  # noqa: N803
        """Record the deletion."""
        self.removed.append(QueueUrl)
        self.policies.pop(QueueUrl, None)


class Sns:
    """A topic with subscriptions, which raises an error if configured."""

    def __init__(self, fails: BaseException | None = None) -> None:
        self.subscribed: list[dict[str, Any]] = []
        self.removed: list[str] = []
        self.fails = fails
        self.arns: dict[str, str] = {}
        """Of the subscriptions that exist, by the queue's ARN."""

    def subscribe(self, **arguments: Any) -> dict[str, str]:
        """Return the subscription of a queue; create it if it does not exist."""
        if self.fails is not None:
            raise self.fails
        self.subscribed.append(arguments)
        arn = f"arn:aws:sns:eu-west-1:42:user-events:{len(self.subscribed)}"
        return {"SubscriptionArn": self.arns.setdefault(arguments["Endpoint"], arn)}

    def unsubscribe(self, SubscriptionArn: str) -> None:  # noqa: N803
        """Record the unsubscription."""
        self.removed.append(SubscriptionArn)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No new queue needs its second, and no pause after an error is long."""
    monkeypatch.setattr(_subscription, "USABLE_AFTER", 0.0)
    monkeypatch.setattr(outcomes, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(outcomes, "CHECK_LEAST", 0.05)
    monkeypatch.setattr(outcomes, "SHORT_POLL", 0.0)


@pytest.fixture
def sqs() -> Sqs:
    """A queue without messages."""
    return Sqs()


@pytest.fixture
def listener(sqs: Sqs) -> Iterator[OutcomeListener]:
    """A listener to a queue that was there before."""
    with OutcomeListener(source="/signup", queue="mine", sqs=sqs) as listening:
        yield listening


@pytest.fixture
def sns() -> Sns:
    """A topic."""
    return Sns()


@pytest.fixture
def own(sqs: Sqs, sns: Sns) -> Iterator[OutcomeListener]:
    """A listener to a queue of its own, whose silences are short."""
    sqs.silence = 0.02
    with OutcomeListener(source="/signup/3", sqs=sqs, sns=sns) as listening:
        yield listening


def test_an_answer_reaches_who_waits_for_it(listener: OutcomeListener, sqs: Sqs) -> None:
    """Other messages may come before; every message is deleted."""
    others = ["junk", event(command=uid("another"))]
    for body in (*others, event()):
        sqs.coming.put(body)
    assert listener.answer(COMMAND, 30) == answer()
    assert sqs.deleted == [*others, event()]


def test_without_an_answer_the_wait_ends(listener: OutcomeListener) -> None:
    """The error states the duration, and is a TimeoutError too; nothing is left over."""
    with pytest.raises(NoAnswerError, match=r"^no answer in 0\.01 s$") as caught:
        listener.answer(COMMAND, 0.01)
    assert isinstance(caught.value, TimeoutError)
    assert listener._book._waiting == {}


def test_coroutines_wait_side_by_side(sqs: Sqs) -> None:
    """One that gives up does not disturb the other."""
    listener = OutcomeListener(source="/signup", queue="mine", sqs=sqs)

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


# --- what it survives ----------------------------------------------------------------------


@pytest.mark.parametrize("error", ANYTHING, ids=lambda error: type(error).__name__)
def test_it_listens_on_after_any_error(
    listener: OutcomeListener, sqs: Sqs, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """The log has the code or the class only, once an episode."""
    for _ in range(3):
        sqs.coming.put(error)
    sqs.coming.put(event())
    assert listener.answer(COMMAND, 30) == answer()
    code = "ServiceUnavailable" if isinstance(error, ClientError) else type(error).__name__
    assert caplog.messages == [f"outcomes cannot be received: {code}"]


@pytest.mark.parametrize(
    "page", [None, [], "junk", {"Messages": 7}, {"Messages": [None]}, {"Messages": [{"Body": 7}]}]
)
def test_it_listens_on_after_an_answer_that_is_not_sqss(
    listener: OutcomeListener, sqs: Sqs, page: object
) -> None:
    """A proxy answers anything."""
    sqs.coming.put(page if not isinstance(page, str) else {"Messages": page})
    sqs.coming.put(event())
    assert listener.answer(COMMAND, 30) == answer()


def test_a_message_that_cannot_be_deleted_is_read_all_the_same(
    listener: OutcomeListener, sqs: Sqs
) -> None:
    """It comes again, which changes nothing."""
    sqs.delete_fails = RuntimeError("refreshed credentials are still expired")
    sqs.coming.put(event())
    assert listener.answer(COMMAND, 30) == answer()


def test_a_future_that_a_caller_has_set_does_not_end_the_thread(
    listener: OutcomeListener, sqs: Sqs
) -> None:
    """It is in the caller's hands; the next command is answered."""
    spoilt = listener.expect(COMMAND)
    spoilt.set_result(answer(uid("other")))
    sqs.coming.put(event())
    sqs.coming.put(event(command=uid("next")))
    assert listener.answer(uid("next"), 30) == answer(uid("next"))


def test_the_timeout_names_a_queue_that_cannot_be_read(listener: OutcomeListener, sqs: Sqs) -> None:
    """Otherwise the worker would look slow."""
    sqs.coming.put(ClientError({"Error": {"Code": "AccessDenied"}}, "ReceiveMessage"))
    until(lambda: listener._read_error)
    with pytest.raises(NoAnswerError, match="cannot be read: AccessDenied"):
        listener.answer(COMMAND, 0)


def test_if_the_thread_cannot_go_on_all_who_wait_learn_why(
    listener: OutcomeListener, sqs: Sqs, caplog: pytest.LogCaptureFixture
) -> None:
    """At once, those that wait now as those that ask later; and it is in the log."""
    waiting = listener.expect(COMMAND)
    sqs.coming.put(SystemExit(1))
    with pytest.raises(NoAnswerError, match="the listening thread ended with SystemExit"):
        waiting.result(30)
    with pytest.raises(NotListeningError, match="the listening thread ended with SystemExit"):
        listener.answer(COMMAND, 30)
    assert caplog.messages == ["outcome_listening_ended error=SystemExit"]


def until(look: Callable[[], object]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + 30
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- before, after, elsewhere --------------------------------------------------------------


def test_before_the_start_and_after_the_close_waiting_is_an_error(sqs: Sqs) -> None:
    """A wait that cannot be answered would be silently deaf."""
    listening = OutcomeListener(source="/signup", queue="mine", sqs=sqs)
    with pytest.raises(NotListeningError, match="not started"):
        listening.answer(COMMAND)
    with listening:
        waiting = listening.expect(COMMAND)
        with pytest.raises(UsersError, match="already started"):
            listening.start()
        sqs.coming.put(event(command=uid("heard")))
        listening.answer(uid("heard"), 30)
    with pytest.raises(NoAnswerError, match="was closed"):
        waiting.result(0)
    assert listening.answer(uid("heard")) == answer(uid("heard"))
    with pytest.raises(NotListeningError, match="was closed"):
        listening.answer(COMMAND)
    with pytest.raises(NotListeningError, match="was closed: create another"):
        listening.start()


def test_a_coroutine_that_waits_at_the_close_gets_an_error(sqs: Sqs) -> None:
    """It does not wait for its timeout."""
    listening = OutcomeListener(source="/signup", queue="mine", sqs=sqs)

    async def close_while_waiting() -> None:
        async with listening:
            wait = asyncio.ensure_future(listening.aanswer(COMMAND, 60))
            await asyncio.sleep(0.01)
        await wait

    with pytest.raises(NoAnswerError, match="was closed"):
        asyncio.run(asyncio.wait_for(close_while_waiting(), 30))


def test_a_start_that_failed_can_be_made_again(sqs: Sqs) -> None:
    """AWS was down for a moment; nothing is left of the first."""
    sns = Sns(RuntimeError("refreshed credentials are still expired"))
    listening = OutcomeListener(source="/s", sqs=sqs, sns=sns)
    with pytest.raises(RuntimeError):
        listening.start()
    assert sqs.policies == {}
    sns.fails = None
    with listening:
        sqs.coming.put(event())
        assert listening.answer(COMMAND, 30) == answer()


def test_in_a_forked_process_it_refuses_and_leaves_the_queue_to_the_other(
    own: OutcomeListener, sqs: Sqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread is not in the child, and the queue is its parent's."""
    here = os.getpid()
    monkeypatch.setattr("biome_users.outcomes.os.getpid", lambda: here + 1)
    with pytest.raises(NotListeningError, match="in another process"):
        own.answer(COMMAND)
    with pytest.raises(UsersError, match="one in each process"):
        own.start()
    before = list(sqs.removed)
    own.close()
    assert sqs.removed == before
    monkeypatch.undo()


# --- a queue of its own --------------------------------------------------------------------


def test_a_queue_that_it_was_given_is_not_removed(sqs: Sqs) -> None:
    """It is the infrastructure's."""
    with OutcomeListener(source="/signup", queue="mine", sqs=sqs):
        pass
    assert sqs.removed == []


def test_a_queue_of_its_own_hears_its_source_only_and_is_removed(sqs: Sqs, sns: Sns) -> None:
    """The queue and its subscription to the topic are removed."""
    with OutcomeListener(source="/signup/3", sqs=sqs, sns=sns):
        (subscribed,) = sns.subscribed
        assert subscribed["TopicArn"] == "arn:aws:sns:eu-west-1:42:user-events"
        assert json.loads(subscribed["Attributes"]["FilterPolicy"]) == {
            "command_source": ["/signup/3"]
        }
        (url,) = sqs.policies
        assert url.startswith(f"http://sqs/{OUTCOMES}-")
    assert sqs.policies == {}
    assert sns.removed == [*sns.arns.values()]


def test_the_queue_is_created_with_its_policy_and_given_time_before_it_is_subscribed(
    sqs: Sqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that is set later takes effect within 60 s, and SNS does not try again."""
    sns, steps = Sns(), sqs.calls

    def subscribe(**arguments: Any) -> dict[str, str]:
        steps.append("subscribe")
        return Sns.subscribe(sns, **arguments)

    sns.subscribe = subscribe  # type: ignore[method-assign]
    monkeypatch.setattr(_subscription, "USABLE_AFTER", 1.0)
    topic = "arn:aws:sns:eu-west-1:43:user-events"
    listening = OutcomeListener(source="/signup/3", topic=topic, sqs=sqs, sns=sns)
    monkeypatch.setattr(listening._closing, "wait", lambda s: steps.append(f"wait {s}"))
    with listening:
        assert steps[:4] == ["create", "wait 1.0", "read", "subscribe"]
    (attributes,) = sqs.created
    (statement,) = json.loads(attributes["Policy"])["Statement"]
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": topic}}
    assert statement["Principal"] == {"Service": "sns.amazonaws.com"}


def test_nothing_is_subscribed_before_the_policy_is_seen(sqs: Sqs, sns: Sns) -> None:
    """SQS may not find the new queue at first, or find it without its policy."""
    answers: list[Any] = [MISSING, {"Attributes": {"QueueArn": "arn:aws:sqs:eu-west-1:42:q"}}]
    real = sqs.get_queue_attributes

    def read(QueueUrl: str, **more: object) -> dict[str, Any]:  # noqa: N803
        if not answers:
            return real(QueueUrl, **more)
        assert sns.subscribed == []
        answer: dict[str, Any] | Exception = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    sqs.get_queue_attributes = read  # type: ignore[method-assign]
    topic = "arn:aws:sns:eu-west-1:42:user-events"
    with OutcomeListener(source="/s", topic=topic, sqs=sqs, sns=sns):
        assert answers == []
        assert len(sns.subscribed) == 1


def test_a_subscription_that_has_to_be_confirmed_is_none(sqs: Sqs, sns: Sns) -> None:
    """It would receive nothing."""
    sns.subscribe = lambda **_: {"SubscriptionArn": "pending confirmation"}  # type: ignore[method-assign]
    listening = OutcomeListener(source="/s", sqs=sqs, sns=sns)
    with pytest.raises(NotSubscribedError):
        listening.start()
    assert sqs.policies == {}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), *ANYTHING], ids=lambda e: type(e).__name__)
def test_what_cannot_be_subscribed_leaves_nothing_behind(sqs: Sqs, error: BaseException) -> None:
    """No queue, and no thread."""
    sns = Sns(error)
    listening = OutcomeListener(source="/s", sqs=sqs, sns=sns)
    before = threading.active_count()
    with pytest.raises(type(error)):
        listening.start()
    assert sqs.policies == {}
    assert threading.active_count() <= before


# --- what is lost is made anew -------------------------------------------------------------


def lose_the_queue(sqs: Sqs, sns: Sns) -> None:
    """Delete the queue."""
    sqs.policies.clear()


def lose_the_subscription(sqs: Sqs, sns: Sns) -> None:
    """Delete the subscription, as when the topic is deleted and recreated."""
    sns.arns.clear()


def lose_the_policy(sqs: Sqs, sns: Sns) -> None:
    """Replace the policy."""
    sqs.policies = dict.fromkeys(sqs.policies, '{"Statement": []}')


def lose_the_filter(sqs: Sqs, sns: Sns) -> None:
    """Replace the filter; Subscribe reports this once."""
    sns.fails = ClientError({"Error": {"Code": "InvalidParameter"}}, "Subscribe")
    made = sqs.create_queue

    def create_queue(**arguments: Any) -> dict[str, str]:
        sns.fails = None
        return made(**arguments)

    sqs.create_queue = create_queue  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize(
    "lose", [lose_the_queue, lose_the_subscription, lose_the_policy, lose_the_filter]
)
def test_a_lost_resource_is_created_again_and_the_timeout_reports_it(
    own: OutcomeListener,
    sqs: Sqs,
    sns: Sns,
    lose: Callable[[Sqs, Sns], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The next answer is received; a current wait reports that its answer may be lost."""
    sqs.polled.wait(30)
    lose(sqs, sns)
    with pytest.raises(NoAnswerError, match="had to be created again"):
        own.answer(COMMAND, 1.5)
    sqs.coming.put(event(command=uid("next")))
    assert own.answer(uid("next"), 30) == answer(uid("next"))
    (url,) = sqs.policies
    assert sns.arns[f"arn:aws:sqs:eu-west-1:42:{url[11:]}"]
    assert any("outcome_subscription_renewed" in line for line in caplog.messages)


def test_a_wait_that_starts_after_the_renewal_reports_it(
    own: OutcomeListener, sqs: Sqs, sns: Sns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command was sent before the wait, and its answer may be lost; later waits do not."""
    sqs.polled.wait(30)
    lose_the_queue(sqs, sns)
    until(lambda: own._renewed)
    with pytest.raises(NoAnswerError, match="had to be created again"):
        own.answer(COMMAND, 0.01)
    monkeypatch.setattr(outcomes, "RENEWAL_REPORTED", 0.0)
    with pytest.raises(NoAnswerError, match=r"^no answer in 0\.01 s$"):
        own.answer(COMMAND, 0.01)


def test_a_failed_renewal_is_reported_to_waiting_callers_and_retried(
    own: OutcomeListener, sqs: Sqs, sns: Sns
) -> None:
    """The topic is deleted. Answers are received when it exists again."""
    sqs.polled.wait(30)
    sns.arns.clear()
    sns.fails = ClientError({"Error": {"Code": "NotFound"}}, "Subscribe")
    lose_the_queue(sqs, sns)
    with pytest.raises(NoAnswerError, match="cannot be renewed: NotFound"):
        own.answer(COMMAND, 1.5)
    sns.fails = None
    until(lambda: sns.arns)
    sqs.coming.put(event())
    assert own.answer(COMMAND, 30) == answer()


def test_a_check_that_fails_does_not_stop_the_listening(
    own: OutcomeListener, sqs: Sqs, sns: Sns
) -> None:
    """The right to subscribe was withdrawn; the queue is read as before."""
    sns.fails = RuntimeError("refreshed credentials are still expired")
    with pytest.raises(NoAnswerError, match="cannot be renewed: RuntimeError"):
        own.answer(uid("never"), 1.0)
    sqs.coming.put(event())
    assert own.answer(COMMAND, 30) == answer()


def test_without_waiting_callers_checks_are_rare(own: OutcomeListener, sqs: Sqs, sns: Sns) -> None:
    """Subscribe has a quota an account, and each call is in the trail."""
    time.sleep(0.5)
    assert len(sns.subscribed) == 1


def test_after_the_close_nothing_is_made_anew(sqs: Sqs, sns: Sns) -> None:
    """The thread may be at it when it is closed; what it makes is removed too."""
    sqs.silence = 0.02
    listening = OutcomeListener(source="/s", sqs=sqs, sns=sns)
    with listening:
        sqs.polled.wait(30)
        made = sqs.create_queue

        def create_queue(**arguments: Any) -> dict[str, str]:
            listening.close()
            return made(**arguments)

        sqs.create_queue = create_queue  # type: ignore[method-assign,assignment]
        lose_the_queue(sqs, sns)
        until(listening._closing.is_set)
    until(lambda: not sqs.policies)
    until(lambda: "user-outcomes" not in {thread.name for thread in threading.enumerate()})


def test_a_queue_that_it_was_given_is_looked_up_again(sqs: Sqs) -> None:
    """It may have been recreated at another URL."""
    with OutcomeListener(source="/s", queue="mine", sqs=sqs) as listening:
        sqs.get_queue_url = lambda QueueName: {"QueueUrl": "http://sqs/new/mine"}  # type: ignore[method-assign]  # noqa: N803
        sqs.coming.put(MISSING)
        until(lambda: listening._renewed)
        sqs.coming.put(event())
        assert listening.answer(COMMAND, 30) == answer()
