"""Commands that only read: `status`, `backends`, `top`, `events`, `doctor`."""

from __future__ import annotations

import itertools
import json
import time
from contextlib import nullcontext
from itertools import islice
from typing import Any
from urllib.parse import urlencode

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from lbflask.cli import render
from lbflask.cli.api_client import NoListener, Unreachable, segment
from lbflask.cli.bans import bans
from lbflask.cli.context import FAILED, UNREACHABLE, CliContext, api_command, complete_backend, complete_pool
from lbflask.cli.duration import Since
from lbflask.config.load import ConfigError, load
from lbflask.core.fleet_events import Kind
from lbflask.store.ports import StoreUnavailable
from lbflask.wiring.adapters import store_for

#: Seconds until a broken stream is reopened.
RECONNECT_DELAY = 1.0


@click.command()
@api_command
def status(context: CliContext) -> None:
    """Show a summary of the fleet. Exit code 1 if a pool has no backend that serves."""
    state = context.api.get("/state")
    troubles = [Text(""), render.findings(state["findings"])] if state["findings"] else []
    context.print_result(
        state, render.summary(state), *troubles, *render.newest_bans(state), render.pools(state["pools"])
    )
    if state["fleet"]["status"] in ("down", "partly_down"):
        raise SystemExit(FAILED)


@click.command()
@click.option("--pool", shell_complete=complete_pool, help="Only backends of this pool.")
@api_command
def backends(context: CliContext, pool: str | None) -> None:
    """List the backends with their state, load and latency."""
    found = [context.api.get(f"/pools/{segment(pool)}")] if pool else context.api.get("/pools")["pools"]
    context.print_result([backend for one in found for backend in one["backends"]], render.pools(found))


@click.command()
@click.option(
    "--interval", default=1.0, show_default=True, type=click.FloatRange(0.2, 60), help="Seconds between updates."
)
@click.option("--count", default=0, type=click.IntRange(0), help="Number of updates; 0 for no end until Ctrl-C.")
@api_command
def top(context: CliContext, interval: float, count: int) -> None:
    """Watch the fleet live. With --json, one line per update."""
    drawn = context.console.is_terminal and not context.as_json
    live = Live(console=context.console, auto_refresh=False, screen=not count) if drawn else None
    with live or nullcontext():
        for refresh in islice(itertools.count(), count or None):
            if refresh:
                time.sleep(interval)
            if context.as_json:
                click.echo(json.dumps(context.api.get("/state"), ensure_ascii=False))
            elif live is not None:
                live.update(_frame(context), refresh=True)
            else:
                context.console.print(_frame(context))


def _frame(context: CliContext) -> Any:
    """The current view of `top`; an unreachable API does not end it."""
    try:
        state = context.api.get("/state")
        events = context.api.get("/events?limit=5")["events"] if not state["fleet"]["stale"] else []
    except NoListener:
        raise
    except Unreachable as error:
        return Text(f"{error}; retrying", style="bold red")
    lines = [render.event(one) for one in events]
    troubles = ["", render.findings(state["findings"])] if state["findings"] else []
    return Group(render.summary(state), *troubles, *render.newest_bans(state), render.pools(state["pools"]), "", *lines)


@click.command()
@click.option("--follow", is_flag=True, help="Print new events until Ctrl-C.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 500), help="Number of latest events.")
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="Only events of this kind.")
@click.option("--who", "actor", default="", help="Only events of operators, checkers or workers with this in the name.")
@click.option("--backend", default="", shell_complete=complete_backend, help="Only events of this backend.")
@click.option("--since", type=Since(), help="Only events since then: 90s, 10m, 2h, 1d, or a time as in ISO 8601.")
@api_command
def events(
    context: CliContext, follow: bool, limit: int, kind: str | None, actor: str, backend: str, since: str | None
) -> None:
    """Show events: health, ejections, leaders and operators' actions. With --json, one per line."""
    moment = None if since is None else Since.moment(since, lambda: float(context.api.get("/fleet")["at"]))
    given = {"kind": kind, "who": actor, "backend": backend, "since": moment}
    query = urlencode({name: value for name, value in given.items() if value})
    newest = context.api.get("/events?limit=1")["events"]  # read before the page, so that nothing is between them
    found = context.api.get(f"/events?limit={limit}&{query}")["events"][::-1]
    for one in found:
        _print_event(context, one)
    last = next((one["id"] for one in (*found[::-1], *newest)), "0-0")
    while follow:
        try:
            for name, id_, one in context.api.stream(f"/events/stream?{query}", last):
                if name == "event":
                    last = id_
                    _print_event(context, one)
        except Unreachable as error:
            click.echo(f"lbflask: {error}; retrying", err=True)
            time.sleep(RECONNECT_DELAY)


def _print_event(context: CliContext, event: dict[str, Any]) -> None:
    context.print_result(event, render.event(event), soft_wrap=True)


@click.command()
@api_command
def doctor(context: CliContext) -> None:
    """Diagnose the fleet, with advice. Exit code 1 if something is bad, 3 if no admin API answers."""
    code = 0
    try:
        found = context.api.get("/doctor")["findings"]
        if any(finding["level"] == "bad" for finding in found):
            code = FAILED
    except Unreachable as error:
        found, code = _local_findings(error), UNREACHABLE
    context.print_result({"findings": found}, render.findings(found))
    raise SystemExit(code)


def _local_findings(unreachable: Unreachable) -> list[dict[str, str]]:
    """Findings that need no API."""
    found = [_finding("admin API", "bad", str(unreachable), unreachable.advice)]
    try:
        config = load()
    except ConfigError as error:
        advice = "run it in the directory of the configuration"
        return [*found, _finding("configuration", "warning", str(error), advice)]
    store = store_for(config, timeout=1.0)
    try:
        for pool in config.every_pool():
            store.prove(pool)
            roster = store.read_roster(pool)
            names = sorted({worker.report.identity.instance for worker in roster.workers if worker.report is not None})
            if names:
                advice = "use --url with the admin listener of one of them"
                found.append(_finding(f"pool {pool}", "good", f"instances {', '.join(names)}", advice))
            else:
                found.append(_finding(f"pool {pool}", "bad", "no instance is alive", "start one: `lbflask serve`"))
    except StoreUnavailable as error:
        found.append(_finding("store", "bad", f"unreachable from here: {error}", "start Redis, or check redis_url"))
    finally:
        store.close()
    return found


def _finding(check: str, level: str, finding: str, advice: str) -> dict[str, str]:
    return {"check": check, "level": level, "finding": finding, "advice": advice}


COMMANDS = (status, backends, top, events, bans, doctor)
