"""Properties of the templates that AWS's schemas cannot check (`make lint` uses those)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from console.web import HEALTH
from tests.deploy.stacks import DEPLOY
from tests.deploy.templates import NAMES, evaluated, of_type, properties, template
from tests.deploy.uses import conditions_hold
from tests.docs.programs import check_words
from tests.e2e.account import ROOT
from worker.settings import PREFIX, Settings, limits
from worker.telemetry import configuration
from worker.telemetry.instruments import CATALOGUE

TEMPLATE_BODY = 51_200
"""Maximum bytes of a template that is passed on the command line (CloudFormation's quotas)."""
ACCOUNT = {"Ref": "AWS::AccountId"}


def worker() -> dict[str, Any]:
    """Return the worker's container."""
    containers: list[dict[str, Any]] = properties("service", "Task")["ContainerDefinitions"]
    return containers[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_template_fits_in_one_call(name: str) -> None:
    """It can be deployed from a file, without a bucket."""
    assert (DEPLOY / f"{name}.yaml").stat().st_size <= TEMPLATE_BODY


def test_the_dashboard_has_a_panel_of_the_metric_of_the_quarantine_alarm() -> None:
    """Metric, statistic, period and default queue are those of the alarm."""
    dashboard = json.loads((DEPLOY / "grafana" / "user-worker.json").read_text())
    targets = [each for panel in dashboard["panels"] for each in panel.get("targets", ())]
    (target,) = [each for each in targets if each["datasource"]["type"] == "cloudwatch"]
    alarm = properties("alarms", "QuarantineOld")
    assert (target["namespace"], target["metricName"], target["statistic"], target["period"]) == (
        alarm["Namespace"],
        alarm["MetricName"],
        alarm["Statistic"],
        str(alarm["Period"]),
    )
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    name = target["dimensions"]["QueueName"].removeprefix("$")
    parameters = template("resources")["Parameters"]
    assert variables[name]["query"] == parameters["QuarantineQueueName"]["Default"]
    assert target["datasource"]["uid"].strip("${}") in variables


STACKS = {
    "ResourcesStack": "resources",
    "AccessStack": "access",
    "ServiceStack": "service",
    "QueuesStack": "queues",
}


def imports(part: Any) -> Iterator[str]:
    """Yield the imported names of a template, as it writes them."""
    if isinstance(part, dict):
        if "Fn::ImportValue" in part:
            yield part["Fn::ImportValue"]["Fn::Sub"]
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from imports(each)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_stack_takes_from_another_is_there(name: str) -> None:
    """The other stack exports this name; the default is the stack name of the page."""
    for taken in set(imports(template(name)["Resources"])):
        parameter, _, export = taken.removeprefix("${").partition("}-")
        giver = STACKS[parameter]
        assert template(name)["Parameters"][parameter]["Default"] == f"user-worker-{giver}"
        given = [each["Export"]["Name"] for each in template(giver)["Outputs"].values()]
        assert {"Fn::Sub": f"${{AWS::StackName}}-{export}"} in given, taken


def test_a_task_has_memory_that_fargate_has_for_its_processors() -> None:
    """Each number of CPU units has its rule, and the defaults satisfy it."""
    parameters = template("service")["Parameters"]
    allowed: dict[str, list[str]] = {}
    for name, rule in template("service")["Rules"].items():
        if not name.startswith("Memory"):
            continue
        (assertion,) = rule["Assertions"]
        found = assertion["Assert"]
        memory = found["Fn::Contains"][0] if "Fn::Contains" in found else found["Fn::Equals"][1:]
        allowed[rule["RuleCondition"]["Fn::Equals"][1]] = memory
    assert [*allowed] == parameters["Cpu"]["AllowedValues"]
    assert parameters["Memory"]["Default"] in allowed[parameters["Cpu"]["Default"]]
    for (
        units,
        memory,
    ) in allowed.items():  # from 2 to 8 MiB per unit; half a processor starts with 1 GiB
        fits = [m for m in parameters["Memory"]["AllowedValues"] if 2 <= int(m) / int(units) <= 8]
        assert memory == fits


# --- resources -----------------------------------------------------------------------------


def test_users_survive_mistakes() -> None:
    """The table is kept when its stack is deleted, is protected, and has point-in-time recovery."""
    table = template("resources")["Resources"]["Table"]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"
    assert table["Properties"]["DeletionProtectionEnabled"] == {"Ref": "DeletionProtection"}
    assert template("resources")["Parameters"]["DeletionProtection"]["Default"] == "true"
    recovery = table["Properties"]["PointInTimeRecoverySpecification"]
    assert recovery == {"PointInTimeRecoveryEnabled": True}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("resources", "AWS::SQS::Queue"),
        ("resources", "AWS::SQS::QueuePolicy"),
        ("queues", "AWS::SQS::Queue"),
        ("queues", "AWS::SQS::QueuePolicy"),
        ("resources", "AWS::SNS::Topic"),
        ("resources", "AWS::SNS::TopicPolicy"),
        ("resources", "AWS::KMS::Key"),
        ("service", "AWS::Logs::LogGroup"),
        ("console", "AWS::Logs::LogGroup"),
    ],
)
def test_nothing_with_data_goes_with_its_stack(name: str, kind: str) -> None:
    """It is kept in updates too; a failed creation leaves nothing that blocks the next one."""
    found = of_type(name, kind)
    assert found
    for logical, each in found.items():
        if logical != "Metrics":  # CloudWatch has turned it into metrics
            assert each["DeletionPolicy"] == "RetainExceptOnCreate", logical
            assert each["UpdateReplacePolicy"] == "Retain", logical


def test_the_table_is_made_last() -> None:
    """It is protected from deletion, so everything that may fail must be created before.

    The secret is an exception: DependsOn cannot name a resource with a condition.
    """
    resources = template("resources")["Resources"]
    assert resources.pop("HashKeys")["Condition"] == "WithKeys"
    behind: set[str] = set()
    ahead = ["Table"]
    while ahead:
        here = resources[ahead.pop()]
        text = json.dumps(here["Properties"]) + json.dumps(here.get("DependsOn", []))
        new = {name for name in resources if f'"{name}"' in text or f'"{name}.' in text} - behind
        behind |= new
        ahead += new
    assert behind == resources.keys() - {"Table"}


@pytest.mark.parametrize("name", ["resources", "service"])
@pytest.mark.parametrize("setting", ["VisibilityTimeout", "MaxReceives"])
def test_templates_and_worker_start_from_the_same_numbers(name: str, setting: str) -> None:
    """The worker renews and dead-letters by the values of the queue."""
    field = re.sub(r"(?<!^)([A-Z])", r"_\1", setting).lower()
    default = template(name)["Parameters"][setting]["Default"]
    assert default == Settings.model_fields[field].default


def test_a_batch_may_wait_as_long_in_the_template_as_in_the_settings() -> None:
    """CloudFormation refuses a longer wait; the default is 0."""
    parameter = template("service")["Parameters"]["BatchWait"]
    field = Settings.model_fields["batch_wait"]
    assert parameter["Default"] == field.default
    assert limits(field) == f"from {parameter['MinValue']} to {parameter['MaxValue']}"
    passed = {"Name": "USER_WORKER_BATCH_WAIT", "Value": {"Ref": "BatchWait"}}
    assert passed in worker()["Environment"]


# --- service -------------------------------------------------------------------------------


def test_the_service_sets_settings_that_there_are() -> None:
    """A mistyped setting would end the worker at its start."""
    names = [each["Name"] for each in worker()["Environment"] if "Name" in each]
    ours = {name.removeprefix(PREFIX).lower() for name in names if name.startswith(PREFIX)}
    assert ours <= Settings.model_fields.keys()
    wanted = {"env", "table", "command_queue", "dead_letter_queue", "events_topic"}
    assert wanted | {"personal_topic", "quarantine_queue"} <= ours


@pytest.mark.parametrize(("telemetry", "metrics"), [(True, "otlp"), (False, "none")])
def test_the_worker_understands_what_its_collector_needs(*, telemetry: bool, metrics: str) -> None:
    """Metrics go to the collector beside it.

    Traces, and without a collector metrics, go nowhere.
    """
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
    """No root user, writable folders except /tmp, capabilities or open ports, and one secret."""
    container = worker()
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert container["ReadonlyRootFilesystem"] is True
    assert f"USER {container['User']}" in dockerfile
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert [mount["ContainerPath"] for mount in container["MountPoints"]] == ["/tmp"]
    (secret,) = container["Secrets"]
    assert secret["Name"] == f"{PREFIX}HASH_KEYS"
    assert "PortMappings" not in container
    assert "SecurityGroupIngress" not in properties("service", "SecurityGroup")


@pytest.mark.parametrize("name", ["service", "console"])
@pytest.mark.parametrize("role", of_type("service", "AWS::IAM::Role"))
def test_a_role_of_the_service_is_for_tasks_of_this_account(role: str, name: str) -> None:
    """ECS cannot be made to use it for another account."""
    (statement,) = properties(name, role)["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}
    source = {"Fn::Sub": "arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:*"}
    assert statement["Condition"]["ArnLike"] == {"aws:SourceArn": source}


def test_no_role_of_the_service_has_more_than_is_written_here() -> None:
    """No role has a policy of AWS, or all resources for an action that IAM can restrict."""
    for role in of_type("service", "AWS::IAM::Role"):
        text = json.dumps(properties("service", role))
        assert ":aws:policy/" not in text
        (policy,) = [
            each["PolicyDocument"]
            for listed in [properties("service", role)["Policies"]]
            for each in (listed if isinstance(listed, list) else listed["Fn::If"][1])
        ]
        for statement in policy["Statement"]:
            actions = statement["Action"]
            assert "*" not in json.dumps(actions)
            if statement["Resource"] == "*":
                assert actions == "ecr:GetAuthorizationToken"


def test_the_collector_cannot_harm_the_worker() -> None:
    """It ends after the worker, restarts by itself, and has its own memory and rights."""
    collector = properties("service", "Task")["ContainerDefinitions"][1]["Fn::If"][1]
    assert collector["Essential"] is False
    assert collector["RestartPolicy"]["Enabled"] is True
    assert collector["Memory"] <= 256
    assert collector["LinuxParameters"] == {"Capabilities": {"Drop": ["ALL"]}}
    assert collector["ReadonlyRootFilesystem"] is True
    needs = {"ContainerName": collector["Name"], "Condition": "START"}
    assert worker()["DependsOn"]["Fn::If"][1] == [needs]


def test_the_private_ways_are_for_this_account() -> None:
    """Nobody in the subnets can export data with their own credentials or bucket."""
    for name, each in of_type("endpoints", "AWS::EC2::VPCEndpoint").items():
        if name in {"EcrDocker", "Sts"}:  # their callers present a token, which has no account
            continue
        (statement,) = each["Properties"]["PolicyDocument"]["Statement"]
        if name == "S3":
            assert statement["Action"] == "s3:GetObject"
            assert "starport-layer-bucket/*" in json.dumps(statement["Resource"])
        else:
            assert statement["Condition"] == {"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}


def test_the_service_may_write_to_tmp() -> None:
    """On Fargate a volume belongs to root, unless the image declares its owner."""
    assert re.search(r'^VOLUME \["/tmp"\]$', (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_the_service_runs_commands_that_there_are(tmp_path: Path) -> None:
    """Its own command, and that of its health check, exist."""
    run = [each if isinstance(each, str) else "4" for each in worker()["Command"]]
    check_words(["user-worker", *run], tmp_path, whole=True)
    kind, *command = worker()["HealthCheck"]["Command"]
    assert kind == "CMD"
    check_words(command, tmp_path, whole=True)


def test_a_failed_deployment_is_rolled_back() -> None:
    """During the attempt no task is missing; running batches have time to finish."""
    deployment = properties("service", "Service")["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert deployment["MinimumHealthyPercent"] == 100
    assert worker()["StopTimeout"] >= 30


def test_a_deployment_leaves_the_number_of_tasks_to_the_scaling() -> None:
    """A number in the template would stop tasks during a burst."""
    assert "DesiredCount" not in properties("service", "Service")


def test_the_service_scales_by_backlog_and_by_age() -> None:
    """Both queues are in one expression each, which returns one series."""
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


# --- console -------------------------------------------------------------------------------

DOMAIN = "user-worker.internal"
WORKERS = f"workers.{DOMAIN}"


def environment_of(name: str, **given: str) -> dict[str, str]:
    """Return the variables of the first container of a template with these parameters."""
    container = evaluated(name, "Task", **given)["ContainerDefinitions"][0]
    return {each["Name"]: each["Value"] for each in container["Environment"]}


def console_container(**given: str) -> dict[str, Any]:
    """Return the console's container."""
    image = {"Image": IMAGE, "HostName": "console.example.com"}
    (container,) = evaluated("console", "Task", **image, **given)["ContainerDefinitions"]
    return dict(container)


@pytest.mark.parametrize("write", ["true", "false"])
@pytest.mark.parametrize("workers", [WORKERS, ""])
def test_the_console_runs_a_command_that_there_is(write: str, workers: str, tmp_path: Path) -> None:
    """It may act, and asks the workers, only if that is wanted."""
    command = console_container(Write=write, WorkersHost=workers)["Command"]
    check_words(["user-worker", *command], tmp_path, whole=True)
    assert ("--write" in command) is (write == "true")
    assert ("--workers" in command) is bool(workers)
    assert not workers or command[command.index("--workers") + 1] == workers


def test_the_console_sets_settings_that_there_are() -> None:
    """It works on the same resources as the worker."""
    console, service = environment_of("console", Image=IMAGE), environment_of("service")
    ours = {name.removeprefix(PREFIX).lower() for name in console if name.startswith(PREFIX)}
    assert ours <= Settings.model_fields.keys()
    ports = {f"{PREFIX}HEALTH_PORT"}
    shared = {name for name in console if name.startswith(PREFIX)} - ports
    assert {name: console[name] for name in shared} == {name: service[name] for name in shared}
    assert {name for name in service if name.endswith(("_QUEUE", "_TOPIC", "_TABLE"))} <= shared


def test_the_console_can_do_no_more_than_it_needs() -> None:
    """No root user, writable folders except /tmp, capabilities or secrets, and one port."""
    console, service = console_container(), evaluated("service", "Task")["ContainerDefinitions"][0]
    for name in ("User", "ReadonlyRootFilesystem", "LinuxParameters", "MountPoints"):
        assert console[name] == service[name]
    assert "Secrets" not in console
    assert console["PortMappings"] == [{"ContainerPort": 8600, "Protocol": "tcp"}]


@pytest.mark.parametrize(
    ("write", "queues", "policies"),
    [
        ("false", "", ["ConsolePolicy"]),
        ("false", "q", ["ConsolePolicy"] * 2),
        ("true", "", ["ConsolePolicy", "ConsoleWritePolicy"]),
        ("true", "q", ["ConsolePolicy"] * 2 + ["ConsoleWritePolicy"] * 2),
    ],
)
def test_the_console_has_the_policies_that_it_needs(
    write: str, queues: str, policies: list[str]
) -> None:
    """Those of the access stack and, if there are queues of certain producers, of theirs."""
    role = evaluated("console", "TaskRole", Write=write, QueuesStack=queues)
    assert role["ManagedPolicyArns"] == policies
    assert "Policies" not in role
    (policy,) = properties("console", "ExecutionRole")["Policies"]
    for statement in policy["PolicyDocument"]["Statement"]:
        assert "*" not in json.dumps(statement["Action"])
        if statement["Resource"] == "*":
            assert statement["Action"] == "ecr:GetAuthorizationToken"


def test_nobody_reaches_the_console_without_a_sign_in() -> None:
    """The network admits the load balancer only, and that forwards after the sign-in only.

    A client that reaches the console past the proxy could name any person in the header.
    """
    assert evaluated("console", "Balancer")["Scheme"] == "internal"
    sign_in, forward = evaluated("console", "Listener")["DefaultActions"]
    assert (sign_in["Type"], sign_in["Order"]) == ("authenticate-oidc", 1)
    assert sign_in["AuthenticateOidcConfig"]["OnUnauthenticatedRequest"] == "authenticate"
    assert (forward["Type"], forward["Order"]) == ("forward", 2)
    assert of_type("console", "AWS::ElasticLoadBalancingV2::ListenerRule") == {}
    assert len(of_type("console", "AWS::ElasticLoadBalancingV2::Listener")) == 1
    assert evaluated("console", "Listener")["Protocol"] == "HTTPS"
    (rule,) = evaluated("console", "SecurityGroup")["SecurityGroupIngress"]
    assert rule["SourceSecurityGroupId"] == "BalancerGroup"
    assert rule["FromPort"] == rule["ToPort"] == 8600
    into = [
        each["Properties"]["GroupId"]
        for each in of_type("console", "AWS::EC2::SecurityGroupIngress").values()
    ]
    assert {"Ref": "SecurityGroup"} not in into
    command = console_container()["Command"]
    assert command[command.index("--proxy-header") + 1] == "x-amzn-oidc-identity"
    assert evaluated("console", "Target")["HealthCheckPath"] == HEALTH


def test_the_secret_of_the_sign_in_is_in_no_parameter() -> None:
    """CloudFormation reads it from Secrets Manager, and shows it nowhere."""
    arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:oidc-a1b2c3"
    listener = evaluated("console", "Listener", OidcClientSecretArn=arn)
    secret = listener["DefaultActions"][0]["AuthenticateOidcConfig"]["ClientSecret"]
    assert secret == f"{{{{resolve:secretsmanager:{arn}:SecretString}}}}"


@pytest.mark.parametrize("telemetry", ["true", "false"])
def test_the_console_reaches_the_ports_that_the_workers_serve(telemetry: str) -> None:
    """Both templates have the same ports, and only the console is admitted."""
    served = environment_of("service", DiscoveryDomain=DOMAIN, Telemetry=telemetry)
    console = environment_of("console", Image=IMAGE, WorkersHost=WORKERS)
    names = ("USER_WORKER_HEALTH_PORT", "OTEL_EXPORTER_PROMETHEUS_PORT")
    ports = {int(served[name]) for name in names}
    assert ports == {int(console[name]) for name in names}
    for kind, group in (("Ingress", "SourceSecurityGroupId"), ("Egress", "GroupId")):
        rules = [
            each["Properties"]
            for each in of_type("console", f"AWS::EC2::SecurityGroup{kind}").values()
            if each.get("Condition") == "HasWorkers"
        ]
        assert {rule["FromPort"] for rule in rules} == {rule["ToPort"] for rule in rules} == ports
        assert all(rule[group] == {"Ref": "SecurityGroup"} for rule in rules)
    found = configuration.read(dict(served))
    assert found.metrics == ("otlp" if telemetry == "true" else "prometheus")
    assert served["USER_WORKER_HEALTH_HOST"] == found.prometheus_host == "0.0.0.0"


def test_workers_listen_only_for_a_console() -> None:
    """Without a domain they have no port, and no name."""
    served = environment_of("service")
    assert not any(name.endswith(("_PORT", "_HOST")) for name in served)
    assert "ServiceRegistries" not in evaluated("service", "Service")
    service = evaluated("service", "Service", DiscoveryDomain=DOMAIN)
    assert service["ServiceRegistries"] == [{"RegistryArn": "Discovery.Arn"}]
    for kind in ("Service", "PrivateDnsNamespace"):
        for each in of_type("service", f"AWS::ServiceDiscovery::{kind}").values():
            assert each["Condition"] == "HasDiscovery"
    output = template("service")["Outputs"]["WorkersHost"]["Value"]
    assert output == {"Fn::Sub": WORKERS.replace(DOMAIN, "${DiscoveryDomain}")}


def test_there_is_one_console_at_a_time() -> None:
    """Its actions, its plots and the value that its forms return are in its memory."""
    service = evaluated("console", "Service")
    assert service["DesiredCount"] == 1
    assert service["DeploymentConfiguration"]["MaximumPercent"] == 100


# --- alarms --------------------------------------------------------------------------------

ALARMS = of_type("alarms", "AWS::CloudWatch::Alarm")


def headings(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub creates them."""
    found = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in found}


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_notifies_the_topic_and_links_to_the_runbook(name: str) -> None:
    """It also reports the end; the description links to an existing heading of the runbook."""
    alarm = ALARMS[name]["Properties"]
    assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmTopicArn"}]
    said, _, anchor = alarm["AlarmDescription"]["Fn::Sub"].strip().partition("${RunbookUrl}#")
    assert len(said) > 40
    assert anchor in headings("docs/how-to/runbook.md")


def test_what_alarms_count_in_the_log_is_logged() -> None:
    """Each event is logged by the code, and each count has its alarm."""
    filters = of_type("alarms", "AWS::Logs::MetricFilter")
    layers = (ROOT / "application", ROOT / "worker")
    code = "".join(path.read_text() for layer in layers for path in layer.rglob("*.py"))
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
    """They are in the namespace that the collector uses."""
    alarms, service = ((DEPLOY / f"{name}.yaml").read_text() for name in ("alarms", "service"))
    queried = re.findall(r'"(user_worker\.[\w.]+)"\) FROM "([^"]+)"', alarms)
    assert queried
    for name, namespace in queried:
        assert name in {each.name for each in CATALOGUE}
        assert namespace == "UserWorker/${ServiceStack}"
    assert "namespace: UserWorker/${AWS::StackName}\n" in service


@pytest.mark.parametrize("name", ["access", "service", "alarms", "console"])
def test_a_restored_table_stands_in_wherever_a_table_is_named(name: str) -> None:
    """A missed place would only be found at the end of a restore."""

    def named(part: Any, *, stood_in_for: bool = False) -> Iterator[bool]:
        match part:
            case {"Fn::If": ["IsRestored", {"Ref": "RestoredTable"}, otherwise]}:
                yield from named(otherwise, stood_in_for=True)
            case {"Fn::ImportValue": {"Fn::Sub": "${ResourcesStack}-TableName"}}:
                yield stood_in_for
            case dict() | list():
                for each in part.values() if isinstance(part, dict) else part:
                    yield from named(each)

    found = list(named(template(name)["Resources"]))
    assert found
    assert all(found)


# --- images and subscriptions --------------------------------------------------------------

IMAGE = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/user-worker@sha256:{'0a' * 32}"


def test_the_console_has_the_image_of_the_worker() -> None:
    """By its digest, too."""
    patterns = [template(name)["Parameters"]["Image"] for name in ("console", "service")]
    assert len({each["AllowedPattern"] for each in patterns}) == 1


@pytest.mark.parametrize(
    ("parameter", "image", "valid"),
    [
        ("Image", IMAGE, True),
        ("Image", IMAGE.replace("@", ":1@"), False),
        ("Image", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/user-worker:1", False),
        ("Image", IMAGE[:-1], False),
        ("Image", f"python@sha256:{'0a' * 32}", False),
        ("CollectorImage", f"public.ecr.aws/x/collector@sha256:{'0a' * 32}", True),
        ("CollectorImage", "public.ecr.aws/x/collector:v1", False),
        ("CollectorImage", "", True),
    ],
)
def test_images_are_named_by_their_digests(parameter: str, image: str, valid: bool) -> None:
    """A tag can be moved to another image."""
    pattern = template("service")["Parameters"][parameter]["AllowedPattern"]
    assert (re.fullmatch(pattern, image) is not None) is valid


def test_a_collector_is_required_with_telemetry() -> None:
    """CloudFormation refuses the parameters before it changes anything."""
    rule = template("service")["Rules"]["CollectorForTelemetry"]
    assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "Telemetry"}, "true"]}
    (assertion,) = rule["Assertions"]
    assert assertion["Assert"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "CollectorImage"}, ""]}]}


def test_a_task_may_pull_from_the_repository_of_its_image_only() -> None:
    """Its account, region and name are those of the image."""
    role = evaluated("service", "ExecutionRole", Image=IMAGE)
    (statement,) = [
        each
        for policy in role["Policies"]
        for each in policy["PolicyDocument"]["Statement"]
        if "ecr:BatchGetImage" in each["Action"]
    ]
    repository = "arn:AWS::Partition:ecr:eu-west-1:123456789012:repository/team/user-worker"
    assert statement["Resource"] == repository


@pytest.mark.parametrize(
    ("protocol", "endpoint", "denied"),
    [
        ("sqs", "arn:AWS::Partition:sqs:eu-west-1:AWS::AccountId:mailer", False),
        ("sqs", "arn:AWS::Partition:sqs:eu-west-1:999999999999:mailer", True),
        ("lambda", "arn:AWS::Partition:lambda:eu-west-1:AWS::AccountId:function:x", True),
        ("firehose", "arn:AWS::Partition:firehose:eu-west-1:AWS::AccountId:x", True),
        ("https", "https://example.com", True),
        ("https", "https://arn:AWS::Partition:sqs:eu-west-1:AWS::AccountId:mailer", True),
        ("email", "mallory@example.com", True),
        ("sms", "+15551234", True),
    ],
)
@pytest.mark.parametrize("policy", ["TopicPolicy", "PersonalTopicPolicy"])
def test_a_topic_lets_only_queues_of_the_account_subscribe(
    protocol: str, endpoint: str, denied: bool, policy: str
) -> None:
    """The topic's denial applies whatever the caller's policy allows."""
    document = evaluated("resources", policy)["PolicyDocument"]
    context = {"sns:Protocol": (protocol,), "sns:Endpoint": (endpoint,)}
    secure = {"aws:SecureTransport": ("true",)}
    hit = [
        each["Sid"]
        for each in document["Statement"]
        if each["Effect"] == "Deny"
        and "sns:Subscribe" in each["Action"]
        and conditions_hold(each["Condition"], {**context, **secure})
    ]
    assert bool(hit) is denied
