"""Stacks of this repository's templates, deployed into a separate account of LocalStack."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.account import client
from tests.e2e.worker_process import eventually
from worker.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
SECONDS = 30.0


def settings_of(*, fifo: bool) -> Settings:
    """Return the settings for the resources that the template creates by default."""
    end = ".fifo" if fifo else ""
    return Settings(
        env="test",
        command_queue=f"user-commands{end}",
        priority_queue=f"user-commands-priority{end}",
        additional_queues=(f"user-commands-back-office{end}",),
        dead_letter_queue=f"user-commands-dlq{end}",
        quarantine_queue=f"user-commands-quarantine{end}",
        events_topic=f"user-events{end}",
    )


@dataclass(frozen=True, slots=True)
class Account:
    """A separate account; both emulators use a twelve-digit access key as its number."""

    number: str
    environment: dict[str, str]

    @classmethod
    def fresh(cls, endpoint: str) -> Account:
        """Create a new account."""
        number = str(random.randrange(10**11, 10**12))
        named = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": number}
        return cls(number, {**os.environ, **named, "AWS_REGION": os.environ["AWS_DEFAULT_REGION"]})

    def client(self, service: str) -> Any:
        """Create a client for the account."""
        return client(service, self.environment)

    def deploy(self, stack: str, template: str, **parameters: str) -> dict[str, str]:
        """Create a stack from a file in deploy/; return its outputs.

        Raises:
            AssertionError: The creation failed; the text says what failed.
        """
        return self.make(stack, (DEPLOY / template).read_text(), **parameters)

    def make(self, stack: str, body: str, **parameters: str) -> dict[str, str]:
        """Create a stack from a template's text; like `deploy`."""
        cloudformation = self.client("cloudformation")
        cloudformation.create_stack(
            StackName=stack,
            TemplateBody=body,
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in parameters.items()
            ],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
            return None if found["StackStatus"].endswith("IN_PROGRESS") else found

        made = eventually(ended, SECONDS, f"the stack {stack}")
        assert made is not None
        events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
        failed = {e["LogicalResourceId"]: e for e in events if "FAILED" in e["ResourceStatus"]}
        assert made["StackStatus"] == "CREATE_COMPLETE", failed
        return {each["OutputKey"]: each["OutputValue"] for each in made.get("Outputs", [])}
