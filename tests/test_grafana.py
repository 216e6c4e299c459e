"""The Grafana dashboard: every panel queries metrics and labels that exist, and the stack provisions it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lbflask.telemetry.metrics import definitions

GRAFANA = Path(__file__).resolve().parents[1] / "deploy" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "lbflask.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
#: Labels that Prometheus itself adds; a label `instance` of ours becomes `exported_instance`.
SCRAPE_LABELS = {"instance", "job", "exported_instance"}
#: The names of a series by the kind of its metric.
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
SERIES = {
    f"{metric.full_name}{suffix}": {*metric.labels, *SCRAPE_LABELS, *(["le"] if suffix == "_bucket" else [])}
    for metric in definitions.ALL
    for suffix in SUFFIXES[metric.kind]
}


def unknown(expression: str) -> list[str]:
    """Series of a query that do not exist, and labels that none of its series has."""
    names = re.findall(r"\blbflask_\w+", expression)
    labels = {label for name in names for label in SERIES.get(name, ())}
    used = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression)
    used += [label for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(", ")]
    return [name for name in names if name not in SERIES] + [label for label in used if label not in labels]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_shows_metrics_that_exist(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        assert "lbflask_" in target["expr"]
        assert unknown(target["expr"]) == []
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        grouped = {
            label for group in re.findall(r"\bby \(([^)]*)\)", target["expr"])[:1] for label in group.split(", ")
        }
        assert shown <= grouped


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("rate(lbflask_requests[1m])", ["lbflask_requests"]),
        ('sum by (pool, colour) (rate(lbflask_requests_total{code="5xx", shape=~"a"}[1m]))', ["shape", "colour"]),
        ("lbflask_workers", []),
    ],
)
def test_a_wrong_name_is_noticed(query: str, wrong: list[str]) -> None:
    assert unknown(query) == wrong


def test_the_variable_for_the_pool_comes_from_a_metric_that_has_it() -> None:
    (pool,) = [variable for variable in DASHBOARD["templating"]["list"] if variable["name"] == "pool"]
    name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", pool["query"]["query"]).groups()  # type: ignore[union-attr]
    assert label in SERIES[name]


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_the_provisioned_source_and_directory_are_those_of_the_stack() -> None:
    compose = (GRAFANA.parent / "docker-compose.yml").read_text("utf-8")
    directory = re.findall(r"path: (\S+)", (GRAFANA / "provisioning" / "dashboards" / "lbflask.yml").read_text())
    (source,) = re.findall(
        r"url: http://(\w+):9090", (GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text()
    )
    assert f"./grafana/dashboards:{directory[0]}:ro" in compose
    assert f"\n  {source}:\n" in compose
