"""Commands that change something. All are idempotent."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lbflask.cli.api_client import NoListener, Unreachable, segment
from lbflask.cli.context import TIMED_OUT, UNREACHABLE, CliContext, api_command, complete_backend, complete_pool
from lbflask.cli.debug import debug
from lbflask.cli.instance import instance

#: Seconds between polls of the requests in flight.
POLL_INTERVAL = 0.5
#: Seconds without requests in flight until a backend counts as drained: within them each live worker has reported its
#: requests, and a killed one has expired.
QUIET_TIME = 2.0

_name = click.argument("name", shell_complete=complete_backend)
_pool = click.option(
    "--pool", shell_complete=complete_pool, help="Pool; needed if several have a backend of this name."
)
#: Commands without options: name, state of the backend after success, help.
_ACTIONS = (
    ("enable", "serves", "Return NAME to service, after `drain`, `off` or `remove`."),
    ("off", "is off", "Send NAME no requests at all, not even of sticky sessions. Requests in flight finish."),
    ("uneject", "is not ejected", "End the ejection of NAME now, without waiting for a probe."),
)


def _action_command(action: str, state: str, description: str) -> click.Command:
    @click.command(action, help=description)
    @_name
    @_pool
    @api_command
    def command(context: CliContext, name: str, pool: str | None) -> None:
        pool_name, path = context.locate_backend(name, pool)
        _print_done(context, context.api.request("POST", f"{path}/{action}"), f"{name} of pool {pool_name} {state}")

    return command


@click.command()
@_name
@_pool
@click.option("--wait", is_flag=True, help="Return when no request is in flight.")
@click.option("--timeout", type=click.FloatRange(0.1), help="Maximum seconds to wait; then the exit code is 6.")
@api_command
def drain(context: CliContext, name: str, pool: str | None, wait: bool, timeout: float | None) -> None:
    """Send NAME no new requests. Requests in flight and sticky sessions continue."""
    pool_name, path = context.locate_backend(name, pool)
    done = context.api.request("POST", f"{path}/drain")
    if not wait:
        _print_done(context, done, f"{name} of pool {pool_name} is draining, {done['backend']['in_flight']} in flight")
        return
    quiet = _wait(context, path, name, timeout)
    done["backend"] = context.api.get(path)
    if not quiet:
        left = done["backend"]["in_flight"]
        context.fail(TIMED_OUT, f"{name} still has {left} in flight after {timeout:g} s; draining continues")
    context.print_line(done, f"{name} of pool {pool_name} is drained: nothing is in flight")


@click.command()
@_name
@click.argument("weight", metavar="WEIGHT|usual")
@_pool
@api_command
def weight(context: CliContext, name: str, weight: str, pool: str | None) -> None:
    """Set the weight of NAME, 0 to 256; `usual` restores the configured weight."""
    if weight != "usual" and not (weight.isascii() and weight.isdigit() and int(weight) <= 256):
        raise click.BadParameter("must be a number from 0 to 256, or `usual`", param_hint="WEIGHT")
    number = None if weight == "usual" else int(weight)
    pool_name, path = context.locate_backend(name, pool)
    done = context.api.request("PUT", f"{path}/weight", {"weight": number})
    _print_done(context, done, f"{name} of pool {pool_name} has weight {done['backend']['weight']}")


@click.command()
@click.argument("backend_url", metavar="URL")
@click.option("--name", help="Stable name; default: `host:port`.")
@click.option("--weight", default=1, show_default=True, type=click.IntRange(0, 256))
@click.option("--backup", is_flag=True, help="Serve only when no other backend can.")
@click.option("--pool", default="default", show_default=True, shell_complete=complete_pool)
@api_command
def add(context: CliContext, backend_url: str, name: str | None, weight: int, backup: bool, pool: str) -> None:
    """Add the backend at URL to a pool. It serves after its first successful check."""
    body = {"url": backend_url, "weight": weight, "backup": backup} | ({"name": name} if name else {})
    done = context.api.request("POST", f"/pools/{segment(pool)}/backends", body)
    _print_done(context, done, f"{done['backend']['id']} is in pool {pool}, {done['backend']['state']}")


@click.command()
@_name
@_pool
@api_command
def remove(context: CliContext, name: str, pool: str | None) -> None:
    """Remove NAME from its pool, also a configured one. Requests in flight finish."""
    pool_name, path = context.locate_backend(name, pool)
    _print_done(context, context.api.request("DELETE", path), f"{name} is out of pool {pool_name}")


@click.command()
@api_command
def reload(context: CliContext) -> None:
    """Reload the configuration of the instance and of the checkers.

    Exit code 1 if the configuration has an error or another reload is under way; then nothing changes.
    """
    try:
        outcome = context.api.request("POST", "/reload")
    except NoListener as error:
        context.fail(UNREACHABLE, f"{error}: {error.advice}; SIGHUP to gunicorn's master reloads without one")
    in_place, late = ", ".join(outcome["in_place"]), ", ".join(outcome["by_new_workers"])
    lines = [f"configuration {outcome['config_version']}: {in_place or late or 'nothing has changed'}"]
    if late:
        lines.append(f"new workers take over because of {late}")
    context.print_line(outcome, "\n".join(lines))


def _print_done(context: CliContext, done: dict[str, Any], text: str) -> None:
    context.print_line(done, text + ("" if done["changed"] else ", as before"))


def _wait(context: CliContext, path: str, name: str, timeout: float | None) -> bool:
    """Wait until no request was in flight for QUIET_TIME, with a progress bar. False after `timeout`."""
    started = quiet_since = time.monotonic()
    peak = 0
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"), TimeElapsedColumn())
    with Progress(*columns, console=context.console, disable=context.as_json) as progress:
        bar = progress.add_task(f"draining {name}", total=1, left="…")
        while timeout is None or time.monotonic() - started < timeout:
            left = _left(context, path)
            if left:
                quiet_since = time.monotonic()
            if left is not None:
                peak = max(peak, left)
                progress.update(bar, total=max(1, peak), completed=peak - left, left=f"{left} in flight")
            if left == 0 and time.monotonic() - quiet_since >= QUIET_TIME:
                progress.update(bar, completed=max(1, peak), total=max(1, peak))
                return True
            time.sleep(POLL_INTERVAL)
    return False


def _left(context: CliContext, path: str) -> int | None:
    """Requests in flight; None while unknown."""
    try:
        state = context.api.get("/fleet")
        return None if state["stale"] else int(context.api.get(path)["in_flight"])
    except Unreachable:
        return None


COMMANDS = (drain, weight, add, remove, reload, debug, instance, *(_action_command(*action) for action in _ACTIONS))
