"""Resets a forgotten password, from start to end: `password_reset.py ada@example.com`.

The program plays three parts: the edge, which talks to the person; the mailer; and the person, who
reads the mail. Only the mail contains the token: no queue, no event and no table does. Edge and
mailer each derive it from its id, with a key that both have.
"""

import hashlib
import hmac
import json
import os
import secrets
import sys
import uuid
from datetime import UTC, datetime, timedelta

import boto3
from argon2 import PasswordHasher

KEY = os.environ.get("TOKEN_KEY", "").encode()
if len(KEY) < 32:  # noqa: PLR2004 - the length of the hash
    sys.exit('TOKEN_KEY must contain 32 bytes or more. Create it with "openssl rand -base64 32".')
sns, sqs = boto3.client("sns"), boto3.client("sqs")
commands = sqs.get_queue_url(QueueName="user-commands")["QueueUrl"]


def derive_token(token_id: str) -> str:
    """Return the token of an id; in production by GenerateMac of KMS, so the key stays in KMS."""
    # the purpose: a token of another kind of mail never resets a password
    return hmac.new(KEY, f"reset\n{token_id}".encode(), hashlib.sha256).hexdigest()


def send(name: str, data: dict[str, str]) -> str:
    """Send a command that names the user by e-mail address; return its id."""
    command = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/login",
        "type": f"biome.user.{name}.v1",
        "time": datetime.now(UTC).isoformat(),
        "data": data,
    }
    sqs.send_message(QueueUrl=commands, MessageBody=json.dumps(command))
    return command["id"]


def edge_asks_for_a_reset(email: str) -> str:
    """Request a reset for the address that was typed. The answer does not depend on the address."""
    token_id = str(uuid.uuid4())
    token = derive_token(token_id)
    data = {
        "email": email,
        "token_id": token_id,
        "token_hash": hashlib.sha256(token.encode()).hexdigest(),
        "expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
    }
    return send("RequestPasswordReset", data)


def mailer_writes(event: dict) -> dict[str, str]:
    """Create the mail that PasswordResetRequested asks for: its recipient, and the token."""
    data = event["data"]
    return {"to": data["email"], "token": derive_token(data["token_id"])}


def edge_sets_the_password(email: str, token: str, password: str) -> str:
    """Set the new password that was typed after the link was followed."""
    hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)
    data = {
        "email": email,
        "token_hash": hashlib.sha256(token.encode()).hexdigest(),
        "password_hash": hasher.hash(password),
    }
    return send("ResetPassword", data)


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
            event = json.loads(message["Body"])
            kind, cause = event["type"].split(".")[2], event["causationid"]
            if cause == asked and kind == "PasswordResetRequested" and reset is None:
                mail = mailer_writes(event)
                print("mail to", mail["to"], flush=True)
                reset = edge_sets_the_password(mail["to"], mail["token"], secrets.token_urlsafe(12))
            elif cause == reset or (cause == asked and reset is None):
                print(kind, cause)  # PasswordReset; or CommandHadNoEffect, for an unknown address
                done = True
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


main(sys.argv[1])
