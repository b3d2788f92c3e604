"""Keeps an address book from the events: once each, in order, without gaps, across restarts."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sqlite3
import sys
import time
from typing import Any

import boto3

from biome_users import (
    Event,
    Inbox,
    InvalidEventError,
    SqliteInboxStore,
    UserReader,
    UsersError,
    parse_event,
)
from biome_users.event_types import EmailChanged, UserCreated, UserErased, UserRegistered

WITH_ADDRESSES = [
    f"biome.user.{name}.v1"
    for name in (
        "UserRegistered",
        "UserCreated",
        "EmailVerificationRequested",
        "EmailChangeRequested",
        "EmailChanged",
        "PasswordResetRequested",
    )
]
"""The types of the personal topic, where they have their addresses."""
THE_OTHERS = {
    "type": [{"anything-but": WITH_ADDRESSES}],
    "category": [{"anything-but": ["command"]}],
}
"""All others that have a `sequence`: both topics together leave no gap. Events of category
`command` have none."""
BOOK = "CREATE TABLE IF NOT EXISTS book (user_id TEXT PRIMARY KEY, email TEXT)"


def subscribe(sns: Any, sqs: Any, topic: str, personal: str, name: str) -> str:
    """Create the queue and its dead-letter queue, subscribe it, and return its URL; repeatable.

    The queue is subscribed to both topics: `personal` has the events with addresses, and `topic`
    the others.

    A FIFO topic (`user-events.fifo`) delivers to FIFO queues, in order, and to standard queues. A
    standard topic delivers to standard queues only. The name of a FIFO queue ends in `.fifo`.
    """
    kind = ".fifo" if name.endswith(".fifo") else ""

    def make(queue: str) -> tuple[str, str]:
        attributes = {"FifoQueue": "true"} if kind else {}
        url = sqs.create_queue(QueueName=queue, Attributes=attributes)["QueueUrl"]
        asked = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, asked["Attributes"]["QueueArn"]

    _, dead_letters = make(f"{name.removesuffix(kind)}-dlq{kind}")
    url, arn = make(name)
    filters: dict[str, Any] = {_topic_arn(topic, arn): THE_OTHERS, _topic_arn(personal, arn): None}
    let_the_topics_send = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": list(filters)}},
        },
    }
    redrive = {"deadLetterTargetArn": dead_letters, "maxReceiveCount": 5}
    attributes = {
        "Policy": json.dumps(let_the_topics_send),
        "RedrivePolicy": json.dumps(redrive),
        "MessageRetentionPeriod": str(14 * 86_400),
    }
    sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
    for topic_arn, wanted in filters.items():
        raw = {"RawMessageDelivery": "true"}
        filtered = {"FilterPolicy": json.dumps(wanted)} if wanted else {}
        sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn, Attributes=raw | filtered)
    return url


def _topic_arn(topic: str, queue_arn: str) -> str:
    """Return the ARN of a topic; a name is in the queue's account and region."""
    if topic.startswith("arn:"):
        return topic
    return f"{queue_arn.rpartition(':')[0]}:{topic}".replace(":sqs:", ":sns:")


class AddressBook:
    """The addresses, and the inbox that says which events are due, in one database."""

    def __init__(self, db: sqlite3.Connection, reader: UserReader, patience: float) -> None:
        self._db = db
        self._reader = reader
        db.execute(BOOK)
        self._inbox = Inbox(SqliteInboxStore(db), patience)

    def receive(self, body: str) -> None:
        """Process a message; its effect and the inbox are changed in one transaction.

        Raises:
            InvalidEventError: the message is not an event; nothing has changed.
        """
        event = parse_event(body)
        with self._db:
            for due in self._inbox.take(event, time.time()):
                self._apply(due)

    def close_gaps(self) -> None:
        """Where an event stays away, go on from the user's present state."""
        for user_id in self._inbox.gaps(time.time()):
            try:
                user = self._reader.get(user_id)
            except UsersError as error:
                print(f"gap stays: {user_id}: {type(error).__name__}", file=sys.stderr)
                continue
            with self._db:
                if user is not None:
                    self._write(user_id, user.email)  # an erased one has none
                for due in self._inbox.skip_to(user_id, 0 if user is None else user.version):
                    self._apply(due)
        with self._db:
            self._inbox.prune(time.time())

    def _apply(self, event: Event) -> None:
        assert event.user_id is not None  # the subscriptions leave out answers to commands
        match event.data:
            case UserRegistered(email=email) | UserCreated(email=email):
                self._write(event.user_id, email)
            case EmailChanged(new_email=email):
                self._write(event.user_id, email)
            case UserErased():
                self._write(event.user_id, None)
            # any other type, also of a later worker, changes no address

    def _write(self, user_id: str, email: str | None) -> None:
        """Write an address; an event's is `null` once its user is erased."""
        if email is None:
            self._db.execute("DELETE FROM book WHERE user_id = ?", (user_id,))
        else:
            self._db.execute("INSERT OR REPLACE INTO book VALUES (?, ?)", (user_id, email))


def follow(sqs: Any, url: str, book: AddressBook, wait: int) -> None:
    """Receive and delete, until interrupted."""
    while True:
        answer = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=wait, MaxNumberOfMessages=10)
        for message in answer.get("Messages", []):
            try:
                book.receive(message["Body"])
            except InvalidEventError as error:
                # it stays, comes again, and goes to the dead-letter queue after five times
                print(f"no event: {message['MessageId']}: {type(error).__name__}", file=sys.stderr)
                continue
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        book.close_gaps()


def main() -> None:
    """Follow the topic until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", default="address-book.sqlite")
    parser.add_argument("--queue", default="user-events-to-full-address-book", help="may be FIFO")
    parser.add_argument("--topic", default="user-events", help="its name, or its ARN")
    parser.add_argument("--personal-topic", default="user-events-personal", help="the same")
    parser.add_argument("--table", default="users")
    parser.add_argument("--patience", type=float, default=60, help="seconds to wait for an event")
    options = parser.parse_args()
    # whenever it strikes: a transaction is whole or undone, and what is not deleted comes again
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sns, sqs = boto3.client("sns"), boto3.client("sqs")
        url = subscribe(sns, sqs, options.topic, options.personal_topic, options.queue)
        with contextlib.closing(sqlite3.connect(options.database)) as db:
            book = AddressBook(db, UserReader(options.table), options.patience)
            print("following", options.topic, "and", options.personal_topic, flush=True)
            follow(sqs, url, book, max(1, min(20, int(options.patience))))
    except KeyboardInterrupt:
        print("stopped")


if __name__ == "__main__":
    main()
