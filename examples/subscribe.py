"""Keeps an address book from the events: a queue of one's own, subscribed to both topics."""

import json

import boto3

sns, sqs = boto3.client("sns"), boto3.client("sqs")
queue_url = sqs.create_queue(QueueName="user-events-to-address-book")["QueueUrl"]
queue_arn = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"][
    "QueueArn"
]
topic = f"{queue_arn.rpartition(':')[0]}:user-events".replace(":sqs:", ":sns:")  # of this account
types_by_topic = {
    topic: ["UserErased"],  # the ordinary topic carries all events, without addresses
    f"{topic}-personal": ["UserRegistered", "UserCreated", "EmailChanged"],
}
let_the_topics_send = {
    "Version": "2012-10-17",
    "Statement": {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": list(types_by_topic)}},
    },
}
sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"Policy": json.dumps(let_the_topics_send)})
for arn, names in types_by_topic.items():
    wanted = {"type": [f"biome.user.{name}.v1" for name in names]}
    sns.subscribe(
        TopicArn=arn,
        Protocol="sqs",
        Endpoint=queue_arn,
        Attributes={"RawMessageDelivery": "true", "FilterPolicy": json.dumps(wanted)},
    )

latest: dict[str, str] = {}  # in earnest it is in your database, beside what you keep
try:
    while True:
        answer = sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=20)
        for message in answer.get("Messages", []):
            event = json.loads(message["Body"])
            user, sequence = event["subject"], event["sequence"]
            if sequence > latest.get(user, ""):  # else a repetition, or overtaken by a newer one
                latest[user] = sequence
                data = event["data"]
                address = data.get("new_email") or data.get("email")  # neither, once erased
                print(user, address or "has gone", flush=True)
            sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
except KeyboardInterrupt:
    print("stopped")
