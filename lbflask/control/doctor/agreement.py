"""Findings about what all instances should have in common: the version of lbflask, and the configuration."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from lbflask.control.api.models import Finding, InstanceView
from lbflask.control.doctor.findings import good, warning

#: Instances that are named of those with one value.
NAMED = 3


def agreement_findings(instances: Sequence[InstanceView], answered_by: str) -> Iterator[Finding]:
    """Whether all instances have the same version and the same configuration, and if not, which has which."""
    yield _agreement(
        "version",
        {one.name: one.version for one in instances},
        "update all instances, so that they balance by the same rules (docs/upgrading.md)",
    )
    configs = {one.name: one.config for one in instances}
    yield _agreement(
        "configuration",
        configs,
        "give all instances the same file and environment "
        f"(`lbflask config diff {_other(configs, answered_by)}` names what differs), then `lbflask reload` at each of "
        "them",
    )


def _agreement(subject: str, by_instance: Mapping[str, Sequence[str]], remedy: str) -> Finding:
    holders: defaultdict[str, list[str]] = defaultdict(list)
    for name, values in by_instance.items():
        for value in values:
            holders[value].append(name)
    if len(holders) <= 1:
        return good(subject, f"all have {next(iter(holders), 'none yet')}")
    listed = "; ".join(f"{value} at {_some(names)}" for value, names in sorted(holders.items()))
    return warning(subject, f"not all have the same: {listed}", f"normal during a roll-out; otherwise {remedy}")


def _other(configs: Mapping[str, Sequence[str]], here: str) -> str:
    """The option for an instance that has another configuration than the one that answers."""
    ours = configs.get(here)
    other = next((name for name, theirs in configs.items() if ours is not None and theirs != ours), None)
    return "--instance NAME" if other is None else f"--instance {shlex.quote(other)}"


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
