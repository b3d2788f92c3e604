"""Measure the processor time that the Python client needs to send a command, without the network.

SQS is a stub that accepts everything, so that the figure is the cost of the client alone: checking
and rendering the command, and building the calls.
"""

from __future__ import annotations

import sys
import time
from typing import Any
from uuid import uuid4

from biome_users import CommandRequest, UserCommands
from biome_users.commands import RegisterUser

HASHED = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo"
COMMANDS = 1_000
ROUNDS = 15


class Stub:
    """Accepts every batch."""

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: ARG002, N803 - boto3's names
        """Return SQS's answer for a batch that was accepted."""
        return {"Successful": [{"Id": entry["Id"], "MessageId": "m"} for entry in Entries]}


def measure(*, batches: bool) -> float:
    """Return the milliseconds of processor time of a registration, the least of some rounds."""
    users = UserCommands("http://sqs/1/commands", source="/signup", client=Stub())
    taken = []
    for _ in range(ROUNDS):
        ids = [uuid4() for _ in range(COMMANDS)]
        start = time.process_time()
        requests = [
            CommandRequest(
                command=RegisterUser(
                    email="ada@example.com",
                    first_name="Ada",
                    last_name="Lovelace",
                    password_hash=HASHED,
                ),
                user_id=user_id,
            )
            for user_id in ids
        ]
        if batches:
            users.send_many(requests)
        else:
            for request in requests:
                users.send_many([request])
        taken.append((time.process_time() - start) / COMMANDS * 1000)
    return min(taken)


def main() -> None:
    """Print both figures."""
    sys.stdout.write(f"ten a call: {measure(batches=True):.3f} ms a command\n")
    sys.stdout.write(f"one a call: {measure(batches=False):.3f} ms a command\n")


if __name__ == "__main__":
    main()
