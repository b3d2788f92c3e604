"""A forgotten password, from the question to the new one: `password_reset.py ada@example.com`.

It plays the three who have a part in it: the edge, which talks to the person; the mailer; and the
person, who reads the mail. The token is in the mail and nowhere else: not in a queue, not in an
event, not in a table. Edge and mailer each derive it from its id, with a key that both know.
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

KEY = os.environ.get("TOKEN_KEY", "a key for development").encode()
sns, sqs = boto3.client("sns"), boto3.client("sqs")
commands = sqs.get_queue_url(QueueName="user-commands")["QueueUrl"]


def derive_token(token_id: str) -> str:
    """Give the token of an id; in production by KMS, GenerateMac, whose key never leaves it."""
    return hmac.new(KEY, token_id.encode(), hashlib.sha256).hexdigest()


def send(name: str, data: dict[str, str]) -> str:
    """Send a command that names the user by e-mail address; give its id."""
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
    """The person typed their address. Tell them the same whether it is known or not."""
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
    """Make the mail that PasswordResetRequested asks for: to whom, and the token for the link."""
    data = event["data"]
    return {"to": data["email"], "token": derive_token(data["token_id"])}


def edge_sets_the_password(email: str, token: str, password: str) -> str:
    """The person followed the link, and typed a new password."""
    hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)
    data = {
        "email": email,
        "token_hash": hashlib.sha256(token.encode()).hexdigest(),
        "password_hash": hasher.hash(password),
    }
    return send("ResetPassword", data)


def subscribe() -> str:
    """Make a queue for the events of category password; give its URL."""
    url = sqs.create_queue(QueueName="user-events-to-password-mailer")["QueueUrl"]
    asked = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    queue = asked["Attributes"]["QueueArn"]
    topic = f"{queue.rpartition(':')[0]}:user-events".replace(":sqs:", ":sns:")
    let_the_topic_send = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": queue,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        },
    }
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(let_the_topic_send)})
    wanted = {"category": ["password", "command"]}
    sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=queue,
        Attributes={"RawMessageDelivery": "true", "FilterPolicy": json.dumps(wanted)},
    )
    return url


def main(email: str) -> None:
    """Play it through."""
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
