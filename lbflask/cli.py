"""The command `lbflask`."""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
from dataclasses import asdict
from typing import Any

import click

import lbflask
from lbflask import supervise
from lbflask.config.load import ConfigError, load
from lbflask.config.schema import Config
from lbflask.config.show import as_toml
from lbflask.config.types import socket_address


@click.group()
@click.version_option(lbflask.__version__, prog_name="lbflask")
def main() -> None:
    """An HTTP load balancer whose many processes, on many machines, balance as one."""


@main.command()
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="gunicorn workers")
def demo(workers: int) -> None:
    """Run it all on this machine: three backends on 8081-8083, the checker, the balancer on 8080. Ctrl-C ends it."""
    sys.exit(supervise.demo(workers))


@main.command()
@click.option("--admin", metavar="ADDRESS", help="the instance's admin listener; by default the configured one")
def reload(admin: str | None) -> None:
    """Have the instance on this machine read its configuration anew, and the checkers theirs.

    Ends with 0 when it is in effect, or new workers take over; with 1 when it has an error, and nothing has changed;
    with 3 when nobody could be asked.
    """
    address = _admin_bind() if admin is None else admin
    if not address:
        click.echo(
            "lbflask: there is no admin listener: send SIGHUP to gunicorn's master and to the checkers", err=True
        )
        sys.exit(3)
    try:
        status, told = ask(address, "POST", "/api/v1/reload")
    except OSError as error:
        click.echo(f"lbflask: no instance answers at {address}: {error.strerror or error}", err=True)
        sys.exit(3)
    if status not in (200, 202):
        click.echo(f"lbflask: {told.get('detail', f'the instance at {address} answered {status}')}", err=True)
        sys.exit(1 if status == 422 else 3)
    in_place, late = ", ".join(told["in_place"]), ", ".join(told["by_new_workers"])
    click.echo(f"configuration {told['config_version']}: {in_place or late or 'nothing has changed'}")
    if late:
        click.echo(f"new workers take over, for the sake of {late}")


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


def ask(address: str, method: str, path: str) -> tuple[int, dict[str, Any]]:
    """Status and document of a request to an admin listener. Raises OSError."""
    place = socket_address(address)
    if place is None:
        raise OSError("it is no address")
    connection = http.client.HTTPConnection("localhost", timeout=10)
    try:
        if isinstance(place, str):
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(10)
            connection.sock.connect(place)
        else:
            connection.host, connection.port = place
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, _document(response.read())
    except http.client.HTTPException as error:
        raise OSError(repr(error)) from None
    finally:
        connection.close()


def _document(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def _admin_bind() -> str:
    """Where the instance's admin listener is, as far as can be told: the configuration may have an error now."""
    try:
        return load().admin_bind
    except ConfigError:
        return os.environ.get("LBFLASK_ADMIN_BIND") or str(Config.model_fields["admin_bind"].default)


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
