"""Check that AWS is reachable, accepts the credentials, and agrees with the local clock."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from adapters.aws.client import is_amazon, region
from adapters.clock import clock_difference
from operations.doctor.emulator import find_emulator
from worker.cli_errors import is_denial, is_refusal
from worker.connections import Aws
from worker.errors import CliError
from worker.resources.finding import Finding, error_finding, fail, ok, warn

SKEW_OF_A_FAILURE = 300
"""Maximum seconds between a signature's time and AWS's: five minutes (Signature Version 4)."""
SKEW_OF_A_WARNING = 60

Checks = Generator[Finding, None, bool]
"""Yields findings; returns whether the next checks can run."""


def configuration(aws: Aws) -> Checks:
    """Check region, credentials and endpoints, without a call."""
    try:
        clients = (aws.sqs, aws.sns, aws.dynamodb)
    except (CliError, BotoCoreError, ValueError) as error:
        yield error_finding("AWS settings", error)
        return False
    yield ok("region", f"{aws.sqs.meta.region_name}{'' if region() else ', from the profile'}")
    credentials = boto3.session.Session().get_credentials()
    yield ok("credentials", f"source: {credentials.method if credentials else 'none'}")
    endpoints = {
        client.meta.service_model.service_name: client.meta.endpoint_url for client in clients
    }
    yield _endpoints(endpoints, aws.settings.env)
    return True


def _endpoints(endpoints: Mapping[str, str], env: str) -> Finding:
    amazons = {name for name, url in endpoints.items() if is_amazon(url)}
    text = ", ".join(sorted(set(endpoints.values())))
    if amazons and amazons != endpoints.keys():
        text = f"{' and '.join(sorted(amazons))} on AWS, the others on an emulator: {text}"
        return warn("endpoint", text, "set AWS_ENDPOINT_URL for all, or for none")
    if env == "prod" and not amazons:
        return warn("endpoint", f"{text}, but USER_WORKER_ENV is prod", "unset AWS_ENDPOINT_URL")
    return ok("endpoint", text)


def answers(aws: Aws) -> Checks:
    """Make the first call; check identity and clock by its response."""
    try:
        answer: Any = aws.sqs.get_queue_url(QueueName=aws.settings.command_queue)
    except ClientError as error:
        answer = error.response
        if is_refusal(error) and not is_denial(error):
            yield _skew(answer) or error_finding("identity", error)
            return False
        code = str(answer.get("Error", {}).get("Code", ""))
        if not code or code.isdigit():  # the page of another HTTP server
            yield error_finding("connection", error)
            return False
    except Exception as error:  # noqa: BLE001 - every failure is a finding
        yield error_finding("connection", error)
        return False
    yield ok("connection", "SQS accepts the credentials")
    yield _skew(answer) or ok("clock", "within a minute of AWS's clock")
    yield from emulator(aws.sqs.meta.endpoint_url)
    return True


def _skew(answer: Mapping[str, Any], now: datetime | None = None) -> Finding | None:
    """Compare the response's Date with the local clock; return `None` if they agree."""
    at = (now or datetime.now(UTC)).timestamp()
    seconds = clock_difference(answer, at, at) or 0.0
    if abs(seconds) < SKEW_OF_A_WARNING:
        return None
    text = f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} AWS's clock"
    if abs(seconds) < SKEW_OF_A_FAILURE:
        return warn("clock", text, "correct the clock; from 300 s on, AWS rejects requests")
    return fail("clock", text, "correct the clock: AWS rejects requests from 300 s on")


def emulator(endpoint: str) -> Generator[Finding]:
    """Check the report of an emulator, if the endpoint is one."""
    found = None if is_amazon(endpoint) else find_emulator(endpoint)
    if found is None:
        return
    if found.lacking:
        text = f"{found.title} runs without {', '.join(found.lacking)}"
        yield fail("emulator", text, "start it with SERVICES=dynamodb,sns,sqs, or without SERVICES")
    else:
        yield ok("emulator", f"{found.title}, with all required services")
