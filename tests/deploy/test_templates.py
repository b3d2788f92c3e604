"""What the templates promise beyond what AWS's schemas can tell (`make lint` has those read)."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from scripts import access_template
from tests.deploy.stacks import DEPLOY
from tests.deploy.templates import NAMES, of_type, properties, template
from tests.docs.programs import check_words
from tests.e2e.account import ROOT
from worker.settings import PREFIX, Settings
from worker.telemetry import configuration
from worker.telemetry.instruments import CATALOGUE

MANAGED_POLICY = 6_144
"""Characters without blanks, the most that IAM takes (IAM's quotas)."""
TEMPLATE_BODY = 51_200
"""Bytes, the most that CloudFormation takes from a command line (its quotas)."""
WITHOUT_RESOURCE = {"sns:Unsubscribe", "sqs:ListQueues"}
"""Actions that IAM allows for all resources or none."""


def worker() -> dict[str, Any]:
    """Give the container of the worker."""
    containers: list[dict[str, Any]] = properties("service", "Task")["ContainerDefinitions"]
    return containers[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_template_fits_in_one_call(name: str) -> None:
    """It is deployed from a file, without a bucket to lay it in."""
    assert (DEPLOY / f"{name}.yaml").stat().st_size <= TEMPLATE_BODY


# --- resources -----------------------------------------------------------------------------


def test_users_survive_mistakes() -> None:
    """The table is not deleted with its stack, refuses to be, and has all its pasts."""
    table = template("resources")["Resources"]["Table"]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"
    assert table["Properties"]["DeletionProtectionEnabled"] == {"Ref": "DeletionProtection"}
    assert template("resources")["Parameters"]["DeletionProtection"]["Default"] == "true"
    recovery = table["Properties"]["PointInTimeRecoverySpecification"]
    assert recovery == {"PointInTimeRecoveryEnabled": True}


def test_nothing_with_data_goes_with_its_stack() -> None:
    """Whoever deletes a stack by mistake loses no command, no event and no key."""
    kinds = ("AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::SNS::Topic", "AWS::KMS::Key")
    for kind in kinds:
        for name, each in of_type("resources", kind).items():
            assert each["DeletionPolicy"] == each["UpdateReplacePolicy"] == "Retain", name


def test_every_queue_and_the_topic_refuse_what_is_not_encrypted_on_the_way() -> None:
    """One policy for each of them."""
    queues = of_type("resources", "AWS::SQS::Queue")
    policies = of_type("resources", "AWS::SQS::QueuePolicy")
    assert {p["Properties"]["Queues"][0]["Ref"] for p in policies.values()} == queues.keys()
    for each in (*policies.values(), *of_type("resources", "AWS::SNS::TopicPolicy").values()):
        statement = each["Properties"]["PolicyDocument"]["Statement"][0]
        assert (statement["Sid"], statement["Effect"]) == ("TlsOnly", "Deny")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.parametrize("name", ["resources", "service"])
@pytest.mark.parametrize("setting", ["VisibilityTimeout", "MaxReceives"])
def test_templates_and_worker_start_from_the_same_numbers(name: str, setting: str) -> None:
    """The worker renews and buries by what is set on the queue."""
    field = re.sub(r"(?<!^)([A-Z])", r"_\1", setting).lower()
    default = template(name)["Parameters"][setting]["Default"]
    assert default == Settings.model_fields[field].default


# --- service -------------------------------------------------------------------------------


def test_the_service_sets_settings_that_there_are() -> None:
    """A mistyped one would end the worker at its start."""
    names = [each["Name"] for each in worker()["Environment"] if "Name" in each]
    ours = {name.removeprefix(PREFIX).lower() for name in names if name.startswith(PREFIX)}
    assert ours <= Settings.model_fields.keys()
    assert {"env", "table", "command_queue", "dead_letter_queue", "events_topic"} <= ours


@pytest.mark.parametrize(("telemetry", "metrics"), [(True, "otlp"), (False, "none")])
def test_the_worker_understands_what_its_collector_needs(*, telemetry: bool, metrics: str) -> None:
    """Metrics go to the collector beside it, traces nowhere; without one, nothing goes."""
    given: dict[str, str] = {}
    for each in worker()["Environment"]:
        branches = each.get("Fn::If", ["", each, each])
        chosen = branches[1] if telemetry else branches[2]
        if "Name" in chosen and chosen["Name"].startswith("OTEL_"):
            given[chosen["Name"]] = chosen["Value"]
    found = configuration.read(given)
    assert (found.metrics, found.traces) == (metrics, "none")
    text = properties("service", "Task")["ContainerDefinitions"][1]["Fn::If"][1]["Environment"]
    collector = yaml.safe_load(text[0]["Value"]["Fn::Sub"])
    assert collector["service"]["pipelines"].keys() == {"metrics"}
    endpoint = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    if telemetry:
        assert given["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://{endpoint}"


def test_the_service_can_do_no_more_than_it_needs() -> None:
    """Not root, nothing to write to but /tmp, no capability, no secret, no way in."""
    container = worker()
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert container["ReadonlyRootFilesystem"] is True
    assert f"USER {container['User']}" in dockerfile
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert [mount["ContainerPath"] for mount in container["MountPoints"]] == ["/tmp"]
    assert "Secrets" not in container
    assert "PortMappings" not in container
    assert "SecurityGroupIngress" not in properties("service", "SecurityGroup")


def test_the_service_may_write_to_tmp() -> None:
    """Fargate gives a volume to root, but where the image declares whose it is."""
    assert re.search(r'^VOLUME \["/tmp"\]$', (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_the_service_runs_commands_that_there_are() -> None:
    """Its own, and the one that tells whether it lives."""
    run = [each if isinstance(each, str) else "4" for each in worker()["Command"]]
    check_words(["user-worker", *run], DEPLOY, whole=True)
    kind, *command = worker()["HealthCheck"]["Command"]
    assert kind == "CMD"
    check_words(command, DEPLOY, whole=True)


def test_a_bad_deployment_goes_back_by_itself() -> None:
    """While it is tried, no task is missing; batches in hand have time to end."""
    deployment = properties("service", "Service")["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert deployment["MinimumHealthyPercent"] == 100
    assert worker()["StopTimeout"] >= 30


def test_the_service_scales_by_backlog_and_by_age() -> None:
    """Of both queues, in one expression each, of which one series comes back."""
    tracking = properties("service", "ScaleByBacklog")["TargetTrackingScalingPolicyConfiguration"]
    backlog = tracking["CustomizedMetricSpecification"]["Metrics"]
    age = properties("service", "OldestMessageIsOld")["Metrics"]
    for metrics, name in (
        (backlog, "ApproximateNumberOfMessagesVisible"),
        (age, "ApproximateAgeOfOldestMessage"),
    ):
        (returned,) = [each for each in metrics if each["ReturnData"]]
        named = set(re.findall(r"\b[a-z]+\b", returned["Expression"]))
        assert named == {each["Id"] for each in metrics if each is not returned}
        stats = [each["MetricStat"]["Metric"] for each in metrics if "MetricStat" in each]
        assert [each["MetricName"] for each in stats].count(name) == 2
    steps = properties("service", "ScaleByAge")
    assert properties("service", "OldestMessageIsOld")["AlarmActions"] == [{"Ref": "ScaleByAge"}]
    assert steps["PolicyType"] == "StepScaling"


# --- alarms --------------------------------------------------------------------------------

ALARMS = of_type("alarms", "AWS::CloudWatch::Alarm")


def headings(page: str) -> set[str]:
    """Give the anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in found}


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_reaches_a_person_and_says_what_to_do(name: str) -> None:
    """And when it is over; what to do is in the runbook, under a heading that is there."""
    alarm = ALARMS[name]["Properties"]
    assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmTopicArn"}]
    said, _, anchor = alarm["AlarmDescription"]["Fn::Sub"].strip().partition("${RunbookUrl}#")
    assert len(said) > 40
    assert anchor in headings("docs/runbook.md")


def test_what_alarms_count_in_the_log_is_logged() -> None:
    """Each event has its line in the code, and each count its alarm."""
    filters = of_type("alarms", "AWS::Logs::MetricFilter")
    code = "".join(path.read_text() for path in (ROOT / "worker").rglob("*.py"))
    for each in filters.values():
        (made,) = each["Properties"]["MetricTransformations"]
        alarm = ALARMS[made["MetricName"]]["Properties"]
        assert (alarm["Namespace"], alarm["MetricName"]) == (
            made["MetricNamespace"],
            made["MetricName"],
        )
        for event in re.findall(r'\$\.event = "(\w+)"', each["Properties"]["FilterPattern"]):
            assert f'"{event}"' in code, event


def test_the_metrics_that_alarms_query_are_the_workers() -> None:
    """In the namespace that the collector gives them."""
    alarms, service = ((DEPLOY / f"{name}.yaml").read_text() for name in ("alarms", "service"))
    queried = re.findall(r'"(user_worker\.[\w.]+)"\) FROM "([^"]+)"', alarms)
    assert queried
    for name, namespace in queried:
        assert name in {each.name for each in CATALOGUE}
        assert namespace == "UserWorker/${ServiceStack}"
    assert "namespace: UserWorker/${AWS::StackName}\n" in service


# --- policies ------------------------------------------------------------------------------


def test_the_policies_of_the_template_are_those_of_the_folder() -> None:
    """One source: the template is made of the policies."""
    assert (DEPLOY / "access.yaml").read_text() == access_template.template()
    roles = {path.stem for path in (DEPLOY / "policies").glob("*.json")}
    assert roles == access_template.ROLES.keys()


@pytest.mark.parametrize("role", access_template.ROLES)
def test_a_policy_names_what_it_allows(role: str) -> None:
    """No action by pattern, no resource but the project's, nothing that IAM refuses for length."""
    policy = json.loads((DEPLOY / "policies" / f"{role}.json").read_text())
    assert len(re.sub(r"\s", "", json.dumps(policy))) * 1.5 < MANAGED_POLICY  # names may be longer
    for statement in policy["Statement"]:
        actions, resources = (
            [value] if isinstance(value, str) else value
            for value in (statement["Action"], statement["Resource"])
        )
        assert statement["Effect"] == "Allow"
        assert all(re.fullmatch(r"(dynamodb|kms|sns|sqs):[A-Za-z]+", each) for each in actions)
        if resources == ["*"]:
            assert set(actions) <= WITHOUT_RESOURCE
        else:
            assert all(re.match(r"arn:aws:\w+:REGION:ACCOUNT:[\w/-]", each) for each in resources)


def test_the_key_serves_by_way_of_services_only() -> None:
    """Nobody can encrypt or decrypt with it by themselves."""
    for role in access_template.ROLES:
        policy = json.loads((DEPLOY / "policies" / f"{role}.json").read_text())
        for statement in policy["Statement"]:
            if "kms:" in json.dumps(statement["Action"]):
                assert "kms:ViaService" in statement["Condition"]["StringEquals"], role
                assert statement["Resource"] == access_template.KEY
