"""The command that switches the tracing of requests: `lbflask debug on|off|status`."""

from __future__ import annotations

import click

from lbflask.cli.context import CliContext, api_command, reason_option
from lbflask.cli.duration import Duration
from lbflask.telemetry.debug import DEFAULT_DURATION, MAX_DURATION


@click.command()
@click.argument("state", type=click.Choice(["on", "off", "status"]))
@click.option(
    "--for",
    "seconds",
    type=Duration(MAX_DURATION),
    help=f"How long, such as 90s or 5m.  [default: {DEFAULT_DURATION}s]",
)
@reason_option
@api_command
def debug(context: CliContext, state: str, seconds: int | None, reason: str) -> None:
    """Log each step of each request, at the instance that answers, with all of its workers.

    The lines are in its error log, each with the id of the request. It ends by itself, after an hour at most.
    """
    if seconds is not None and state != "on":
        raise click.BadParameter("is for `on`", param_hint="--for")
    method = {"on": "PUT", "off": "DELETE", "status": "GET"}[state]
    if reason and state == "status":
        raise click.BadParameter("is for `on` and `off`", param_hint="--reason")
    duration = {"seconds": DEFAULT_DURATION if seconds is None else seconds} if state == "on" else {}
    body = None if state == "status" else {**duration, "reason": reason}
    view = context.api.request(method, "/debug", body)
    left = view["seconds_left"]
    until = "until it is switched off" if left is None else f"for {left:.0f} s more"
    line = f"{view['instance']}: {f'on, {until}' if view['enabled'] else 'off'}"
    context.print_line(view, line)
