"""The most common mistakes, and the expected error for each."""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

from botocore import exceptions as sdk

from tests.builders import uid
from worker.errors import ExitCode

ENDPOINT = "http://127.0.0.1:4566"
UNBAN = f"send UnbanUser --user {uid('ada')}"
REGISTER = "send RegisterUser email=a@example.com first_name=A last_name=B"
PASSWORD = "correct-horse-battery"


class Mistake(NamedTuple):
    """A mistake of a user, and the expected error."""

    line: str
    says: str
    do: str
    code: ExitCode = ExitCode.USAGE
    variables: dict[str, str | None] = {}  # noqa: RUF012 - never changed
    answer: Any = None
    """The answer of AWS, or of the network, to every call."""


def refused(code: str, text: str = "private") -> Exception:
    """Create an error answer of a service."""
    return sdk.ClientError({"Error": {"Code": code, "Message": text}}, "GetQueueUrl")


def no_host() -> Exception:
    """Create the error for a host name that is not in the DNS."""
    error = sdk.EndpointConnectionError(endpoint_url="http://locahlost:4566/")
    error.__context__ = socket.gaierror(-2, "Name or service not known")
    return error


MISTYPED = {
    "command": Mistake(
        "send RegisterUsr", "unknown command 'RegisterUsr'", "did you mean RegisterUser"
    ),
    "subcommand": Mistake("staus", "No such command 'staus'", "Did you mean"),
    "option": Mistake("send --wiat 3", "--wiat", "--wait"),
    "field": Mistake("send RegisterUser emial=a", "no field 'emial'", "did you mean email?"),
    "role": Mistake(
        f"send AssignRole role=boss --user {uid('ada')}",
        "data.role",
        "customer, lab_assistant, admin",
    ),
    "a plaintext password": Mistake(
        f"{REGISTER} password={PASSWORD}",
        "must not be sent in plaintext",
        "send the hash as password_hash",
    ),
    "a password for a hash": Mistake(
        f"{REGISTER} password_hash={PASSWORD}", "data.password_hash", "argon2id"
    ),
    "a user id that is none": Mistake("send UnbanUser --user 5f0", "subject", "UUID"),
    "a file that is not there": Mistake(
        "send --file nope.jsonl", "cannot read nope.jsonl", "No such file"
    ),
    "JSON that is none": Mistake(
        "send BanUser --data {reason", "--data is not JSON", "write it as"
    ),
    "an address for a user": Mistake(
        "user a@b", "invalid user", "use a user id or an e-mail address"
    ),
    "a command's id that is none": Mistake("outcome 5", "the command's id", "write it like"),
}
SETTINGS = {
    "a number": Mistake(
        "status",
        "USER_WORKER_VISIBILITY_TIMEOUT must be a whole number from 1 to 43200",
        "correct",
        ExitCode.ENVIRONMENT,
        {"USER_WORKER_VISIBILITY_TIMEOUT": "soon"},
    ),
    "a name": Mistake(
        "status",
        "USER_WORKER_TABLE must be 3 to 255 letters, digits, dots, - or _",
        "correct",
        ExitCode.ENVIRONMENT,
        {"USER_WORKER_TABLE": "a b"},
    ),
    "a setting's name": Mistake(
        "status",
        "USER_WORKER_TABEL is not a setting",
        "did you mean USER_WORKER_TABLE?",
        ExitCode.ENVIRONMENT,
        {"USER_WORKER_TABEL": "users"},
    ),
    "FIFO and standard": Mistake(
        "status",
        "must all be FIFO or none",
        "let all names end in .fifo",
        ExitCode.ENVIRONMENT,
        {"USER_WORKER_COMMAND_QUEUE": "commands.fifo"},
    ),
    "memory and processes": Mistake(
        "run --pool prefork",
        "its own users",
        "--pool threads",
        ExitCode.USAGE,
        {"USER_WORKER_REPOSITORY": "memory"},
    ),
    "production": Mistake(
        "provision",
        "is for development",
        "with a template",
        ExitCode.USAGE,
        {"USER_WORKER_ENV": "prod"},
    ),
    "no region": Mistake(
        UNBAN,
        "no AWS region",
        "set AWS_DEFAULT_REGION",
        ExitCode.ENVIRONMENT,
        {"AWS_DEFAULT_REGION": None, "AWS_REGION": None},
    ),
    "a region that is none": Mistake(
        UNBAN,
        "AWS_DEFAULT_REGION is not the name of a region",
        "correct AWS_",
        ExitCode.ENVIRONMENT,
        {"AWS_DEFAULT_REGION": "us east 1", "AWS_ENDPOINT_URL": None},
    ),
    "no credentials": Mistake(
        UNBAN,
        "no AWS credentials",
        "AWS_ACCESS_KEY_ID=test",
        ExitCode.ENVIRONMENT,
        {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
    ),
    "a profile that is none": Mistake(
        UNBAN, "AWS_PROFILE", "correct AWS_", ExitCode.ENVIRONMENT, {"AWS_PROFILE": "nobody"}
    ),
    "an endpoint that is none": Mistake(
        UNBAN,
        "AWS_ENDPOINT_URL is not a URL",
        "http://127.0.0.1:4566",
        ExitCode.ENVIRONMENT,
        {"AWS_ENDPOINT_URL": "localhost:4566"},
    ),
}


def aws(answer: Exception, says: str, do: str) -> Mistake:
    """Create a mistake that only a call to AWS, or the network, can reveal."""
    return Mistake(UNBAN, says, do, ExitCode.ENVIRONMENT, {}, answer)


ANSWERS = {
    "no LocalStack": aws(
        sdk.EndpointConnectionError(endpoint_url=f"{ENDPOINT}/"),
        f"nothing answers at {ENDPOINT}",
        "`make up`",
    ),
    "https where http is spoken": aws(
        sdk.SSLError(endpoint_url="https://127.0.0.1:4566/", error=OSError("WRONG_VERSION_NUMBER")),
        "no TLS at https://127.0.0.1:4566",
        f"AWS_ENDPOINT_URL={ENDPOINT}",
    ),
    "a certificate of its own": aws(
        sdk.SSLError(endpoint_url="https://aws.local/", error=OSError("CERTIFICATE_VERIFY_FAILED")),
        "certificate of https://aws.local is not trusted",
        "AWS_CA_BUNDLE",
    ),
    "another's port": aws(refused("404"), "the endpoint is not AWS", "its port"),
    "http where https is spoken": aws(
        sdk.ConnectionClosedError(endpoint_url=f"{ENDPOINT}/"),
        "closed the connection",
        "http or https",
    ),
    "a host that is none": aws(
        no_host(), "the host of http://locahlost:4566 does not exist", "AWS_ENDPOINT_URL"
    ),
    "a dead network": aws(
        sdk.ConnectTimeoutError(endpoint_url="https://sqs.eu-west-1.amazonaws.com/"),
        "nothing answers at https://sqs.eu-west-1.amazonaws.com",
        "check the region and the network",
    ),
    "a missing queue, or another region": aws(
        refused("AWS.SimpleQueueService.NonExistentQueue"),
        f"in region us-east-1 at {ENDPOINT}",
        "user-worker provision",
    ),
    "no permission": aws(refused("AccessDenied"), "AWS does not allow GetQueueUrl", "use a role"),
    "expired credentials": aws(
        refused("ExpiredToken"), "credentials have expired", "sign in again"
    ),
    "a wrong key": aws(
        refused("InvalidClientTokenId"), "does not accept the credentials", "sign in"
    ),
    "a wrong clock": aws(
        refused("SignatureDoesNotMatch", "Signature expired: 20261123T110000Z is now earlier than"),
        "differs from AWS's",
        "correct the clock",
    ),
    "signed out": aws(
        sdk.UnauthorizedSSOTokenError(), "the AWS sign-in has expired", "aws sso login"
    ),
}
ALL = {**MISTYPED, **SETTINGS, **ANSWERS}
