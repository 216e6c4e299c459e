"""Commands that change something. All are idempotent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from lbflask.cli.api_client import NoListener, segment
from lbflask.cli.bans import ban, unban
from lbflask.cli.context import (
    TIMED_OUT,
    UNREACHABLE,
    CliContext,
    api_command,
    complete_backend,
    complete_pool,
    force_option,
    reason_option,
)
from lbflask.cli.debug import debug
from lbflask.cli.duration import Duration
from lbflask.cli.instance import instance
from lbflask.cli.quiescence import QUIET_TIME, Load, Quiescence, wait_until_quiet
from lbflask.core.model import MAX_CLOSING

_name = click.argument("name", shell_complete=complete_backend)
_pool = click.option(
    "--pool", shell_complete=complete_pool, help="Pool; needed if several have a backend of this name."
)
_wait = click.option("--wait", is_flag=True, help="Return when no request is in flight and none comes any more.")
_close_after = click.option(
    "--close-after",
    type=Duration(MAX_CLOSING),
    help="End its tunnels and event streams too, one after another within this time, such as 5m.",
)
_timeout = click.option(
    "--timeout", type=click.FloatRange(0.1), help="Maximum seconds to wait; then the exit code is 6."
)
#: Why a wait has ended.
NOTHING_LEFT = f"nothing is in flight, and no request came for {QUIET_TIME:g} s"
#: Commands without options: name, state of the backend after success, help.
_ACTIONS = (
    ("enable", "serves", "Return NAME to service, after `drain`, `off` or `remove`."),
    ("uneject", "is not ejected", "End the ejection of NAME now, without waiting for a probe."),
)


def _action_command(action: str, state: str, description: str) -> click.Command:
    @click.command(action, help=description)
    @_name
    @_pool
    @reason_option
    @api_command
    def command(context: CliContext, name: str, pool: str | None, reason: str) -> None:
        pool_name, path = context.locate_backend(name, pool)
        done = context.api.request("POST", f"{path}/{action}", {"reason": reason})
        _print_done(context, done, f"{name} of pool {pool_name} {state}")

    return command


@dataclass(frozen=True, slots=True)
class _WaitTexts:
    """What a wait for the quiescence of a backend prints: `arrivals` as of Quiescence, `result` in the end."""

    title: str
    arrivals: str
    result: str


def _draining(context: CliContext, name: str, pool: str) -> _WaitTexts:
    is_sticky = context.api.get(f"/pools/{segment(pool)}")["sticky"]
    source = "sticky sessions still send" if is_sticky else "requests still arrive:"
    arrivals = f"{source} {{rate}} requests/s; `lbflask off {name}` moves them"
    again = f"; sticky sessions may return until `lbflask off {name}`" if is_sticky else ""
    return _WaitTexts(f"draining {name}", arrivals, f"drained: {NOTHING_LEFT}{again}")


def _switching_off(_: CliContext, name: str, __: str) -> _WaitTexts:
    arrivals = "{rate} requests/s still arrive, so not every instance applies the change (`lbflask doctor`)"
    return _WaitTexts(f"switching off {name}", arrivals, f"off: {NOTHING_LEFT}")


def _withdrawal_command(
    action: str, state: str, description: str, withdrawal: Callable[[CliContext, str, str], _WaitTexts]
) -> click.Command:
    """A command that takes a backend out of service. `state` is what it prints without --wait."""

    @click.command(action, help=description)
    @_name
    @_pool
    @_wait
    @_timeout
    @_close_after
    @reason_option
    @force_option
    @api_command
    def command(
        context: CliContext,
        name: str,
        pool: str | None,
        wait: bool,
        timeout: float | None,
        close_after: int | None,
        reason: str,
        force: bool,
    ) -> None:
        pool_name, path = context.locate_backend(name, pool)
        closing = {} if close_after is None else {"close_after": close_after}
        done = context.withdraw("POST", f"{path}/{action}", {"reason": reason, **closing}, force=force)
        if not wait:
            in_flight = 0 if done["backend"] is None else done["backend"]["in_flight"]  # it may have left meanwhile
            _print_done(context, done, f"{name} of pool {pool_name} is {state.format(in_flight=in_flight)}")
            return
        texts = withdrawal(context, name, pool_name)
        _await_quiet(context, done, path, Quiescence(texts.title, _load_of(context, path), texts.arrivals), timeout)
        context.print_line(done, f"{name} of pool {pool_name} is {texts.result}")

    return command


def _load_of(context: CliContext, path: str) -> Callable[[], Load]:
    """Reads the load of the backend at a path."""

    def load() -> Load:
        backend = context.api.get(path)
        return Load(int(backend["in_flight"]), int(backend["attempts"]))

    return load


def _await_quiet(
    context: CliContext, done: dict[str, Any], path: str, quiescence: Quiescence, timeout: float | None
) -> None:
    """Wait, and put the backend as it is then into `done`. Exits after the time-out."""
    why_not = wait_until_quiet(context, quiescence, timeout)
    if why_not:
        context.fail(TIMED_OUT, f"{quiescence.title}: not quiet after {timeout:g} s, and goes on: {why_not}")
    done["backend"] = context.api.get(path)


@click.command()
@_name
@click.argument("weight", metavar="WEIGHT|usual")
@_pool
@reason_option
@force_option
@api_command
def weight(context: CliContext, name: str, weight: str, pool: str | None, reason: str, force: bool) -> None:
    """Set the weight of NAME, 0 to 256; `usual` restores the configured weight."""
    if weight != "usual" and not (weight.isascii() and weight.isdigit() and len(weight) < 4 and int(weight) <= 256):
        raise click.BadParameter("must be a number from 0 to 256, or `usual`", param_hint="WEIGHT")
    number = None if weight == "usual" else int(weight)
    pool_name, path = context.locate_backend(name, pool)
    body = {"weight": number, "reason": reason}
    done = context.withdraw("PUT", f"{path}/weight", body, force=force)
    now = "" if done["backend"] is None else f" {done['backend']['weight']}"  # it may have left meanwhile
    _print_done(context, done, f"{name} of pool {pool_name} has weight{now}")


@click.command()
@click.argument("backend_url", metavar="URL")
@click.option("--name", help="Stable name; default: `host:port`.")
@click.option("--weight", default=1, show_default=True, type=click.IntRange(0, 256))
@click.option("--backup", is_flag=True, help="Serve only when no other backend can.")
@click.option("--pool", default="default", show_default=True, shell_complete=complete_pool)
@reason_option
@api_command
def add(
    context: CliContext, backend_url: str, name: str | None, weight: int, backup: bool, pool: str, reason: str
) -> None:
    """Add the backend at URL to a pool. It serves after its first successful check."""
    body = {"url": backend_url, "weight": weight, "backup": backup, "reason": reason} | ({"name": name} if name else {})
    done = context.api.request("POST", f"/pools/{segment(pool)}/backends", body)
    _print_done(context, done, f"{done['backend']['id']} is in pool {pool}, {done['backend']['state']}")


@click.command()
@_name
@_pool
@reason_option
@force_option
@api_command
def remove(context: CliContext, name: str, pool: str | None, reason: str, force: bool) -> None:
    """Remove NAME from its pool, also a configured one. Requests in flight finish."""
    pool_name, path = context.locate_backend(name, pool)
    done = context.withdraw("DELETE", path, {"reason": reason}, force=force)
    _print_done(context, done, f"{name} is out of pool {pool_name}")


@click.command()
@reason_option
@api_command
def reload(context: CliContext, reason: str) -> None:
    """Reload the configuration of the instance and of the checkers.

    Exit code 1 if the configuration has an error or another reload is under way; then nothing changes.
    """
    try:
        outcome = context.api.request("POST", "/reload", {"reason": reason})
    except NoListener as error:
        context.fail(UNREACHABLE, f"{error}: {error.advice}; SIGHUP to gunicorn's master reloads without one")
    in_place, late = ", ".join(outcome["in_place"]), ", ".join(outcome["by_new_workers"])
    lines = [f"configuration {outcome['config_version']}: {in_place or late or 'nothing has changed'}"]
    if late:
        lines.append(f"new workers take over because of {late}")
    lines += [f"warning: {line}" for line in outcome.get("warnings", [])]
    context.print_line(outcome, "\n".join(lines))


def _print_done(context: CliContext, done: dict[str, Any], text: str) -> None:
    context.print_line(done, text + ("" if done["changed"] else ", as before"))


#: Commands with a wait: name, state, help, what the wait prints.
_WITHDRAWALS = (
    (
        "drain",
        "draining, {in_flight} in flight",
        "Send NAME no new requests. Requests in flight and sticky sessions continue.",
        _draining,
    ),
    (
        "off",
        "off",
        "Send NAME no requests at all, not even of sticky sessions. Requests in flight finish.",
        _switching_off,
    ),
)
COMMANDS = (
    *(_withdrawal_command(*withdrawal) for withdrawal in _WITHDRAWALS),
    weight,
    add,
    remove,
    reload,
    debug,
    instance,
    ban,
    unban,
    *(_action_command(*action) for action in _ACTIONS),
)
