"""The manifests of `deploy/kubernetes/`: valid by the published schemas, and in agreement with each other."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from lbflask.config.load import load
from lbflask.config.schema import Config
from tests.support.kubernetes_schemas import validate

FOLDER = Path(__file__).resolve().parents[1] / "deploy" / "kubernetes"
BASE, DEMO, MONITORING = FOLDER / "base", FOLDER / "demo", FOLDER / "monitoring"
#: The oldest release that the manifests are for, and the newest with a schema.
RELEASES = ["1.29", "1.37"]
NAME, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"


def documents(folder: Path) -> list[dict[str, Any]]:
    """The manifests that the folder's kustomization lists, in order."""
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    return [
        document
        for name in listed
        if (folder / name).is_file()
        for document in yaml.safe_load_all((folder / name).read_text())
    ]


MANIFESTS = [*documents(BASE), *documents(DEMO)]
MONITORS = documents(MONITORING)


def name_of(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def named(kind: str, name: str) -> dict[str, Any]:
    (one,) = (manifest for manifest in MANIFESTS if name_of(manifest) == f"{kind}/{name}")
    return one


DEPLOYMENTS = [manifest for manifest in MANIFESTS if manifest["kind"] == "Deployment"]


def pod_of(deployment: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return pod


def labels_of(deployment: dict[str, Any]) -> dict[str, str]:
    labels: dict[str, str] = deployment["spec"]["template"]["metadata"]["labels"]
    return labels


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("manifest", MANIFESTS, ids=name_of)
def test_a_manifest_is_valid(manifest: dict[str, Any], release: str) -> None:
    """Strictly: a field that does not exist is an error, as a misspelt one would be ignored."""
    validate(manifest, release)


def test_a_misspelt_field_is_noticed() -> None:
    wrong = {**DEPLOYMENTS[0], "spec": {**DEPLOYMENTS[0]["spec"], "replica": 2}}
    with pytest.raises(ValueError, match="replica"):
        validate(wrong, RELEASES[-1])


@pytest.mark.parametrize("folder", [BASE, DEMO, MONITORING], ids=lambda folder: folder.name)
def test_each_file_of_a_folder_is_used(folder: Path) -> None:
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    used = set(kustomization["resources"]) | {"kustomization.yaml"}
    used |= {file for generator in kustomization.get("configMapGenerator", []) for file in generator["files"]}
    assert {path.name for path in folder.iterdir()} == used - {"../base"}


@pytest.mark.parametrize("folder", [BASE, DEMO], ids=lambda folder: folder.name)
def test_the_configuration_is_valid(folder: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    (secret,) = yaml.safe_load((DEMO / "kustomization.yaml").read_text())["secretGenerator"]
    literals = dict(literal.split("=", 1) for literal in secret["literals"])
    tokens.write_text(literals["tokens"] + "\n")
    text = (folder / "lbflask.toml").read_text().replace("/run/secrets/lbflask/tokens", str(tokens))
    path = tmp_path / "lbflask.toml"
    path.write_text(text)
    config = load({"LBFLASK_CONFIG": str(path), "LBFLASK_REDIS_URL": literals["redis_url"]})
    assert literals["prometheus"] in literals["tokens"]
    assert config.timeouts.shutdown_delay == tomllib.loads(text)["timeouts"]["shutdown_delay"]


def config_of(folder: Path) -> Config:
    """The configuration of a pod, but for its admin listener."""
    return config_of_text((folder / "lbflask.toml").read_text())


def config_of_text(text: str) -> Config:
    """The same of a text."""
    document = tomllib.loads(text)
    del document["admin"]  # its file exists in a pod only
    return Config.model_validate({**document, "admin_bind": "127.0.0.1:8090"})


@pytest.mark.parametrize("folder", [BASE, DEMO], ids=lambda folder: folder.name)
def test_a_pod_has_time_to_end(folder: Path) -> None:
    config = config_of(folder)
    pod = pod_of(named("Deployment", "lbflask"))
    assert pod["terminationGracePeriodSeconds"] >= config.timeouts.shutdown_delay + config.timeouts.graceful + 5
    readiness = pod["containers"][0]["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] < config.timeouts.shutdown_delay


def test_probes_use_the_paths_and_the_port_of_the_configuration() -> None:
    config = config_of(BASE)
    (container,) = pod_of(named("Deployment", "lbflask"))["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert container["readinessProbe"]["httpGet"] == {"path": config.health_path, "port": "http"}
    assert container["livenessProbe"]["httpGet"] == {"path": config.live_path, "port": "http"}
    assert config.bind == (f"0.0.0.0:{ports['http']}",)
    assert tomllib.loads((BASE / "lbflask.toml").read_text())["admin_bind"] == f"0.0.0.0:{ports['admin']}"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=name_of)
def test_pods_have_few_rights(deployment: dict[str, Any]) -> None:
    """By the restricted Pod Security Standard, and a root file system that is read-only."""
    pod = pod_of(deployment)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} == container["resources"].keys()


#: Where manifests that select pods have their selector.
SELECTORS = {
    "Service": ("selector",),
    "PodDisruptionBudget": ("selector", "matchLabels"),
    "NetworkPolicy": ("podSelector", "matchLabels"),
    "Deployment": ("selector", "matchLabels"),
}


def selector_of(manifest: dict[str, Any]) -> dict[str, str]:
    """The labels of pods that the manifest selects; empty if it selects none."""
    if manifest["kind"] not in SELECTORS:
        return {}
    selector: dict[str, Any] = manifest["spec"]
    for key in SELECTORS[manifest["kind"]]:
        selector = selector[key]
    return selector


def selectors() -> list[tuple[str, dict[str, str]]]:
    """What selects pods."""
    return [(name_of(manifest), selector) for manifest in MANIFESTS if (selector := selector_of(manifest))]


@pytest.mark.parametrize(("name", "selector"), selectors(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_selector_matches_the_pods_of_one_deployment(name: str, selector: dict[str, str]) -> None:
    matched = [deployment for deployment in DEPLOYMENTS if selector.items() <= labels_of(deployment).items()]
    assert len(matched) == 1
    if name.startswith("Deployment"):
        assert [name] == [name_of(deployment) for deployment in matched]


@pytest.mark.parametrize(
    "manifest", [one for one in MANIFESTS if one["kind"] in ("Service", "NetworkPolicy")], ids=name_of
)
def test_ports_are_named_by_the_pods(manifest: dict[str, Any]) -> None:
    spec = manifest["spec"]
    ports = [port["targetPort"] for port in spec.get("ports", [])]
    ports += [port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]]
    selector = spec.get("selector") or spec["podSelector"]["matchLabels"]
    containers = [
        container
        for deployment in DEPLOYMENTS
        if selector.items() <= labels_of(deployment).items()
        for container in pod_of(deployment)["containers"]
    ]
    assert set(ports) <= {port["name"] for container in containers for port in container.get("ports", [])}


def test_the_autoscaler_and_the_monitor_name_what_exists() -> None:
    target = named("HorizontalPodAutoscaler", "lbflask")["spec"]["scaleTargetRef"]
    assert named("Deployment", target["name"])["apiVersion"] == target["apiVersion"]
    (monitor,) = (manifest for manifest in MONITORS if manifest["kind"] == "ServiceMonitor")
    admin = named("Service", "lbflask-admin")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= admin["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in [port["name"] for port in admin["spec"]["ports"]]


def test_the_demo_looks_up_its_own_headless_service() -> None:
    namespace = yaml.safe_load((DEMO / "kustomization.yaml").read_text())["namespace"]
    web = named("Service", "web")
    (port,) = web["spec"]["ports"]
    assert web["spec"]["clusterIP"] == "None"
    source = tomllib.loads((DEMO / "lbflask.toml").read_text())["discovery"]["source"]
    assert source == f"dns://web.{namespace}.svc.cluster.local:{port['port']}"
    assert named("Namespace", namespace)
