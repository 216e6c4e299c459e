"""The command `lbflask`."""

from __future__ import annotations

import os
import sys

import click

import lbflask
from lbflask import supervise
from lbflask.config.load import ConfigError, load
from lbflask.config.schema import Config
from lbflask.config.show import as_toml


@click.group()
@click.version_option(lbflask.__version__, prog_name="lbflask")
def main() -> None:
    """An HTTP load balancer whose many processes, on many machines, balance as one."""


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
def check(file: str | None) -> None:
    """Say whether FILE (default: the one in effect), with the environment over it, is a valid configuration."""
    _load(file)
    click.echo("the configuration is valid")


@config.command()
@click.argument("file", required=False, type=click.Path())
def show(file: str | None) -> None:
    """Print what is in effect, as TOML; passwords are masked."""
    click.echo(as_toml(_load(file)), nl=False)


def _load(file: str | None) -> Config:
    environ = dict(os.environ)
    if file is not None:
        environ["LBFLASK_CONFIG"] = file
    try:
        return load(environ)
    except ConfigError as error:
        sys.exit(f"lbflask: {error}")


if __name__ == "__main__":
    main()
