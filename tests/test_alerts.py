"""The alerts of Prometheus: each queries metrics that exist, fires in a test of promtool, and leads to the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from devtools import alerts
from devtools.servers import require
from tests.test_grafana import unknown

ROOT = Path(__file__).resolve().parents[1]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text("utf-8"))["groups"][0]["rules"]
TESTS: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text("utf-8"))["tests"]
#: The sections of the runbook, each of which has an alert.
SECTIONS = {
    "clients-get-502",
    "clients-get-503",
    "clients-get-504",
    "clients-get-429",
    "clients-get-499",
    "certificate-errors",
    "slow",
    "backend-down",
    "ejected",
    "no-checker",
    "store-away",
    "workers-missing",
    "descriptors",
    "log-lines-lost",
    "certificates-expire",
    "configurations-differ",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_queries_metrics_that_exist(rule: dict[str, Any]) -> None:
    if "lbflask_" in rule["expr"]:
        assert unknown(rule["expr"]) == []
    else:
        assert rule["expr"] == 'up{job=~".*lbflask.*"} == 0'  # of Prometheus itself


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_severity_a_summary_by_labels_of_its_own_and_a_section_of_the_runbook(
    rule: dict[str, Any],
) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    page, _, section = rule["annotations"]["runbook"].partition("#")
    assert (page, section in SECTIONS) == ("docs/runbook.md", True)
    named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    grouped = {label for group in re.findall(r"\bby \(([^)]*)\)", rule["expr"]) for label in group.split(", ")}
    assert named <= (grouped or {"instance", "job"})
    assert len(rule["annotations"]["summary"]) > 30


def test_each_section_of_the_runbook_has_an_alert() -> None:
    assert {rule["annotations"]["runbook"].partition("#")[2] for rule in RULES} == SECTIONS
    runbook = ROOT / "docs" / "runbook.md"
    if runbook.exists():
        headings = re.findall(r"^## (.+)$", runbook.read_text("utf-8"), re.MULTILINE)
        assert {heading.lower().replace(" ", "-") for heading in headings} >= SECTIONS


def test_each_alert_fires_in_a_test_and_not_while_nothing_is_wrong() -> None:
    names = [rule["alert"] for rule in RULES]
    quiet, *firing = TESTS
    assert [case["alertname"] for case in quiet["alert_rule_test"]] == names
    assert not any(case["exp_alerts"] for case in quiet["alert_rule_test"])
    assert {case["alertname"] for test in firing for case in test["alert_rule_test"] if case["exp_alerts"]} == set(
        names
    )


def test_the_tests_of_promtool_pass() -> None:
    program = shutil.which("promtool")
    require(program, "promtool")
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        ended = subprocess.run(
            [str(program), *command], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_kubernetes_and_helm_have_the_same_alerts() -> None:
    assert {path: path.read_text("utf-8") for path in alerts.copies()} == alerts.copies(), "`python -m devtools.alerts`"
    (rule,) = (path for path in alerts.copies() if path.name == "prometheusrule.yaml")
    assert yaml.safe_load(rule.read_text("utf-8"))["spec"]["groups"][0]["rules"] == RULES


def test_the_stack_loads_the_alerts() -> None:
    assert yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))["rule_files"] == ["alerts.yml"]
    stack = yaml.safe_load((ROOT / "deploy" / "docker-compose.yml").read_text("utf-8"))
    mounts = stack["services"]["prometheus"]["volumes"]
    assert "./prometheus/alerts.yml:/etc/prometheus/alerts.yml:ro" in mounts
