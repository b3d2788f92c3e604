"""The deployed templates create what `provision` creates, and a worker runs on it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from adapters.dynamodb.provision import expires_by, table_differences
from adapters.dynamodb.table import REFRESH_TOKEN_INDEX, TTL_ATTRIBUTE
from adapters.provision import provision, queue_attributes, queue_differences
from application.permissions_file import parse_permissions
from application.queue_port import FIFO_SUFFIX
from operations.queue_template import render_template
from scripts.access_template import ROLES, logical_id
from tests.builders import ALLOW_ALL, HASH_KEY
from tests.deploy.stacks import DEPLOY, Account, settings_of
from tests.deploy.templates import of_type
from tests.e2e.account import BIN, clear, running
from tests.e2e.worker_process import eventually
from worker.bootstrap import resources
from worker.settings import Settings

pytestmark = [pytest.mark.localstack, pytest.mark.xdist_group("stack")]

PRIORITY_QUEUE = "user-commands-priority"
READING = [
    "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessage",
    "sqs:PurgeQueue",
    "sqs:ReceiveMessage",
    "sqs:StartMessageMoveTask",
]
OF_THE_MOMENT = {"CreatedTimestamp", "LastModifiedTimestamp"}


@dataclass(frozen=True, slots=True)
class Pair:
    """The same names in two accounts: created by the template, and by `provision`."""

    settings: Settings
    template: Account
    development: Account
    outputs: dict[str, str]

    @property
    def queues(self) -> list[str]:
        """Return the names of all queues that the worker uses."""
        return [
            *self.settings.queues,
            self.settings.dead_letter_queue,
            self.settings.quarantine_queue,
        ]


@pytest.fixture(scope="module", params=[False, True], ids=["standard", "fifo"])
def pair(request: pytest.FixtureRequest, aws_endpoint: str) -> Iterator[Pair]:
    """Both deployments, in standard and in FIFO form."""
    fifo: bool = request.param
    settings = settings_of(fifo=fifo)
    template, development = Account.fresh(aws_endpoint), Account.fresh(aws_endpoint)
    chosen = {"Fifo": "true" if fifo else "false", "DeletionProtection": "false"}
    chosen["AdditionalQueueArns"] = additional_queue_arns(template, settings)
    chosen["GenerateKeys"] = "false"  # the emulator has no Secrets Manager
    outputs = template.deploy("user-worker-resources", "resources.yaml", **chosen)
    outputs |= template.make("user-worker-queues", queues_template(settings))
    clients = [development.client(name) for name in ("dynamodb", "sqs", "sns")]
    provision(resources(settings), *clients)
    yield Pair(settings, template, development, outputs)
    clear(template.environment)
    clear(development.environment)


def additional_queue_arns(account: Account, settings: Settings) -> str:
    """Return the ARNs of the queues that the stack of queues.yaml will create."""
    region = account.environment["AWS_DEFAULT_REGION"]
    arns = [f"arn:aws:sqs:{region}:{account.number}:{n}" for n in settings.additional_queues]
    return ",".join(arns)


def queues_template(settings: Settings) -> str:
    """Return the template of deploy/permissions.toml, for FIFO queues if the settings have them."""
    if not settings.command_queue.endswith(FIFO_SUFFIX):
        return (DEPLOY / "queues.yaml").read_text()
    text = (DEPLOY / "permissions.toml").read_text()
    text = re.sub(r'"(user-commands[a-z-]*)"', r'"\1.fifo"', text)
    permissions = parse_permissions(text, settings.queues, settings.roles)
    return render_template(permissions, settings, Path("permissions.toml"))


def queue(account: Account, name: str) -> dict[str, str]:
    """Read a queue's attributes."""
    sqs = account.client("sqs")
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    found: dict[str, str] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])[
        "Attributes"
    ]
    return found


def topic(account: Account, name: str) -> dict[str, str]:
    """Read a topic's attributes."""
    region = account.environment["AWS_DEFAULT_REGION"]
    arn = f"arn:aws:sns:{region}:{account.number}:{name}"
    found: dict[str, str] = account.client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]
    return found


def compare(account: Account, attributes: Mapping[str, str]) -> dict[str, Any]:
    """Return the attributes that two accounts can have in common."""
    return {
        name: json.loads(text) if text.startswith("{") else text
        for name, value in attributes.items()
        if name not in OF_THE_MOMENT and not name.startswith("Approximate")
        for text in [value.replace(account.number, "ACCOUNT")]
    }


def only_in_production(pair: Pair, name: str) -> dict[str, Any]:
    """Return the attributes that the template adds to those of `provision`; it removes none."""
    place = f"{pair.template.environment['AWS_DEFAULT_REGION']}:ACCOUNT"
    quarantine = name == pair.settings.quarantine_queue
    key = pair.outputs["QuarantineKeyArn" if quarantine else "KeyArn"]
    more: dict[str, Any] = {
        "KmsMasterKeyId": key.replace(pair.template.number, "ACCOUNT"),
        "KmsDataKeyReusePeriodSeconds": "3600",
        "Policy": tls_only(f"arn:aws:sqs:{place}:{name}", "sqs:*"),
    }
    if name in pair.settings.queues:
        more["Policy"]["Statement"].append(only_its_producers(place, name))
    if quarantine:
        more["Policy"]["Statement"].append(
            {
                "Sid": "BreakGlassAlone",
                "Effect": "Deny",
                "Principal": "*",
                "Action": READING,
                "Resource": f"arn:aws:sqs:{place}:{name}",
                "Condition": {
                    "ArnNotEquals": {"aws:PrincipalArn": "arn:aws:iam::ACCOUNT:role/none"}
                },
            }
        )
    if pair.settings.command_queue.endswith(FIFO_SUFFIX):  # high throughput
        more |= {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    if name == pair.settings.dead_letter_queue:
        first = (pair.settings.command_queue, pair.settings.priority_queue)
        queues = (*first, *pair.settings.additional_queues)
        sources = [f"arn:aws:sqs:{place}:{each}" for each in queues]
        more["RedriveAllowPolicy"] = {"redrivePermission": "byQueue", "sourceQueueArns": sources}
    return more


def tls_only(arn: str, actions: str | list[str]) -> dict[str, Any]:
    """Return a policy that denies access without TLS."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": actions,
                "Resource": arn,
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }


def only_its_producers(place: str, name: str) -> dict[str, Any]:
    """Return the statement that denies sending to all but the example's producers of a queue."""
    roles = {
        "user-commands": ("ACCOUNT", "LOGIN", "OPERATOR", "SIGNUP"),
        "user-commands-priority": ("OPERATOR",),
        "user-commands-back-office": ("BACKOFFICE", "OPERATOR"),
    }[name.removesuffix(".fifo")]
    return {
        "Sid": "OnlyItsProducers",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:SendMessage",
        "Resource": f"arn:aws:sqs:{place}:{name}",
        "Condition": {"StringNotLike": {"aws:userid": [f"AROAEXAMPLE{role}:*" for role in roles]}},
    }


def test_the_template_makes_the_queues_of_development(pair: Pair) -> None:
    """Attributes and values are equal, apart from those that `only_in_production` adds."""
    arn = queue(pair.template, pair.settings.dead_letter_queue)["QueueArn"]
    for name in pair.queues:
        stored = queue(pair.template, name)
        letters = name not in pair.settings.queues
        wanted = queue_attributes(resources(pair.settings), name, None if letters else arn)
        assert queue_differences(stored, wanted) == []
        ours = compare(pair.template, stored)
        theirs = compare(pair.development, queue(pair.development, name))
        assert ours == theirs | only_in_production(pair, name)


@pytest.mark.parametrize("setting", ["events_topic", "personal_topic"])
def test_the_template_makes_the_topics_of_development(pair: Pair, setting: str) -> None:
    """As for the queues."""
    name = getattr(pair.settings, setting)
    ours = compare(pair.template, topic(pair.template, name))
    theirs = compare(pair.development, topic(pair.development, name))
    arn = ours["TopicArn"]
    policy = tls_only(arn, ["sns:Publish", "sns:Subscribe"])
    more = {
        "KmsMasterKeyId": pair.outputs["KeyArn"].replace(pair.template.number, "ACCOUNT"),
        "Policy": policy,
    }
    for sid, condition in {
        "QueuesOnly": {"StringNotEquals": {"sns:Protocol": "sqs"}},
        "OfThisAccountOnly": {"StringNotLike": {"sns:Endpoint": "arn:aws:sqs:*:ACCOUNT:*"}},
    }.items():
        denied = {"Sid": sid, "Effect": "Deny", "Principal": "*", "Action": "sns:Subscribe"}
        policy["Statement"].append(denied | {"Resource": arn, "Condition": condition})
    if pair.settings.command_queue.endswith(FIFO_SUFFIX):  # high throughput
        more["FifoThroughputScope"] = "MessageGroup"
    assert ours == theirs | more


def test_the_template_makes_the_table_of_development(pair: Pair) -> None:
    """Keys, indexes, billing and expiry are equal."""
    shapes = []
    for account in (pair.template, pair.development):
        dynamodb = account.client("dynamodb")
        table = dynamodb.describe_table(TableName="users")["Table"]
        assert table_differences(table) == []
        shapes.append(shape(table))
        expiry = dynamodb.describe_time_to_live(TableName="users")["TimeToLiveDescription"]
        assert expires_by(expiry) == TTL_ATTRIBUTE
    assert shapes[0] == shapes[1]


def shape(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table's definition, without its content."""
    return {
        "billing": table["BillingModeSummary"]["BillingMode"],
        "keys": table["KeySchema"],
        "types": {each["AttributeName"]: each for each in table["AttributeDefinitions"]},
        "indexes": {
            each["IndexName"]: (each["KeySchema"], each["Projection"])
            for each in table.get("GlobalSecondaryIndexes", [])
        },
        "others": [
            table.get("LocalSecondaryIndexes"),
            table.get("StreamSpecification"),
            table.get("TableClassSummary"),
        ],
    }


def test_everything_is_encrypted_with_the_key(pair: Pair) -> None:
    """A customer managed key can be revoked, and its use can be audited."""
    key = pair.outputs["KeyArn"]
    keyed = (*pair.settings.queues, pair.settings.dead_letter_queue, *undelivered(pair))
    for name in keyed:
        assert queue(pair.template, name)["KmsMasterKeyId"] == key
    quarantine = queue(pair.template, pair.settings.quarantine_queue)
    assert quarantine["KmsMasterKeyId"] == pair.outputs["QuarantineKeyArn"] != key
    for name in topics(pair):
        assert topic(pair.template, name)["KmsMasterKeyId"] == key
    table = pair.template.client("dynamodb").describe_table(TableName="users")["Table"]
    assert table["SSEDescription"]["KMSMasterKeyArn"] == key


def test_the_key_policy_allows_the_topic_and_principals_allowed_by_iam(pair: Pair) -> None:
    """The only service is SNS, for the events that these topics could not deliver."""
    kms = pair.template.client("kms")
    found = kms.get_key_policy(KeyId=pair.outputs["KeyArn"], PolicyName="default")["Policy"]
    account, topic_alone = json.loads(found)["Statement"]
    assert account["Principal"] == {"AWS": f"arn:aws:iam::{pair.template.number}:root"}
    del topic_alone["Sid"]
    assert topic_alone == {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": "*",  # in a key's own policy, this means the key itself
        "Condition": {
            "ArnEquals": {
                "aws:SourceArn": [pair.outputs["TopicArn"], pair.outputs["PersonalTopicArn"]]
            }
        },
    }


def topics(pair: Pair) -> set[str]:
    """Return the names of both topics."""
    return {pair.settings.events_topic, pair.settings.personal_topic}


def undelivered(pair: Pair) -> set[str]:
    """Return the names of the queues for what the topics could not deliver."""
    return {pair.outputs[f"Undelivered{kind}QueueName"] for kind in ("", "Personal")}


@pytest.mark.parametrize("kind", ["", "Personal"])
def test_undelivered_events_come_from_their_topic_alone(pair: Pair, kind: str) -> None:
    """Only the topic and the account itself can send there, and only with TLS."""
    arn = pair.outputs[f"Undelivered{kind}QueueArn"]
    stored = queue(pair.template, pair.outputs[f"Undelivered{kind}QueueName"])
    policy = json.loads(stored["Policy"])
    deny, allow = policy["Statement"]
    assert deny == tls_only(arn, "sqs:*")["Statement"][0]
    assert allow == {
        "Sid": "TheTopicAlone",
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": pair.outputs[f"{kind}TopicArn"]}},
    }


def test_a_worker_works_on_what_the_template_made(pair: Pair, tmp_path: Path) -> None:
    """A command is sent and its event is received, in production's environment."""
    environment = pair.template.environment | {
        "USER_WORKER_ENV": "prod",
        "USER_WORKER_HASH_KEYS": HASH_KEY,
        "USER_WORKER_PERMISSIONS": str(ALLOW_ALL),
        "USER_WORKER_COMMAND_QUEUE": pair.settings.command_queue,
        "USER_WORKER_PRIORITY_QUEUE": f"{pair.settings.priority_queue}",
        "USER_WORKER_ADDITIONAL_QUEUES": pair.outputs["AdditionalQueueNames"],
        "USER_WORKER_DEAD_LETTER_QUEUE": pair.settings.dead_letter_queue,
        "USER_WORKER_QUARANTINE_QUEUE": pair.settings.quarantine_queue,
        "USER_WORKER_EVENTS_TOPIC": pair.outputs["TopicArn"],
        "USER_WORKER_PERSONAL_TOPIC": pair.outputs["PersonalTopicArn"],
    }
    run = [f"{BIN}/user-worker", "run", "--pool", "threads", "--concurrency", "1"]
    with running(run, environment, tmp_path / "worker", "worker_ready"):
        person = ["first_name=Ada", "last_name=L", "roles=customer"]
        account = replace(pair.template, environment=environment)
        for queue, name in enumerate(pair.settings.queues):
            address = [f"email=ada{queue}@example.com", *person]
            done = run_command(
                account, "send", "CreateUser", *address, "--queue", name, "--wait", "30"
            )
            assert "accepted" in done


def run_command(account: Account, *words: str) -> str:
    """Run the command line in an account; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", *words],
        check=False,
        env=account.environment,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("restored", ["", "users-restored"])
def test_the_policies_are_made_with_the_names_of_the_stack(pair: Pair, restored: str) -> None:
    """The account gets the policies of deploy/policies, with its own names."""
    given = {"SubscriberPrefix": "crm-", "RestoredTable": restored}
    made = pair.template.deploy(f"user-worker-access{restored}", "access.yaml", **given)
    iam = pair.template.client("iam")
    for role in ROLES:
        arn = made[logical_id(role)]
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        found = iam.get_policy_version(PolicyArn=arn, VersionId=version)
        text = (DEPLOY / "policies" / f"{role}.json").read_text()
        places = {
            "REGION": pair.template.environment["AWS_DEFAULT_REGION"],
            "ACCOUNT": pair.template.number,
            "key/KEY": pair.outputs["KeyArn"].rpartition(":")[2],
            "key/QUARANTINE_KEY": pair.outputs["QuarantineKeyArn"].rpartition(":")[2],
            "SUBSCRIBER": "crm-",
            "RESTORED": "none",
        }
        if pair.settings.command_queue.endswith(FIFO_SUFFIX):
            places |= {
                f'{name}"': f'{name}.fifo"'
                for name in (
                    *(PRIORITY_QUEUE, "user-commands", "user-commands-dlq"),
                    "user-commands-quarantine",
                    *("user-events", "user-events-personal"),
                )
            }
        if restored:
            text = re.sub(r'(?<=[/"])users(?=["/])', restored, text)
        for place, real in places.items():
            text = text.replace(place, real)
        assert found["PolicyVersion"]["Document"] == json.loads(text), role


def test_the_alarms_watch_what_the_template_made(pair: Pair) -> None:
    """Each queue, topic and table of an alarm exists: a mistyped name would never alarm."""
    names = ("ClusterName", "LogGroup", "ServiceName")
    exports = {
        name: {"Value": name, "Export": {"Name": f"user-worker-service-{name}"}} for name in names
    }
    service = {"Resources": {"Any": {"Type": "AWS::SNS::Topic"}}, "Outputs": exports}
    pair.template.make("user-worker-service", json.dumps(service))
    person = pair.outputs["TopicArn"].replace("user-events", "on-call")
    pair.template.deploy("user-worker-alarms", "alarms.yaml", AlarmTopicArn=person)
    cloudwatch = pair.template.client("cloudwatch")
    alarms = cloudwatch.describe_alarms()["MetricAlarms"]
    # Otherwise it continues to watch.
    cloudwatch.delete_alarms(AlarmNames=[each["AlarmName"] for each in alarms])
    assert len(alarms) == len(of_type("alarms", "AWS::CloudWatch::Alarm"))
    watched: dict[str, set[str]] = {}
    for alarm in alarms:
        stats = [each.get("MetricStat", {}).get("Metric", {}) for each in alarm.get("Metrics", [])]
        for each in [alarm, *stats]:
            for dimension in each.get("Dimensions", []):
                watched.setdefault(dimension["Name"], set()).add(dimension["Value"])
    assert watched == {
        "QueueName": {
            *(set(pair.queues) - set(pair.settings.additional_queues)),
            *undelivered(pair),
        },
        "TopicName": topics(pair),
        "TableName": {pair.settings.table},
        "GlobalSecondaryIndexName": {REFRESH_TOKEN_INDEX},
        "ClusterName": {"ClusterName"},
        "ServiceName": {"ServiceName"},
    }


def test_an_additional_queue_has_an_alarm_where_there_is_a_topic(pair: Pair) -> None:
    """The template that creates the queue creates the alarm, and its policies for each role."""
    person = pair.outputs["TopicArn"].replace("user-events", "on-call")
    body = queues_template(pair.settings)
    for logical in ("UserCommandsBackOfficeQueue", "UserCommandsBackOfficeWaits"):
        assert f"\n  {logical}:\n" in body
    update = pair.template.client("cloudformation")
    update.update_stack(
        StackName="user-worker-queues",
        TemplateBody=body,
        Parameters=[{"ParameterKey": "AlarmTopicArn", "ParameterValue": person}],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    cloudwatch = pair.template.client("cloudwatch")
    (alarm,) = eventually(lambda: cloudwatch.describe_alarms()["MetricAlarms"], what="the alarm")
    cloudwatch.delete_alarms(AlarmNames=[alarm["AlarmName"]])
    assert alarm["Dimensions"] == [
        {"Name": "QueueName", "Value": pair.settings.additional_queues[0]}
    ]
    assert alarm["AlarmActions"] == [person]
