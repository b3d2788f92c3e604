#!/bin/sh
# Sends a registration with the AWS CLI. It leaves the user's id out: the worker derives one.
set -eu

sqs() { # version 1 of the AWS CLI does not heed AWS_ENDPOINT_URL for SQS: tell it
  aws sqs "$@" --output text ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"}
}

id=$(python3 -c 'import uuid; print(uuid.uuid4())')
queue_url=$(sqs get-queue-url --queue-name user-commands --query QueueUrl)
# shellcheck disable=SC2016 # the $ signs of the hash stay as they are
sqs send-message --queue-url "$queue_url" --query MessageId --message-body '{
  "specversion": "1.0",
  "id": "'"$id"'",
  "source": "/signup",
  "type": "biome.user.RegisterUser.v1",
  "data": {
    "email": "margaret@example.com",
    "first_name": "Margaret",
    "last_name": "Hamilton",
    "password_hash": "$argon2id$v=19$m=65536,t=3,p=4$okk3ysaF0czpbsQEYF5nYw$CrVLZXCyyQb+fs4cz030fvkHoDwwJVoQ9pcp4eeWnL4"
  }
}' >/dev/null
echo "$id"
