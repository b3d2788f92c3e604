"""The client for other services, with queues and topics of an AWS."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import boto3
import pytest

from biome_users import (
    CommandRequest,
    NotListeningError,
    NotSentError,
    OutcomeListener,
    UserCommands,
    commands,
)
from tests.builders import register, uid
from tests.client_commands import of_client
from tests.conftest import ResourceNames
from tests.e2e.worker_process import eventually

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

USERS = [uid(name) for name in ("ada", "grace", "mary")]


@pytest.fixture
def sqs(aws_endpoint: str) -> SQSClient:
    """A client of queues."""
    return boto3.client("sqs")


@pytest.fixture(params=["standard", "fifo"])
def queue(
    request: pytest.FixtureRequest, sqs: SQSClient, resource_names: ResourceNames
) -> Iterator[str]:
    """The name of a command queue of either kind."""
    name = resource_names.command_queue
    if request.param == "fifo":
        name += ".fifo"
        url = sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"})["QueueUrl"]
    else:
        url = sqs.create_queue(QueueName=name)["QueueUrl"]
    yield name
    sqs.delete_queue(QueueUrl=url)


def received(sqs: SQSClient, queue: str, count: int) -> list[dict[str, Any]]:
    """Receive `count` messages of a queue."""
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    messages: list[dict[str, Any]] = []

    def all_there() -> bool:
        answer = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
        )
        for message in answer.get("Messages", []):
            messages.append(dict(message))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return len(messages) >= count

    eventually(all_there, 30, f"{count} messages")
    return messages


def test_commands_arrive_each_once_and_a_users_in_order(sqs: SQSClient, queue: str) -> None:
    """On a FIFO queue, where a user is a group; on a standard one by what is given."""
    users = UserCommands(queue, source="/test", fair_group="tests")
    requests = [
        CommandRequest(command=commands.UnbanUser(), user_id=UUID(USERS[i % 3])) for i in range(25)
    ]
    ids = users.send_many(requests)

    messages = received(sqs, queue, 25)
    events = [json.loads(message["Body"]) for message in messages]
    assert sorted(event["id"] for event in events) == sorted(ids)
    groups = [message["Attributes"].get("MessageGroupId") for message in messages]
    if queue.endswith(".fifo"):
        assert groups == [event["subject"] for event in events]
        for number, user in enumerate(USERS):
            assert [e["id"] for e in events if e["subject"] == user] == ids[number::3]


def test_a_repetition_reaches_the_worker_on_either_queue(sqs: SQSClient, queue: str) -> None:
    """SQS must not swallow it: the worker knows it by its id, and for longer."""
    users, command_id = UserCommands(queue, source="/test"), uuid4()
    for _ in range(2):
        users.send(of_client(register("ada")), command_id=command_id)

    bodies = [json.loads(message["Body"]) for message in received(sqs, queue, 2)]
    assert [body["id"] for body in bodies] == [str(command_id)] * 2


def test_a_missing_queue_is_reported_with_the_unsent_ids(aws_endpoint: str) -> None:
    """It is the same error as for any other failure to send."""
    users = UserCommands(f"never-{uuid4()}", source="/test")
    with pytest.raises(NotSentError, match=r"1 of 1 command not sent: .*NonExistentQueue"):
        users.send(of_client(register("ada")))


def test_a_listener_hears_its_own_source_and_leaves_nothing(
    sqs: SQSClient, resource_names: ResourceNames
) -> None:
    """Of all that the topic says, the answers to its own commands."""
    sns = boto3.client("sns")
    topic = sns.create_topic(Name=resource_names.events_topic)["TopicArn"]
    mine, other = str(uuid4()), str(uuid4())

    def publish(command_id: str, source: str) -> None:
        event = {"type": "biome.user.UserBanned.v1", "causationid": command_id, "subject": USERS[0]}
        sns.publish(
            TopicArn=topic,
            Message=json.dumps(event),
            MessageAttributes={"command_source": {"DataType": "String", "StringValue": source}},
        )

    with OutcomeListener(source="/test/1", topic=resource_names.events_topic) as outcomes:
        anothers = outcomes.expect(other)
        publish(other, "/test/2")
        publish(mine, "/test/1")
        assert outcomes.answer(mine, 30).user_id == USERS[0]
        assert not anothers.done()
        (subscription,) = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.get_queue_url(QueueName=subscription["Endpoint"].rpartition(":")[2])
    sns.delete_topic(TopicArn=topic)


def test_a_queue_of_its_own_has_its_policy_before_it_is_subscribed(
    sqs: SQSClient, resource_names: ResourceNames
) -> None:
    """A topic by its ARN: one queue, made with the policy, and nothing else."""
    sns = boto3.client("sns")
    topic = sns.create_topic(Name=resource_names.events_topic)["TopicArn"]
    calls: list[str] = []
    for client in (sqs, sns):
        client.meta.events.register(
            "before-call", lambda model, **_: calls.append(model.name), unique_id="order"
        )
    with OutcomeListener(source="/test/1", topic=topic, sqs=sqs, sns=sns):
        made = [name for name in calls if name != "ReceiveMessage"]
        assert made == ["CreateQueue", "GetQueueAttributes", "Subscribe"]
        (subscription,) = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        attributes = sns.get_subscription_attributes(
            SubscriptionArn=subscription["SubscriptionArn"]
        )["Attributes"]
        assert attributes["PendingConfirmation"] == "false"
        assert json.loads(attributes["FilterPolicy"]) == {"command_source": ["/test/1"]}
        name = subscription["Endpoint"].rpartition(":")[2]
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        policy = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
        (statement,) = json.loads(policy["Attributes"]["Policy"])["Statement"]
        assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": topic}}
    sns.delete_topic(TopicArn=topic)


def test_a_forked_process_gets_an_error_and_does_not_delete_the_queue(
    sqs: SQSClient, resource_names: ResourceNames
) -> None:
    """This happens in a server that loads the application before it forks."""
    sns = boto3.client("sns")
    topic = sns.create_topic(Name=resource_names.events_topic)["TopicArn"]
    with OutcomeListener(source="/test/1", topic=topic) as outcomes:
        child = os.fork()
        if child == 0:
            try:
                outcomes.answer(str(uuid4()), 1)
            except NotListeningError:
                outcomes.close()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        (subscription,) = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        sqs.get_queue_url(QueueName=subscription["Endpoint"].rpartition(":")[2])
        event = {"type": "biome.user.UserBanned.v1", "causationid": USERS[0]}
        source: Any = {"DataType": "String", "StringValue": "/test/1"}
        sns.publish(
            TopicArn=topic,
            Message=json.dumps(event),
            MessageAttributes={"command_source": source},
        )
        assert outcomes.answer(USERS[0], 30).command_id == USERS[0]
    sns.delete_topic(TopicArn=topic)
