"""Writes the alerts of `deploy/prometheus/alerts.yml` to where Kubernetes and Helm read them."""

from __future__ import annotations

from pathlib import Path

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
SOURCE = DEPLOY / "prometheus" / "alerts.yml"
_RULE = """\
# Written by `python -m devtools.alerts` from deploy/prometheus/alerts.yml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: lbflask
spec:
"""


def copies() -> dict[Path, str]:
    """The content of each file, by its path."""
    text = SOURCE.read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {
        DEPLOY / "kubernetes" / "monitoring" / "prometheusrule.yaml": _RULE + "".join(f"  {line}\n" for line in lines),
        DEPLOY / "helm" / "lbflask" / "alerts.yml": text,
    }


def main() -> None:
    """Write all files."""
    for path, content in copies().items():
        path.write_text(content, "utf-8")


if __name__ == "__main__":
    main()
