"""Sends a registration with a stock Celery application and kombu's own SQS transport."""

import uuid

import boto3
from celery import Celery

sqs = boto3.client("sqs")
queue_url = sqs.get_queue_url(QueueName="user-commands")["QueueUrl"]
app = Celery(broker="sqs://")
app.conf.task_default_queue = "user-commands"
app.conf.broker_transport_options = {
    "region": sqs.meta.region_name,
    "predefined_queues": {"user-commands": {"url": queue_url}},  # or kombu lists and makes queues
}
result = app.send_task(
    "biome.user.RegisterUser.v1",
    task_id=str(uuid.uuid4()),  # the command's id
    kwargs={
        "user_id": str(uuid.uuid4()),
        "email": "grace@example.com",
        "first_name": "Grace",
        "last_name": "Hopper",
        "password_hash": "$argon2id$v=19$m=65536,t=3,p=4"
        "$okk3ysaF0czpbsQEYF5nYw$CrVLZXCyyQb+fs4cz030fvkHoDwwJVoQ9pcp4eeWnL4",
    },
    headers={"source": "/signup"},  # and correlationid, expectedversion, ... if you like
)
print(result.id)
