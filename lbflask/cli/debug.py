"""The command that switches the tracing of requests: `lbflask debug on|off|status`."""

from __future__ import annotations

import re

import click

from lbflask.cli.context import CliContext, api_command
from lbflask.telemetry.debug import DEFAULT_DURATION, MAX_DURATION

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


class Duration(click.ParamType):  # type: ignore[type-arg]
    """Seconds, as in `90`, `90s`, `5m` or `1h`."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See click.ParamType."""
        parts = re.fullmatch(r"([0-9]{1,9})([smh]?)", str(value))
        seconds = int(parts[1]) * _SECONDS[parts[2]] if parts else 0
        if not 1 <= seconds <= MAX_DURATION:
            self.fail(f"{value!r} is no duration from 1s to {MAX_DURATION // 3600}h, such as 90s or 5m", param, ctx)
        return seconds


@click.command()
@click.argument("state", type=click.Choice(["on", "off", "status"]))
@click.option("--for", "seconds", type=Duration(), help=f"How long, such as 90s or 5m.  [default: {DEFAULT_DURATION}s]")
@api_command
def debug(context: CliContext, state: str, seconds: int | None) -> None:
    """Log each step of each request, at the instance that answers, with all of its workers.

    The lines are in its error log, each with the id of the request. It ends by itself, after an hour at most.
    """
    if seconds is not None and state != "on":
        raise click.BadParameter("is for `on`", param_hint="--for")
    method = {"on": "PUT", "off": "DELETE", "status": "GET"}[state]
    body = {"seconds": DEFAULT_DURATION if seconds is None else seconds} if state == "on" else None
    view = context.api.request(method, "/debug", body)
    left = view["seconds_left"]
    until = "until it is switched off" if left is None else f"for {left:.0f} s more"
    line = f"{view['instance']}: {f'on, {until}' if view['enabled'] else 'off'}"
    context.print_line(view, line)
