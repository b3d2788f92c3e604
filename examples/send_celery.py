"""Sends a registration with a stock Celery application and kombu's own SQS transport."""

import secrets
import uuid

import boto3
from argon2 import PasswordHasher
from celery import Celery

queue = "user-commands"  # of a FIFO queue the name ends in .fifo
password = secrets.token_urlsafe(12)  # what the person typed
hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)  # argon2id, 64 MiB
sqs = boto3.client("sqs")
queue_url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
app = Celery(broker="sqs://")
app.conf.task_default_queue = queue
app.conf.broker_transport_options = {
    "region": sqs.meta.region_name,
    "predefined_queues": {queue: {"url": queue_url}},  # or kombu lists and makes queues
}
user_id = str(uuid.uuid4())
# Without it kombu puts all users of a FIFO queue into one group, named "default".
order = {"MessageGroupId": user_id} if queue.endswith(".fifo") else {}
result = app.send_task(
    "biome.user.RegisterUser.v1",
    task_id=str(uuid.uuid4()),  # the command's id
    kwargs={
        "user_id": user_id,
        "email": "grace@example.com",
        "first_name": "Grace",
        "last_name": "Hopper",
        "password_hash": hasher.hash(password),
    },
    headers={"source": "/signup"},  # and correlationid, expectedversion, ... if you like
    **order,
)
print(result.id)
