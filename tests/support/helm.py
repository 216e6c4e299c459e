"""Helm on the chart of `deploy/helm/`: the command where it is on PATH, else Helm's library in a Python package.

The library runs in a process of its own, since the runtime of Go has threads.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import yaml

CHART = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "lbflask"
Values = dict[str, Any]
#: Why no chart can be rendered here; empty where it can.
MISSING = "" if shutil.which("helm") or find_spec("helm_python") else "neither helm nor helm-python-sdk is installed"
_WITHIN = 60.0


class Rejected(Exception):
    """Helm rejects the values or the chart; the message is Helm's."""


def render(values: Values | None = None, release: str = "lbflask", namespace: str = "default") -> list[dict[str, Any]]:
    """The manifests of a release. Raises Rejected."""
    (found,) = render_each([values or {}], release, namespace)
    if isinstance(found, str):
        raise Rejected(found)
    return found


def render_each(
    values: Sequence[Values], release: str = "lbflask", namespace: str = "default"
) -> list[list[dict[str, Any]] | str]:
    """For each of the values the manifests of a release, or the message with which Helm rejects them."""
    if shutil.which("helm"):
        return [_by_command(one, release, namespace) for one in values]
    found = _library({"do": "render", "values": list(values), "release": release, "namespace": namespace})
    return [one if isinstance(one, str) else _documents("\n---\n".join(one.values())) for one in found]


def lint() -> list[str]:
    """The warnings and errors of Helm about the chart."""
    if shutil.which("helm"):
        done = _helm("lint", "--strict", str(CHART))
        return [line for line in done.stdout.splitlines() if line.startswith(("[WARNING]", "[ERROR]"))]
    return [message["error"] for message in _library({"do": "lint"})["messages"] if message["severity"] > 1]


def _documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def _by_command(values: Values, release: str, namespace: str) -> list[dict[str, Any]] | str:
    done = _helm("template", release, str(CHART), "--namespace", namespace, "--values", "-", given=values)
    return done.stderr if done.returncode else _documents(done.stdout)


def _helm(*arguments: str, given: Values | None = None) -> subprocess.CompletedProcess[str]:
    text = None if given is None else json.dumps(given)
    return subprocess.run(
        ["helm", *arguments], input=text, capture_output=True, text=True, timeout=_WITHIN, check=False
    )


def _library(task: dict[str, Any]) -> Any:
    with NamedTemporaryFile("r+", suffix=".json") as result:
        command = [sys.executable, "-m", "tests.support.helm", result.name]
        done = subprocess.run(
            command, input=json.dumps(task), capture_output=True, text=True, timeout=_WITHIN, check=False,
            cwd=CHART.parents[2],
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"Helm's library failed: {done.stderr}")
        return json.load(result)


def _main(result: Path) -> None:
    """Do the task of standard input with Helm's library, and write what it gives to the file."""
    import helm_python  # noqa: PLC0415 - loads the library

    task = json.load(sys.stdin)
    if task["do"] == "lint":
        result.write_text(json.dumps(helm_python.lint(CHART, strict=True)))
        return
    found: list[str | dict[str, str]] = []
    with helm_python.Chart.load(CHART) as chart:
        for values in task["values"]:
            try:
                chart.validate_schema(values)
                texts = chart.render(values, name=task["release"], namespace=task["namespace"])
            except helm_python.HelmError as error:
                found.append(str(error))
            else:
                found.append({name: text for name, text in texts.items() if not name.endswith(".txt")})
    result.write_text(json.dumps(found))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
