"""The commands on instances: `lbflask instance drain|undrain|status`."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from lbflask.cli import render
from lbflask.cli.context import NOT_FOUND, USAGE, CliContext, api_command, complete
from lbflask.cli.duration import Duration
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
@api_command
def drain_instance(context: CliContext, host: str, seconds: int | None) -> None:
    """Let `/health` of an instance respond 503, in all of its workers, while it serves.

    HOST is its name in `lbflask status`, or its host if that has one instance. A restart does not end it.
    """
    name = _locate(context, host)
    body = {"instance": name, "seconds": DEFAULT_DURATION if seconds is None else seconds}
    done = context.api.request("POST", "/instances/drain", body)
    context.print_line(done, f"{name} {render.drain_text(done['instance'])}; it serves, and its /health responds 503")


@instance.command("undrain")
@_host
@api_command
def undrain_instance(context: CliContext, host: str) -> None:
    """End the drain of an instance."""
    name = _locate(context, host)
    done = context.api.request("POST", "/instances/undrain", {"instance": name})
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


def _locate(context: CliContext, host: str) -> str:
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
