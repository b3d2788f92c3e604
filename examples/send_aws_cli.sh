#!/bin/sh
# Sends a registration with the AWS CLI. It leaves the user's id out: the worker derives one.
set -eu

sqs() { # version 1 of the AWS CLI does not heed AWS_ENDPOINT_URL for SQS: tell it
  aws sqs "$@" --output text ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"}
}

hash_password() { # standard input: the password, which no list of processes shows
  if command -v argon2 >/dev/null; then # of the package argon2; -m 16 is 2^16 KiB
    argon2 "$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')" -id -t 3 -m 16 -p 4 -l 32 -e
  else
    python3 -c 'import sys, argon2; h = argon2.PasswordHasher(3, 65536, 4).hash
print(h(sys.stdin.read()))'
  fi
}

password=$(head -c 9 /dev/urandom | base64) # what the person typed
password_hash=$(printf %s "$password" | hash_password)
id=$(python3 -c 'import uuid; print(uuid.uuid4())')
queue_url=$(sqs get-queue-url --queue-name user-commands --query QueueUrl)
sqs send-message --queue-url "$queue_url" --query MessageId --message-body '{
  "specversion": "1.0",
  "id": "'"$id"'",
  "source": "/signup",
  "type": "biome.user.RegisterUser.v1",
  "data": {
    "email": "margaret@example.com",
    "first_name": "Margaret",
    "last_name": "Hamilton",
    "password_hash": "'"$password_hash"'"
  }
}' >/dev/null
echo "$id"
