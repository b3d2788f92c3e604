"""Sends commands with the client of this project, and learns how they ended."""

import secrets
import uuid

from argon2 import PasswordHasher

from biome_users import CommandRequest, OutcomeListener, UserCommands
from biome_users.commands import AssignRole, RegisterUser, UpdateProfile

source = f"/signup/{uuid.uuid4()}"  # of this process, so that it hears its own answers only
users = UserCommands("user-commands", source=source)
hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)  # argon2id, 64 MiB
password = secrets.token_urlsafe(12)  # what the person typed

with OutcomeListener(source=source, topic="user-events") as outcomes:
    mary = RegisterUser(
        email="mary.jackson@example.com",
        first_name="Mary",
        last_name="Jackson",
        password_hash=hasher.hash(password),
    )
    user_id = uuid.uuid4()
    answer = outcomes.answer(users.send(mary, user_id=user_id), timeout=30)
    print(answer.kind, answer.code or "")  # accepted

    changes = [
        (AssignRole(role="admin"), None),
        (UpdateProfile(first_name="Mary"), None),
        (UpdateProfile(last_name="Winston"), 99),
    ]
    requests = [
        CommandRequest(command=command, user_id=user_id, expected_version=version)
        for command, version in changes
    ]
    for command_id in users.send_many(requests):
        answer = outcomes.answer(command_id)
        print(answer.kind, answer.code or "")  # accepted, no effect, rejected VersionConflict
