"""Resets a forgotten password, from start to end: `password_reset.py ada@example.com`.

The program plays three parts: the edge, which talks to the person; the mailer; and the person, who
reads the mail. Only the mail contains the token: no queue, no event and no table does. Edge and
mailer each derive it from its id, with a key that both have.
"""

import json
import os
import secrets
import sys
import uuid
from datetime import UTC, datetime, timedelta

import boto3
from argon2 import PasswordHasher

from biome_users import Event, MailedTokens, UserCommands, parse_event, token_hash
from biome_users.commands import RequestPasswordReset, ResetPassword
from biome_users.event_types import PasswordResetRequested

try:
    tokens = MailedTokens(os.environ.get("TOKEN_KEY", "").encode())
except ValueError:
    sys.exit('TOKEN_KEY must contain 32 bytes or more. Create it with "openssl rand -base64 32".')
users = UserCommands("user-commands", source="/login")
sns, sqs = boto3.client("sns"), boto3.client("sqs")


def edge_asks_for_a_reset(email: str) -> str:
    """Request a reset for the address that was typed. The answer does not depend on the address."""
    token_id = uuid.uuid4()
    request = RequestPasswordReset(
        email=email,
        token_id=token_id,
        token_hash=token_hash(tokens.token("reset", token_id)),
        expires_at=datetime.now(UTC) + timedelta(hours=1),
    )
    return users.send(request)


def mailer_writes(asked: PasswordResetRequested) -> dict[str, str]:
    """Create the mail that PasswordResetRequested asks for: its recipient, and the token."""
    return {"to": asked.email or "", "token": tokens.token("reset", asked.token_id)}


def edge_sets_the_password(email: str, token: str, password: str) -> str:
    """Set the new password that was typed after the link was followed."""
    hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)
    reset = ResetPassword(
        email=email, token_hash=token_hash(token), password_hash=hasher.hash(password)
    )
    return users.send(reset)


def subscribe() -> str:
    """Create a queue for the mail's event and for answers; return its URL.

    Only the personal topic has the address. The answers are on the ordinary topic.
    """
    url = sqs.create_queue(QueueName="user-events-to-password-mailer")["QueueUrl"]
    asked = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    queue = asked["Attributes"]["QueueArn"]
    topic = f"{queue.rpartition(':')[0]}:user-events".replace(":sqs:", ":sns:")
    types_by_topic = {
        topic: ["PasswordReset", "CommandHadNoEffect", "CommandRejected"],
        f"{topic}-personal": ["PasswordResetRequested"],
    }
    policy = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": queue,
            "Condition": {"ArnEquals": {"aws:SourceArn": list(types_by_topic)}},
        },
    }
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    for arn, names in types_by_topic.items():
        wanted = {"type": [f"biome.user.{name}.v1" for name in names]}
        sns.subscribe(
            TopicArn=arn,
            Protocol="sqs",
            Endpoint=queue,
            Attributes={"RawMessageDelivery": "true", "FilterPolicy": json.dumps(wanted)},
        )
    return url


def main(email: str) -> None:
    """Request a reset, read the mail, and set another password."""
    queue = subscribe()
    asked, reset, done = edge_asks_for_a_reset(email), None, False
    while not done:
        answer = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20)
        for message in answer.get("Messages", []):
            event: Event = parse_event(message["Body"])
            if event.command_id == asked and isinstance(event.data, PasswordResetRequested):
                if reset is None:
                    mail = mailer_writes(event.data)
                    print("mail to", mail["to"], flush=True)
                    password = secrets.token_urlsafe(12)  # what the person typed
                    reset = edge_sets_the_password(mail["to"], mail["token"], password)
            elif event.command_id == (reset or asked):
                # PasswordReset; or CommandHadNoEffect, for an unknown address
                print(type(event.data).__name__, event.command_id)
                done = True
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


main(sys.argv[1])
