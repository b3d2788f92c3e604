"""A mailer: sends a mail with a token for each event that asks for one. `mailer.py QUEUE`."""

import os
import sys

import boto3

from biome_users import InvalidEventError, MailedTokens, parse_event
from biome_users.event_types import (
    EmailChangeRequested,
    EmailVerificationRequested,
    PasswordResetRequested,
)


def write(event, tokens):
    """Return recipient, subject and token of the mail that an event asks for, or None."""
    match event.data:
        case EmailVerificationRequested(email=str(to), token_id=token_id):
            return to, "Verify your address", tokens.token("verification", token_id)
        case EmailChangeRequested(new_email=str(to), token_id=token_id):
            return to, "Confirm your new address", tokens.token("change", token_id)
        case PasswordResetRequested(email=str(to), token_id=token_id):
            return to, "Reset your password", tokens.token("reset", token_id)
    return None  # another event, or the user was erased and the address is gone


def main(queue):
    """Receive, send, delete: after a crash a mail is sent twice and none is lost."""
    tokens, sqs = MailedTokens(os.environ["TOKEN_KEY"].encode()), boto3.client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    sent = set()  # in production, a table with the ids of the events of the last 15 days
    while True:
        answer = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20, MaxNumberOfMessages=10)
        for message in answer.get("Messages", []):
            try:
                event = parse_event(message["Body"])
            except InvalidEventError as error:
                print("not an event:", error, file=sys.stderr)  # goes to the dead-letter queue
                continue
            if event.id not in sent and (mail := write(event, tokens)):
                print(event.user_id, *mail, sep="\t", flush=True)  # in production: SES
            sent.add(event.id)
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


if __name__ == "__main__":
    main(sys.argv[1])
