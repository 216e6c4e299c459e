"""The finding about the installed build."""

from __future__ import annotations

from lbflask.build import Build, build
from lbflask.control.api.models import Finding
from lbflask.control.doctor.findings import good

#: By build. One that differs from the other instances is no fault, and explains why this one needs more or less time.
_BUILDS = {
    Build.COMPILED: "this instance runs compiled",
    Build.PYTHON: "this instance runs as Python; a compiled wheel needs less processor time (docs/performance.md)",
}


def build_finding() -> Finding:
    """Which build this instance runs."""
    return good("build", _BUILDS[build()])
