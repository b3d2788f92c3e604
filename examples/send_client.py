"""Sends commands with the client of this project, and learns how they ended."""

import secrets
import uuid

from argon2 import PasswordHasher

from domain.commands import AssignRole, RegisterUser, UpdateProfile
from domain.values import EmailAddress, PasswordHash
from user_client import CommandRequest, OutcomeListener, UserCommands

source = f"/signup/{uuid.uuid4()}"  # of this process, so that it hears its own answers only
users = UserCommands("user-commands", source=source)
hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)  # argon2id, 64 MiB
password = secrets.token_urlsafe(12)  # what the person typed

with OutcomeListener(source=source, topic="user-events") as outcomes:
    mary = RegisterUser(
        EmailAddress("mary.jackson@example.com"),
        "Mary",
        PasswordHash(hasher.hash(password)),
        last_name="Jackson",
    )
    user_id = uuid.uuid4()
    answer = outcomes.answer(users.send(mary, user_id=user_id), timeout=30)
    print(answer.kind, answer.code or "")  # accepted

    changes = [
        CommandRequest(AssignRole("admin"), user_id=user_id),
        CommandRequest(UpdateProfile(first_name="Mary"), user_id=user_id),
        CommandRequest(UpdateProfile(last_name="Winston"), user_id=user_id, expected_version=99),
    ]
    for command_id in users.send_many(changes):
        answer = outcomes.answer(command_id)
        print(answer.kind, answer.code or "")  # accepted, no effect, rejected VersionConflict
