"""The manifests: valid by Kubernetes' own schemas, consistent, and as restricted as on ECS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # ships none
import pytest
import yaml

from console.web import HEALTH
from tests.deploy.stacks import DEPLOY
from tests.deploy.templates import properties
from tests.docs.programs import check_words
from worker.settings import PREFIX, Settings
from worker.telemetry import configuration

FOLDER = DEPLOY / "kubernetes"
VERSIONS = ("1.31", "1.37")
"""Versions of Kubernetes: the oldest supported one, and a recent one."""
NOT_OF_KUBERNETES = {"Kustomization", "ScaledObject", "TriggerAuthentication"}
FILES = sorted(FOLDER.glob("*.yaml"))
OURS = {"app.kubernetes.io/name": "user-worker"}


def documents(path: Path) -> list[dict[str, Any]]:
    """Parse a file."""
    return list(yaml.safe_load_all(path.read_text()))


CONSOLE = documents(FOLDER / "console.yaml")
MANIFESTS = {
    each["kind"]: each for path in FILES if path.stem != "console" for each in documents(path)
}
"""The worker's, by kind."""


def pod() -> dict[str, Any]:
    """Return the pod's specification."""
    found: dict[str, Any] = MANIFESTS["Deployment"]["spec"]["template"]["spec"]
    return found


def container() -> dict[str, Any]:
    """Return the pod's only container."""
    (found,) = pod()["containers"]
    return dict(found)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifests_are_valid(version: str) -> None:
    """They are valid by the schemas of Kubernetes itself, which reject unknown fields."""
    for manifest in (*MANIFESTS.values(), *CONSOLE):
        if manifest["kind"] not in NOT_OF_KUBERNETES:
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_how_keda_is_to_scale_is_valid(version: str) -> None:
    """KEDA passes it to a HorizontalPodAutoscaler unchanged."""
    spec = MANIFESTS["ScaledObject"]["spec"]
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "keda-hpa"},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                **spec["scaleTargetRef"],
            },
            "minReplicas": spec["minReplicaCount"],
            "maxReplicas": spec["maxReplicaCount"],
            **spec["advanced"]["horizontalPodAutoscalerConfig"],
        },
    }
    kubernetes_validate.validate(autoscaler, version, strict=True)


def test_a_mistyped_field_is_found() -> None:
    """This ensures that the validation can fail."""
    wrong = {**MANIFESTS["ServiceAccount"], "automountServiceToken": False}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_one_command_applies_them_all() -> None:
    """The kustomization names every file."""
    named = set(MANIFESTS["Kustomization"]["resources"])
    assert named == {path.name for path in FILES} - {"kustomization.yaml"}
    (image,) = MANIFESTS["Kustomization"]["images"]
    assert container()["image"] == image["name"]
    assert image["digest"].startswith("sha256:")
    assert "newTag" not in image  # a tag can be moved to another image


def test_the_pod_can_do_no_more_than_it_needs() -> None:
    """It meets the restricted level of the pod security standards, with a read-only root."""
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["runAsUser"] == 10001
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod()["automountServiceAccountToken"] is False
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["mountPath"] for mount in container()["volumeMounts"]] == ["/tmp"]


def test_the_pod_has_time_to_end() -> None:
    """As on ECS, running batches finish, which takes up to half a minute."""
    task = properties("service", "Task")["ContainerDefinitions"][0]
    assert pod()["terminationGracePeriodSeconds"] == task["StopTimeout"] >= 30


def test_the_pod_gets_settings_that_there_are() -> None:
    """They are the same as on ECS, and none comes from a service with the same name."""
    settings = MANIFESTS["ConfigMap"]["data"]
    ours = {name.removeprefix(PREFIX).lower() for name in settings if name.startswith(PREFIX)}
    assert ours <= Settings.model_fields.keys()
    on_ecs = properties("service", "Task")["ContainerDefinitions"][0]["Environment"]
    named = {each["Name"] for each in on_ecs if "Name" in each}
    assert {name for name in named if not name.startswith("OTEL_")} == settings.keys()
    assert pod()["enableServiceLinks"] is False
    (source,) = container()["envFrom"]
    assert source == {"configMapRef": {"name": MANIFESTS["ConfigMap"]["metadata"]["name"]}}


def test_the_pod_runs_commands_that_there_are(tmp_path: Path) -> None:
    """Its own command, and those of its probes, exist."""
    check_words(["user-worker", *container()["args"]], tmp_path, whole=True)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        check_words(container()[probe]["exec"]["command"], tmp_path, whole=True)


def test_all_manifests_speak_of_the_same_pods() -> None:
    """A selector without matches would protect nothing."""
    labels = MANIFESTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert labels == OURS
    for kind, path in {
        "Deployment": ("selector", "matchLabels"),
        "PodDisruptionBudget": ("selector", "matchLabels"),
        "NetworkPolicy": ("podSelector", "matchLabels"),
    }.items():
        found = MANIFESTS[kind]["spec"]
        for name in path:
            found = found[name]
        assert found == OURS, kind
    assert pod()["serviceAccountName"] == MANIFESTS["ServiceAccount"]["metadata"]["name"]


def test_the_pod_accepts_no_connection_and_calls_aws_only() -> None:
    """TLS and DNS go out, and nothing comes in."""
    policy = MANIFESTS["NetworkPolicy"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert policy["ingress"] == []
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert ports == {53, 443}
    assert [rule for rule in policy["egress"] if "to" not in rule] == [
        {"ports": [{"protocol": "TCP", "port": 443}]}
    ]


def test_keda_scales_the_deployment_by_what_waits_on_its_queues() -> None:
    """It counts visible messages, because those in flight or delayed need no more workers."""
    spec = MANIFESTS["ScaledObject"]["spec"]
    assert spec["scaleTargetRef"]["name"] == MANIFESTS["Deployment"]["metadata"]["name"]
    assert "replicas" not in MANIFESTS["Deployment"]["spec"]
    assert 2 <= spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]
    # Otherwise a fallback would stop workers when the number of waiting messages is unknown.
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    settings = MANIFESTS["ConfigMap"]["data"]
    queues = {settings[f"{PREFIX}{name}_QUEUE"] for name in ("COMMAND", "PRIORITY")}
    queues |= set(settings[f"{PREFIX}ADDITIONAL_QUEUES"].split(","))
    triggers = spec["triggers"]
    assert {each["type"] for each in triggers} == {"aws-sqs-queue"}
    assert {each["metadata"]["queueURL"].rpartition("/")[2] for each in triggers} == queues
    for each in triggers:
        assert (
            each["authenticationRef"]["name"]
            == (MANIFESTS["TriggerAuthentication"]["metadata"]["name"])
        )
        assert each["metadata"]["scaleOnInFlight"] == "false"
        assert all(isinstance(value, str) for value in each["metadata"].values())


# --- console -------------------------------------------------------------------------------

OF_THE_CONSOLE = {"app.kubernetes.io/component": "console"}
CONSOLE_PORT = 8600


def of_console(kind: str, name: str = "user-worker-console") -> dict[str, Any]:
    """Return a manifest of the console."""
    (found,) = [e for e in CONSOLE if (e["kind"], e["metadata"]["name"]) == (kind, name)]
    return dict(found)


def console_pod() -> dict[str, Any]:
    """Return the specification of the console's pod."""
    found: dict[str, Any] = of_console("Deployment")["spec"]["template"]["spec"]
    return found


def ports_of(variables: list[dict[str, Any]]) -> dict[str, str]:
    """Return the ports that a container's variables state."""
    return {each["name"]: each["value"] for each in variables if each["name"].endswith("_PORT")}


def test_the_pod_of_the_console_can_do_no_more_than_it_needs() -> None:
    """It is as restricted as the worker's, and has none of its secrets."""
    for name in ("securityContext", "automountServiceAccountToken", "enableServiceLinks"):
        assert console_pod()[name] == pod()[name]
    (console,) = console_pod()["containers"]
    for name in ("securityContext", "volumeMounts", "envFrom"):
        assert console[name] == container()[name]
    assert "secretKeyRef" not in str(console)
    assert console_pod()["serviceAccountName"] == of_console("ServiceAccount")["metadata"]["name"]
    assert console_pod()["serviceAccountName"] != pod()["serviceAccountName"]


def test_there_is_one_console_pod_at_a_time() -> None:
    """Its actions, its plots and the value that its forms return are in its memory."""
    spec = of_console("Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_the_pod_of_the_console_runs_a_command_that_there_is(tmp_path: Path) -> None:
    """It is read-only, a proxy names the person, and its probes need no host name."""
    (console,) = console_pod()["containers"]
    check_words(["user-worker", *console["args"]], tmp_path, whole=True)
    assert "--proxy-header" in console["args"]
    assert "--write" not in console["args"]
    assert console["ports"] == [{"name": "http", "containerPort": CONSOLE_PORT}]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert console[probe]["httpGet"] == {"path": HEALTH, "port": "http"}


def test_no_manifest_of_the_worker_selects_the_console() -> None:
    """Else its budget and network policy would apply to both, and KEDA would count it."""
    labels = of_console("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels == OF_THE_CONSOLE
    assert not OURS.items() & labels.items()
    assert of_console("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert of_console("Service")["spec"]["selector"] == labels
    (pairs,) = MANIFESTS["Kustomization"]["labels"]
    assert pairs["includeSelectors"] is False
    assert "includeTemplates" not in pairs


def test_the_console_finds_all_workers_on_their_ports() -> None:
    """By a service without an address of its own, which has the address of each pod."""
    service = of_console("Service", "user-worker-workers")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == OURS
    (console,) = console_pod()["containers"]
    args = console["args"]
    assert args[args.index("--workers") + 1] == service["metadata"]["name"]
    assert ports_of(console["env"]) == ports_of(container()["env"])
    served = {str(each["port"]) for each in service["spec"]["ports"]}
    assert served == set(ports_of(container()["env"]).values())
    told = {each["name"]: each["value"] for each in container()["env"] if "value" in each}
    found = configuration.read(told)
    assert (found.metrics, found.prometheus_host) == ("prometheus", told[f"{PREFIX}HEALTH_HOST"])


def test_the_ingress_reaches_the_console_and_the_console_the_workers() -> None:
    """A client that reaches the console past the proxy could name any person in the header."""
    policy = of_console("NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == OF_THE_CONSOLE
    (into,) = policy["ingress"]
    assert [each.keys() for each in into["from"]] == [{"namespaceSelector"}]
    assert into["ports"] == [{"protocol": "TCP", "port": CONSOLE_PORT}]
    figures = of_console("NetworkPolicy", "user-worker-figures")["spec"]
    assert figures["podSelector"]["matchLabels"] == OURS
    assert figures["policyTypes"] == ["Ingress"]
    (rule,) = figures["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": OF_THE_CONSOLE}}]
    ports = {str(each["port"]) for each in rule["ports"]}
    assert ports == set(ports_of(container()["env"]).values())
    dns, workers, aws = policy["egress"]
    assert dns == MANIFESTS["NetworkPolicy"]["spec"]["egress"][0]
    assert workers == {
        "to": [{"podSelector": {"matchLabels": OURS}}],
        "ports": rule["ports"],
    }
    assert aws == MANIFESTS["NetworkPolicy"]["spec"]["egress"][1]
