"""Findings about health checkers."""

from __future__ import annotations

from collections.abc import Iterator

from lbflask.control.api.models import Finding, PoolView
from lbflask.control.doctor.findings import bad, good, warning

_UNCHECKED = "no backend is checked, only failed requests eject one"


def checker_findings(pool: PoolView, instances: int) -> Iterator[Finding]:
    """Whether a checker leads the pool, and in a fleet of several instances, whether another one runs. Backends that
    are unchecked for want of one are no findings of their own.
    """
    name, checker = f"checker of {pool.name}", pool.checker
    if not checker.silent:
        leader = checker.leader or "between two leaders"
        others = f", {len(checker.standby)} on stand-by" if checker.standby else ""
        yield good(name, f"{leader}, last heartbeat {checker.heartbeat:.1f} s ago{others}")
        if instances > 1 and not checker.standby:
            yield warning(
                name, f"no other checker runs: when {checker.leader or 'it'} ends, no backend is checked",
                "start `python -m lbflask.healthcheck` with the same configuration on another machine",
            )  # fmt: skip
        return
    silence = "yet" if checker.heartbeat is None else f"for {checker.heartbeat:.0f} s"
    if not checker.leader:
        yield bad(
            name, f"no heartbeat {silence}: {_UNCHECKED}",
            "start `python -m lbflask.healthcheck` with the same configuration, preferably on two machines",
        )  # fmt: skip
        return
    host, _, pid = checker.leader.rpartition(":")[0].rpartition(":")
    yield bad(
        name, f"{checker.leader} leads, but has sent no heartbeat {silence}: {_UNCHECKED}",
        f"it hangs, or does not reach the store: on {host}, `ps -o pid,stat,wchan -p {pid}`; its log has the reason, "
        f"and `kill -KILL {pid}` lets another one lead. If none runs, start `python -m lbflask.healthcheck`",
    )  # fmt: skip
