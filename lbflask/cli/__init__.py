"""The command `lbflask`."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import click

import lbflask
from lbflask import supervise
from lbflask.cli import acting, looking
from lbflask.config.load import ConfigError, load
from lbflask.config.schema import Config
from lbflask.config.show import as_toml
from lbflask.telemetry.streams import open_standard_streams


@click.group()
@click.version_option(lbflask.__version__, prog_name="lbflask")
def main() -> None:
    """An HTTP load balancer whose many processes, on many machines, balance as one."""
    open_standard_streams()


@main.command()
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="gunicorn workers")
def demo(workers: int) -> None:
    """Run it all on this machine: three backends on 8081-8083, the checker, the balancer on 8080. Ctrl-C ends it."""
    sys.exit(supervise.demo(workers))


@main.group()
def config() -> None:
    """Look at the configuration."""


@config.command()
@click.argument("file", required=False, type=click.Path())
@click.option("--checker", is_flag=True, help="Judge what the checker uses: neither listeners nor the access log.")
def check(file: str | None, *, checker: bool) -> None:
    """Say whether FILE (default: the one in effect), with the environment over it, is a valid configuration.

    Files, hooks and libraries that it names are tried here and now, with the rights of whoever runs this.
    """
    from lbflask.wiring import preflight  # noqa: PLC0415 - loads what the configuration names

    sys.path.insert(0, str(Path.cwd()))  # as gunicorn has it, where hooks are found
    environ = _environ(file)
    config = _load(file)
    try:
        if checker:
            preflight.check_for_checker(config, environ)
        else:
            preflight.check_sockets(config, environ)
            preflight.check(config, environ)
    except ConfigError as error:
        sys.exit(f"lbflask: {error}")
    click.echo("the configuration is valid")


@config.command()
@click.argument("file", required=False, type=click.Path())
def show(file: str | None) -> None:
    """Print what is in effect, as TOML; passwords are masked."""
    click.echo(as_toml(_load(file)), nl=False)


@main.command()
@click.argument("method")
@click.argument("url")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="a header field; may be repeated")
@click.option("--client", default="127.0.0.1", show_default=True, metavar="IP", help="where the request comes from")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def explain(method: str, url: str, headers: tuple[str, ...], client: str, as_json: bool) -> None:
    """Say where a request would go, and why: route, pool, candidates, who is left out, and the order of attempts.

    URL is whole, or begins with its path. Nothing is sent, and no turn is taken.
    """
    from lbflask.control.explanation import asked_of, lines  # noqa: PLC0415 - the other commands need no store
    from lbflask.wiring.explaining import explained  # noqa: PLC0415

    config = _load(None)
    try:
        asked = asked_of(method, url, headers, client)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    explanation, unknown = explained(config, asked)
    if as_json:
        click.echo(json.dumps({**asdict(explanation), "store_error": unknown or None}, indent=2))
        return
    for line in lines(asked, explanation):
        click.echo(line)
    if unknown:
        click.echo(f"the store does not answer, so nothing is known of the backends' health: {unknown}", err=True)


def _environ(file: str | None) -> dict[str, str]:
    environ = dict(os.environ)
    if file is not None:
        environ["LBFLASK_CONFIG"] = file
    return environ


def _load(file: str | None) -> Config:
    try:
        return load(_environ(file))
    except ConfigError as error:
        sys.exit(f"lbflask: {error}")


for command in (*looking.COMMANDS, *acting.COMMANDS):
    main.add_command(command)
