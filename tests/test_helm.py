"""The chart of `deploy/helm/`, rendered by Helm: valid, equal to the Kustomize base, and each value has an effect."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import helm
from tests.support.kubernetes_schemas import validate
from tests.test_kubernetes import (
    BASE,
    MONITORING,
    RELEASES,
    config_of_text,
    documents,
    labels_of,
    name_of,
    pod_of,
    selector_of,
)

pytestmark = pytest.mark.skipif(bool(helm.MISSING), reason=helm.MISSING)

ROOT = Path(__file__).resolve().parents[1]
DEFAULTS: dict[str, Any] = yaml.safe_load((helm.CHART / "values.yaml").read_text())
Manifests = dict[str, dict[str, Any]]
#: Another value for each default whose type does not give one.
OTHERS: dict[str, Any] = {
    "image.pullPolicy": "Always",
    "imagePullSecrets": [{"name": "registry"}],
    "config": 'admin_bind = "0.0.0.0:8090"\nbackends = ["http://10.0.0.1"]\n',
    "env": [{"name": "LBFLASK_LOG_LEVEL", "value": "debug"}],
    "secret.redisUrl": "redis://other:6379",
    "balancer.tolerations": [{"operator": "Exists"}],
    "checker.tolerations": [{"operator": "Exists"}],
    "service.type": "LoadBalancer",
    "serviceMonitor.interval": "1m",
}
SECRET = {"redisUrl": "redis://store:6379", "tokens": "operator:a:0123456789abcdef"}
#: Values without which others have no effect.
CONDITIONS: dict[str, dict[str, Any]] = {
    "balancer.replicas": {"autoscaling": {"enabled": False}},
    "secret": {"secret": {"create": True, **SECRET}},
    "secret.create": {"secret": SECRET},
    "serviceMonitor": {"serviceMonitor": {"enabled": True}},
}


def by_name(manifests: list[dict[str, Any]]) -> Manifests:
    named = {name_of(manifest): manifest for manifest in manifests}
    assert len(named) == len(manifests)
    return named


def rendered(values: dict[str, Any] | None = None, release: str = "lbflask", namespace: str = "default") -> Manifests:
    return by_name(helm.render(values, release, namespace))


def base() -> Manifests:
    """What Kustomize makes of the base and of the component for monitoring."""
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    (image,) = kustomization["images"]
    manifests = [*documents(BASE), *documents(MONITORING)]
    for manifest in manifests:
        if manifest["kind"] == "Deployment":
            for container in pod_of(manifest)["containers"]:
                container["image"] = f"{image['name']}:{image['newTag']}"
    for generator in kustomization["configMapGenerator"]:
        data = {file: (BASE / file).read_text() for file in generator["files"]}
        manifests.append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data}
        )
    return by_name(manifests)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values within a manifest by path. Items of a list that have names are found by them."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            read = tomllib.loads(inner) if key.endswith(".toml") else inner
            yield from leaves(read, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            name = inner.get("name", index) if isinstance(inner, dict) else index
            yield from leaves(inner, f"{path}.{name}")
    else:
        yield path, value


def differences() -> list[tuple[str, str, str]]:
    """Kind, path and sort of each difference between the base and the chart."""
    ours, theirs = base(), rendered({"serviceMonitor": {"enabled": True}})
    found = [(name, "", "missing") for name in ours.keys() - theirs.keys()]
    found += [(name, "", "added") for name in theirs.keys() - ours.keys()]
    for name in ours.keys() & theirs.keys():
        before, after = dict(leaves(ours[name])), dict(leaves(theirs[name]))
        kind = ours[name]["kind"]
        found += [(kind, path, "missing") for path in before.keys() - after.keys()]
        found += [(kind, path, "added") for path in after.keys() - before.keys()]
        found += [(kind, path, "changed") for path in before.keys() & after.keys() if before[path] != after[path]]
    return found


def allowed() -> list[tuple[str, str, str]]:
    """Kind, field and sort of the differences that `deploy/README.md` lists with a reason."""
    page = (ROOT / "deploy" / "README.md").read_text()
    return re.findall(r"^\| (\w+) \| `(\S+)` \| (added|missing|changed) \| .+ \|$", page, re.MULTILINE)


def covers(row: tuple[str, str, str], difference: tuple[str, str, str]) -> bool:
    kind, field, sort = row
    return kind in ("all", difference[0]) and sort == difference[2] and f".{field}." in f".{difference[1]}."


def test_the_chart_is_the_kustomize_base_but_for_the_listed_differences() -> None:
    found, rows = differences(), allowed()
    assert [one for one in found if not any(covers(row, one) for row in rows)] == []
    assert [row for row in rows if not any(covers(row, one) for one in found)] == [], "no such difference any more"


def test_a_difference_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = rendered({"serviceMonitor": {"enabled": True}, "checker": {"replicas": 3}})
    monkeypatch.setattr("tests.test_helm.rendered", lambda _: changed)
    assert ("Deployment", "spec.replicas", "changed") in differences()


def test_helm_warns_of_nothing_in_the_chart() -> None:
    assert helm.lint() == []


FULL = {
    "fullnameOverride": "edge",
    "imagePullSecrets": OTHERS["imagePullSecrets"],
    "backends": {"selector": {"app": "web"}},
    "env": OTHERS["env"],
    "secret": CONDITIONS["secret"]["secret"] | {"prometheus": "fedcba9876543210"},
    "balancer": {
        "podAnnotations": {"a": "b"},
        "nodeSelector": {"disk": "fast"},
        "tolerations": OTHERS["balancer.tolerations"],
        "affinity": {"nodeAffinity": {}},
    },
    "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
}
OFF = {part: {"enabled": False} for part in ("autoscaling", "podDisruptionBudget", "networkPolicy")}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("values", [{}, FULL, OFF], ids=["default", "full", "off"])
@pytest.mark.sampled(2)
def test_manifests_are_valid(values: dict[str, Any], release: str) -> None:
    for manifest in rendered(values).values():
        if manifest["kind"] not in ("ServiceMonitor", "PrometheusRule"):  # of the operator, without a published schema
            validate(manifest, release)


def test_parts_that_are_off_are_left_out() -> None:
    kinds = {manifest["kind"] for manifest in rendered(OFF).values()}
    assert kinds == {"Deployment", "Service", "ConfigMap"}
    assert rendered(OFF)["Deployment/lbflask"]["spec"]["replicas"] == 2


def settings(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of the chart, by path; maps without a default are values of their own."""
    for key, value in values.items():
        inner = f"{path}.{key}" if path else key
        if isinstance(value, dict) and value:
            yield from settings(value, inner)
        else:
            yield inner, value


def other(path: str, value: Any) -> Any:
    if path in OTHERS:
        return OTHERS[path]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return {"a": "b"} if value == {} else f"{value}2" if path.endswith(("cpu", "memory")) else f"{value}x"


def nested(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            both[key] = merged(below[key], above[key])
    return both


def test_each_value_has_an_effect() -> None:
    paths = dict(settings(DEFAULTS))
    assert len(paths) > 40
    given = []
    for path, value in paths.items():
        of_part = {} if isinstance(value, bool) else CONDITIONS.get(path.partition(".")[0], {})
        condition = CONDITIONS.get(path, of_part)
        given += [condition, merged(condition, nested(path, other(path, value)))]
    found = helm.render_each(given)
    assert [one for one in found if isinstance(one, str)] == []
    effects = {path: found[2 * index] != found[2 * index + 1] for index, path in enumerate(paths)}
    assert [path for path, effect in effects.items() if not effect] == []


def test_the_schema_has_no_key_without_a_default() -> None:
    """Helm rejects the other case, a default that the schema lacks."""

    def closed(schema: dict[str, Any]) -> Iterator[str]:
        if "properties" in schema and "additionalProperties" in schema:
            yield from (key for key in schema["properties"] if key != "global")
            for inner in schema["properties"].values():
                yield from closed(inner)

    schema = yaml.safe_load((helm.CHART / "values.schema.json").read_text())
    keys = {part for path, _ in settings(DEFAULTS) for part in path.split(".")}
    assert set(closed(schema)) <= keys


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replicas": 3}, "replicas"),
        ({"balancer": {"replica": 3}}, "replica"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"shutdownDelay": 1}, "shutdownDelay"),
        ({"service": {"port": 0}}, "port"),
        ({"backends": {"service": "Web_1"}}, "service"),
        ({"secret": {"create": True}}, "redisUrl"),
        ({"networkPolicy": {"adminPodLabels": {"lbflask-admin": True}}}, "adminPodLabels"),
    ],
)
def test_a_wrong_value_is_rejected_by_its_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(helm.Rejected, match=named):
        helm.render(values)


def configuration(manifests: Manifests, name: str = "lbflask") -> str:
    return str(manifests[f"ConfigMap/{name}"]["data"]["lbflask.toml"])


@pytest.mark.parametrize("values", [{}, {"shutdownDelay": 25, "graceful": 60}])
def test_a_pod_has_time_to_end(values: dict[str, Any]) -> None:
    manifests = rendered(values)
    timeouts = config_of_text(configuration(manifests)).timeouts
    assert timeouts.shutdown_delay == values.get("shutdownDelay", DEFAULTS["shutdownDelay"])
    pod = pod_of(manifests["Deployment/lbflask"])
    assert pod["terminationGracePeriodSeconds"] >= timeouts.shutdown_delay + timeouts.graceful + 5
    readiness = pod["containers"][0]["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] < timeouts.shutdown_delay


def test_backends_are_found_by_a_headless_service() -> None:
    manifests = rendered({"backends": {"service": "shop", "selector": {"app": "shop"}}}, namespace="shops")
    source = config_of_text(configuration(manifests)).discovery.source
    assert source == "dns://shop.shops.svc.cluster.local:8000"
    spec = manifests["Service/shop"]["spec"]
    assert (spec["clusterIP"], spec["selector"]) == ("None", {"app": "shop"})
    elsewhere = rendered({"backends": {"namespace": "team", "port": 80, "clusterDomain": "corp"}})
    assert config_of_text(configuration(elsewhere)).discovery.source == "dns://web.team.svc.corp:80"


@pytest.mark.parametrize("component", ["Deployment/lbflask", "Deployment/lbflask-checker"])
def test_a_change_of_the_configuration_makes_new_pods(component: str) -> None:
    def annotations(values: dict[str, Any]) -> dict[str, str]:
        template: dict[str, Any] = rendered(values)[component]["spec"]["template"]
        return dict(template["metadata"]["annotations"])

    secret = CONDITIONS["secret"]
    assert annotations({}) == annotations({"service": {"port": 8080}})
    assert annotations({}) != annotations({"graceful": 31})
    assert annotations(secret) != annotations(merged(secret, {"secret": {"redisUrl": "redis://other:6379"}}))


def test_a_made_secret_has_its_values_unchanged() -> None:
    tokens = 'operator:a:"0123456789$abcdef\\"\nread:prometheus:{{ fedcba9876543210 }}\n'
    values = {"secret": {"create": True, "redisUrl": "rediss://:p%23@s:6379/0", "tokens": tokens, "prometheus": "1e3"}}
    secret = rendered(values)["Secret/lbflask"]
    assert secret["stringData"] == {"redis_url": "rediss://:p%23@s:6379/0", "tokens": tokens, "prometheus": "1e3"}


def test_two_releases_in_one_namespace_share_nothing() -> None:
    one, two = rendered({}, "lbflask"), rendered({}, "lbflask-" + "x" * 45)
    assert one.keys().isdisjoint(two.keys())
    assert all(len(manifest["metadata"]["name"]) <= 63 for manifest in two.values())
    for manifests, others in ((one, two), (two, one)):
        pods = [labels_of(manifest) for manifest in others.values() if manifest["kind"] == "Deployment"]
        selectors = [selector for manifest in manifests.values() if (selector := selector_of(manifest))]
        assert len(selectors) == 8
        assert not any(selector.items() <= labels.items() for selector in selectors for labels in pods)


def test_the_version_is_that_of_the_package() -> None:
    chart = yaml.safe_load((helm.CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["version"] == chart["appVersion"] == project["version"]
    assert chart["kubeVersion"] == f">={RELEASES[0]}.0-0"
