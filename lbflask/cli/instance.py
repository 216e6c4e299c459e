"""The commands on instances: `lbflask instance drain|undrain|status`."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from lbflask.cli import render
from lbflask.cli.context import NOT_FOUND, TIMED_OUT, USAGE, CliContext, api_command, complete, reason_option
from lbflask.cli.duration import Duration
from lbflask.cli.quiescence import QUIET_TIME, Load, Quiescence, wait_until_quiet
from lbflask.core.instance_drain import DEFAULT_DURATION, MAX_DURATION

_DAY = 86_400


def complete_instance(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of instances for shell completion; none if the API is unreachable."""
    names = [one["name"] for one in complete(context, "/instances", "instances")]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


_host = click.argument("host", shell_complete=complete_instance)


@click.group()
def instance() -> None:
    """Drain instances of the balancer, so that balancers in front of them send requests elsewhere."""


@instance.command("drain")
@_host
@click.option(
    "--for", "seconds", type=Duration(MAX_DURATION),
    help=f"How long at most, such as 30m or 2h.  [default: {DEFAULT_DURATION // _DAY}d]",
)  # fmt: skip
@click.option("--wait", is_flag=True, help="Return when no request is in flight at it and none comes any more.")
@click.option("--timeout", type=click.FloatRange(0.1), help="Maximum seconds to wait; then the exit code is 6.")
@reason_option
@api_command
def drain_instance(
    context: CliContext, host: str, seconds: int | None, wait: bool, timeout: float | None, reason: str
) -> None:
    """Let `/health` of an instance respond 503, in all of its workers, while it serves.

    HOST is its name in `lbflask status`, or its host if that has one instance. A restart does not end it.
    """
    name = locate(context, host)
    body = {"instance": name, "seconds": DEFAULT_DURATION if seconds is None else seconds, "reason": reason}
    done = context.api.request("POST", "/instances/drain", body)
    if not wait:
        line = f"{name} {render.drain_text(done['instance'])}; it serves, and its /health responds 503"
        context.print_line(done, line)
        return
    arrivals = "{rate} requests/s still arrive: the balancer in front has not taken it out"
    quiescence = Quiescence(f"draining {name}", lambda: _load(_find(context, name)), arrivals)
    why_not = wait_until_quiet(context, quiescence, timeout)
    if why_not:
        context.fail(TIMED_OUT, f"{quiescence.title}: not quiet after {timeout:g} s, and goes on: {why_not}")
    done["instance"] = _find(context, name)
    context.print_line(done, f"{name} is drained: nothing is in flight, and no request came for {QUIET_TIME:g} s")


@instance.command("undrain")
@_host
@reason_option
@api_command
def undrain_instance(context: CliContext, host: str, reason: str) -> None:
    """End the drain of an instance."""
    name = locate(context, host)
    done = context.api.request("POST", "/instances/undrain", {"instance": name, "reason": reason})
    context.print_line(done, f"{name} is not drained" + ("" if done["changed"] else ", as before"))


@instance.command("status")
@click.argument("host", required=False, shell_complete=complete_instance)
@api_command
def instance_status(context: CliContext, host: str | None) -> None:
    """Show the instances, or one, and which of them are drained."""
    found = context.api.get("/instances")["instances"]
    if host is not None:
        name = _named(context, found, host)
        found = [one for one in found if one["name"] == name]
    context.print_result({"instances": found}, render.instances(found))


def _find(context: CliContext, name: str) -> dict[str, Any] | None:
    """The instance with this name; None if it does not run and is not drained any more."""
    found = context.api.get("/instances")["instances"]
    return next((one for one in found if one["name"] == name), None)


def _load(found: dict[str, Any] | None) -> Load:
    """The load of all workers of an instance."""
    workers = () if found is None else found["workers"]
    return Load(sum(worker["in_flight"] or 0 for worker in workers), sum(worker["attempts"] for worker in workers))


def locate(context: CliContext, host: str) -> str:
    return _named(context, context.api.get("/instances")["instances"], host)


def _named(context: CliContext, found: list[dict[str, Any]], host: str) -> str:
    """The name of the instance with this name or host. Exits if there is none or several."""
    names = [one["name"] for one in found if one["name"] == host] or [
        one["name"] for one in found if one["host"] == host
    ]
    if not names:
        context.fail(NOT_FOUND, f"no instance {host!r}; there are: {', '.join(one['name'] for one in found)}")
    if len(names) > 1:
        context.fail(USAGE, f"{host!r} has the instances {', '.join(names)}: give one of them")
    return str(names[0])
