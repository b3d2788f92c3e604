"""The manifests: valid by Kubernetes' own schemas, consistent, and as restricted as on ECS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # ships none
import pytest
import yaml

from tests.deploy.stacks import DEPLOY
from tests.deploy.templates import properties
from tests.docs.programs import check_words
from worker.settings import PREFIX, Settings

FOLDER = DEPLOY / "kubernetes"
VERSIONS = ("1.31", "1.37")
"""Versions of Kubernetes: the oldest supported one, and a recent one."""
NOT_OF_KUBERNETES = {"Kustomization", "ScaledObject", "TriggerAuthentication"}
FILES = sorted(FOLDER.glob("*.yaml"))
OURS = {"app.kubernetes.io/name": "user-worker"}


def documents(path: Path) -> list[dict[str, Any]]:
    """Parse a file."""
    return list(yaml.safe_load_all(path.read_text()))


MANIFESTS = {each["kind"]: each for path in FILES for each in documents(path)}


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
    for kind, manifest in MANIFESTS.items():
        if kind not in NOT_OF_KUBERNETES:
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


def test_the_pod_runs_commands_that_there_are() -> None:
    """Its own command, and those of its probes, exist."""
    check_words(["user-worker", *container()["args"]], DEPLOY, whole=True)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        check_words(container()[probe]["exec"]["command"], DEPLOY, whole=True)


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
