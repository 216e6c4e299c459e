"""The commands on bans: `lbflask ban`, `lbflask unban`, `lbflask bans`."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from lbflask.cli import render
from lbflask.cli.context import CliContext, api_command, complete, reason_option
from lbflask.cli.duration import Duration
from lbflask.core.bans import DEFAULT_DURATION, MAX_DURATION, banned_network


def _complete_ban(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    networks = [one["network"] for one in complete(context, "/bans", "bans")]
    return [CompletionItem(network) for network in networks if network.startswith(incomplete)]


def _network(_: click.Context, __: click.Parameter, text: str) -> str:
    try:
        return banned_network(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("network", metavar="ADDRESS|NETWORK", callback=_network)
@click.option(
    "--for", "seconds", type=Duration(MAX_DURATION),
    help=f"How long, such as 30m or 2d.  [default: {DEFAULT_DURATION // 3600}h]",
)  # fmt: skip
@reason_option
@api_command
def ban(context: CliContext, network: str, seconds: int | None, reason: str) -> None:
    """Refuse the requests of an address or a network, at all instances. They get 403."""
    body = {"network": network, "seconds": DEFAULT_DURATION if seconds is None else seconds, "reason": reason}
    done = context.api.request("POST", "/bans", body)
    context.print_line(done, f"{network} is banned until {render.time_text(done['until'])}")


@click.command()
@click.argument("network", metavar="ADDRESS|NETWORK", callback=_network, shell_complete=_complete_ban)
@reason_option
@api_command
def unban(context: CliContext, network: str, reason: str) -> None:
    """End the ban of an address or a network, as `lbflask bans` shows it."""
    done = context.api.request("POST", "/bans/end", {"network": network, "reason": reason})
    context.print_line(done, f"{network} is not banned" + ("" if done["changed"] else ", as before"))


@click.command()
@api_command
def bans(context: CliContext) -> None:
    """List the banned addresses and networks, the latest first."""
    found = context.api.get("/bans")
    context.print_result(found, render.bans(found["bans"]))
