"""A listener that loses its queue or its subscription still receives later outcomes.

The waits of the listener are short here; with USER_WORKER_TEST_FULL=1 they are those of a service,
and each case takes half a minute.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import boto3
import pytest

from adapters.sns.subscription import LONGEST_POLL
from biome_users import (
    AnswerKind,
    NoAnswerError,
    OutcomeListener,
    UserCommands,
    _subscription,
    commands,
    outcomes,
)
from tests.builders import register
from tests.client_commands import of_client
from tests.e2e.system import System
from tests.e2e.worker_process import eventually

FULL = os.environ.get("USER_WORKER_TEST_FULL") == "1"
POLL = LONGEST_POLL if FULL else 1
CHECK = outcomes.CHECK_LEAST if FULL else 0.5
IN_VAIN = 45.0 if FULL else 2.5
"""Seconds to wait for an answer that does not come; one or more such waits detect the loss."""


class Account:
    """The queue and the subscription of a listener, and ways to delete them."""

    def __init__(self, system: System) -> None:
        self.sqs: Any = boto3.client("sqs", endpoint_url=system.endpoint)
        self.sns: Any = boto3.client("sns", endpoint_url=system.endpoint)
        self.topic = system.topic_arn

    def subscriptions(self) -> dict[str, str]:
        """The listeners' subscriptions to the topic, by the URL of the queue."""
        rows = self.sns.list_subscriptions_by_topic(TopicArn=self.topic)["Subscriptions"]
        names = {row["Endpoint"].rpartition(":")[2]: row["SubscriptionArn"] for row in rows}
        return {
            self.sqs.get_queue_url(QueueName=name)["QueueUrl"]: arn
            for name, arn in names.items()
            if name.startswith("user-outcomes-")
        }

    def delete_queue(self) -> None:
        """Manually, or by a clean-up of orphaned queues."""
        ((url, _),) = self.subscriptions().items()
        self.sqs.delete_queue(QueueUrl=url)

    def delete_subscription(self) -> None:
        """In the console."""
        ((_, arn),) = self.subscriptions().items()
        self.sns.unsubscribe(SubscriptionArn=arn)

    def renew_topic(self) -> None:
        """Delete the topic and create it again, as a new stack would: without subscriptions."""
        self.sns.delete_topic(TopicArn=self.topic)
        self.sns.create_topic(Name=self.topic.rpartition(":")[2])

    def change_policy(self) -> None:
        """Set a policy that denies everyone: SNS drops messages that the queue refuses."""
        ((url, _),) = self.subscriptions().items()
        nobody = '{"Version": "2012-10-17", "Statement": []}'
        self.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": nobody})


LOSSES: dict[str, Callable[[Account], None]] = {
    "the queue": Account.delete_queue,
    "the subscription": Account.delete_subscription,
    "the topic": Account.renew_topic,
    "the policy": Account.change_policy,
}


def told_of_the_loss(listener: OutcomeListener) -> bool:
    """Wait for an answer that does not come; return whether the error names a loss."""
    with pytest.raises(NoAnswerError) as caught:
        listener.answer(str(uuid4()), IN_VAIN)
    return "had to be created again" in str(caught.value)


@pytest.mark.parametrize("lost", LOSSES)
def test_after_a_loss_the_next_outcome_is_heard(
    system: System, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """While a worker runs; a caller that waits in vain is told that an answer may be lost."""
    monkeypatch.setattr(_subscription, "LONGEST_POLL", POLL)
    monkeypatch.setattr(outcomes, "CHECK_LEAST", CHECK)
    account, user_id = Account(system), uuid4()
    users = UserCommands(system.names.command_queue, source="/test/1")
    with (
        system.worker() as worker,
        OutcomeListener(source="/test/1", topic=system.names.events_topic) as listener,
    ):
        worker.ready()
        first = users.send(of_client(register(f"first-{user_id}")), user_id=user_id)
        assert listener.answer(first, 30).kind is AnswerKind.ACCEPTED

        LOSSES[lost](account)
        eventually(lambda: told_of_the_loss(listener), 60)

        for _ in range(3):
            following = users.send(commands.AssignRole(role="admin"), user_id=user_id)
            assert listener.answer(following, 30).user_id == str(user_id)
        assert len(account.subscriptions()) == 1
    assert account.subscriptions() == {}
