"""How the command line shows what the API says: tables that stay readable without colours."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

_STYLES = {
    "up": "green",
    "standby": "cyan",
    "idle": "dim",
    "checking": "yellow",
    "unknown": "yellow",
    "down": "bold red",
    "ejected": "bold red",
    "draining": "magenta",
    "off": "dim",
    "ok": "green",
    "degraded": "yellow",
    "failing_open": "yellow",
    "partly_down": "bold red",
}
_SIGNS = {"good": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "bad": "[bold red]✗[/bold red]"}


def word(text: str) -> Text:
    """A state or status in its colour."""
    return Text(text.replace("_", " "), style=_STYLES.get(text, ""))


def summary(state: dict[str, Any]) -> RenderableType:
    """The fleet at a glance."""
    fleet, store = state["fleet"], state["fleet"]["store"]
    head = Text.assemble(
        "fleet ", word(fleet["status"]), f", {fleet['requests_per_second']:.1f} requests/s, "
        f"{fleet['in_flight']} in flight, store ",
        ("connected", "green") if store["connected"] else (f"out of reach: {store['why']}", "bold red"),
        (" (stale: what was last known)", "bold yellow") if fleet["stale"] else "",
    )  # fmt: skip
    table = Table(box=None, pad_edge=False)
    for column in ("instance", "version", "config"):
        table.add_column(column)
    for column in ("workers", "in flight", "requests/s"):
        table.add_column(column, justify="right")
    for instance in fleet["instances"]:
        workers = instance["workers"]
        table.add_row(
            escape(instance["name"]),
            ", ".join(instance["version"]),
            ", ".join(instance["config"]),
            str(len(workers)),
            str(sum(worker["in_flight"] for worker in workers)),
            f"{sum(worker['requests_per_second'] for worker in workers):.1f}",
        )
    return Group(head, "", table)


def pools(found: Iterable[dict[str, Any]]) -> RenderableType:
    """Pools with their backends."""
    parts: list[RenderableType] = []
    for pool in found:
        checker = pool["checker"]
        checks = "[bold red]no checker[/bold red]" if checker["silent"] else f"checked by {escape(checker['leader'])}"
        overlooks = f", [bold red]overlooking {pool['overlooks']}[/bold red]" if pool["overlooks"] else ""
        parts.append("")
        parts.append(
            f"[bold]pool {pool['name']}[/bold] {pool['strategy']}, {pool['serving']} of {len(pool['backends'])} serve"
            f"{overlooks}, {checks}"
        )
        parts.append(backends(pool["backends"]))
        if pool["removed"]:
            parts.append(f"[dim]removed by operators: {escape(', '.join(pool['removed']))}[/dim]")
    return Group(*parts)


def backends(found: Iterable[dict[str, Any]]) -> Table:
    """Backends, one a line."""
    table = Table(box=None, pad_edge=False)
    table.add_column("backend")
    table.add_column("state")
    for column in ("weight", "in flight", "req/s", "errors", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right")
    table.add_column("reason", overflow="fold")
    for backend in found:
        weight = str(backend["weight"])
        if backend["weight"] != backend["usual_weight"]:
            weight += f" (usually {backend['usual_weight']})"
        table.add_row(
            escape(backend["id"]),
            word(backend["state"]),
            weight,
            str(backend["in_flight"]),
            f"{backend['requests_per_second']:.1f}",
            "-" if backend["error_share"] is None else f"{backend['error_share'] * 100:.1f} %",
            _milliseconds(backend["p50"]),
            _milliseconds(backend["p99"]),
            escape(backend["reason"]),
        )
    return table


def event(one: dict[str, Any]) -> str:
    """An event on one line."""
    at = datetime.fromtimestamp(one["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    about = "/".join(part for part in (one["pool"], one["backend"]) if part)
    reason = f": {one['reason']}" if one["reason"] else ""
    by = f" by {one['who']}" if one["who"] else ""
    return escape(f"{at}  {one['kind']:<9} {about}  {one['what']}{reason}{by}")


def findings(found: Iterable[dict[str, Any]]) -> RenderableType:
    """What `doctor` found, with what to do below it."""
    lines = []
    for finding in found:
        lines.append(f"{_SIGNS[finding['level']]} {escape(finding['check'])}: {escape(finding['finding'])}")
        if finding["advice"]:
            lines.append(f"  [dim]→ {escape(finding['advice'])}[/dim]")
    return Group(*lines)


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"
