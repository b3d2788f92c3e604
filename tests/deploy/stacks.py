"""Stacks of this repository's templates, deployed into an account of LocalStack's own making."""

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
    """Give the settings that fit what the template makes by default."""
    end = ".fifo" if fifo else ""
    return Settings(
        env="test",
        command_queue=f"user-commands{end}",
        priority_queue=f"user-commands-priority{end}",
        dead_letter_queue=f"user-commands-dlq{end}",
        events_topic=f"user-events{end}",
    )


@dataclass(frozen=True, slots=True)
class Account:
    """An account that nobody else has; both emulators take a twelve-digit key for its number."""

    number: str
    environment: dict[str, str]

    @classmethod
    def fresh(cls, endpoint: str) -> Account:
        """Make one up."""
        number = str(random.randrange(10**11, 10**12))
        named = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": number}
        return cls(number, {**os.environ, **named, "AWS_REGION": os.environ["AWS_DEFAULT_REGION"]})

    def client(self, service: str) -> Any:
        """Make a client for it."""
        return client(service, self.environment)

    def deploy(self, stack: str, template: str, **parameters: str) -> dict[str, str]:
        """Make a stack of a file in deploy/, and give its outputs.

        Raises:
            AssertionError: it did not come about; the text says what failed.
        """
        return self.make(stack, (DEPLOY / template).read_text(), **parameters)

    def make(self, stack: str, body: str, **parameters: str) -> dict[str, str]:
        """Make a stack of a template's text; as `deploy`."""
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
