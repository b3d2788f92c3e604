"""Sends commands with the client of this project, and learns how they ended."""

import uuid

from domain.commands import AssignRole, CreateUser, UpdateProfile
from domain.values import EmailAddress
from user_client import CommandRequest, OutcomeListener, UserCommands

source = f"/admin/{uuid.uuid4()}"  # of this process, so that it hears its own answers only
users = UserCommands("user-commands", source=source)
user_id = uuid.uuid4()

with OutcomeListener(source=source, topic="user-events") as outcomes:
    mary = CreateUser(EmailAddress("mary.jackson@example.com"), "Mary", "Jackson", ("customer",))
    answer = outcomes.answer(users.send(mary, user_id=user_id), timeout=30)
    print(answer.kind, answer.code or "")  # accepted

    changes = [
        CommandRequest(AssignRole("admin"), user_id=user_id),
        CommandRequest(AssignRole("customer"), user_id=user_id),
        CommandRequest(UpdateProfile(last_name="Winston"), user_id=user_id, expected_version=99),
    ]
    for command_id in users.send_many(changes):
        answer = outcomes.answer(command_id)
        print(answer.kind, answer.code or "")  # accepted, no effect, rejected VersionConflict
