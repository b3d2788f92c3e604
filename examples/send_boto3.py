"""Sends a registration with boto3: a command is a CloudEvent, as JSON, in an SQS message."""

import json
import secrets
import uuid
from datetime import UTC, datetime

import boto3
from argon2 import PasswordHasher

password = secrets.token_urlsafe(12)  # what the person typed: it goes no further than this line
hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)  # argon2id, 64 MiB
command = {
    "specversion": "1.0",
    "id": str(uuid.uuid4()),  # the command's id: keep it when you send the command again
    "source": "/signup",  # who asks; you can subscribe to your own answers by it
    "type": "biome.user.RegisterUser.v1",
    "subject": str(uuid.uuid4()),  # the user's id
    "time": datetime.now(UTC).isoformat(),
    "data": {
        "email": "Ada@Example.com",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "password_hash": hasher.hash(password),  # $argon2id$v=19$m=65536,t=3,p=4$...
    },
}
sqs = boto3.client("sqs")
queue_url = sqs.get_queue_url(QueueName="user-commands")["QueueUrl"]
sqs.send_message(QueueUrl=queue_url, MessageBody=json.dumps(command))
print(command["id"])
