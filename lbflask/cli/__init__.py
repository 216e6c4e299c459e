"""The command `lbflask`."""

from __future__ import annotations

import json
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

import lbflask
from lbflask import processes
from lbflask.build import build
from lbflask.cli import https_site, inspect, operate
from lbflask.cli import live as live_check
from lbflask.cli.config_diff import diff
from lbflask.cli.context import CliContext, api_command
from lbflask.cli.import_command import import_configuration
from lbflask.cli.render import explanation_lines
from lbflask.config import template
from lbflask.config.load import DEFAULT_FILE, ConfigError, load, sources
from lbflask.config.render import effective, explained, explained_text, toml_of
from lbflask.config.schema import Config
from lbflask.demo import run
from lbflask.server import companion
from lbflask.startup_failure import refuse
from lbflask.telemetry.standard_streams import open_standard_streams

_running = click.option(
    "--running", is_flag=True, help="Use the configuration of a running instance, not the one here."
)


@click.group()
@click.version_option(lbflask.__version__, prog_name="lbflask", message=f"%(prog)s, version %(version)s ({build()})")
def main() -> None:
    """An HTTP load balancer whose processes on many machines balance as one."""
    open_standard_streams()


@main.command()
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="gunicorn workers")
def demo(workers: int) -> None:
    """Run a demo on this machine: three backends on 8081-8083, the checker, the balancer on 8080. Ctrl-C ends it."""
    sys.exit(run.demo(workers))


@main.command(context_settings={"ignore_unknown_options": True})
@click.option("--config", "file", type=click.Path(), help="File with the settings, as LBFLASK_CONFIG.")
@click.option("--with-checker", is_flag=True, help="Run the checker, too: it ends with the balancer.")
@click.option("--domain", "domains", multiple=True, metavar="NAME", help="Serve this name by https; may be repeated.")
@click.option("--backend", "backends", multiple=True, metavar="URL", help="With --domain, a backend; may be repeated.")
@click.option("--http-port", default=80, show_default=True, type=click.IntRange(1, 65_535), help="With --domain.")
@click.option("--https-port", default=443, show_default=True, type=click.IntRange(1, 65_535), help="With --domain.")
@click.argument("gunicorn_options", nargs=-1, type=click.UNPROCESSED)
def serve(
    file: str | None,
    domains: tuple[str, ...],
    backends: tuple[str, ...],
    http_port: int,
    https_port: int,
    gunicorn_options: tuple[str, ...],
    *,
    with_checker: bool,
) -> None:
    """Run the balancer: gunicorn with lbflask's settings, from any directory.

    All other options are gunicorn's, such as `--workers 4`; those that have the name of one here follow after `--`.
    Exit codes are gunicorn's: 4 for an error in the configuration.

    With --domain no file is needed: the first port redirects to the second one, whose certificates come from Let's
    Encrypt and are renewed, and the checker runs too. This agrees to the terms of Let's Encrypt.

    This process becomes gunicorn, so that each of its signals works. With --with-checker a second process runs the
    checker, and restarts it, until the balancer has ended.
    """
    for option, value in pairwise(("", *gunicorn_options)):
        if value.endswith(".toml"):  # no option of gunicorn has such a value
            why = f"{option} is gunicorn's here, for a file in Python; " if option in ("-c", "--config") else ""
            raise click.UsageError(f"{why}write --config {value}")
    if domains or backends:
        if file is not None or not (domains and backends):
            raise click.UsageError("--domain and --backend belong together, and replace --config")
        try:
            file = str(https_site.write(https_site.text(domains, backends, http_port, https_port)))
        except ConfigError as error:
            refuse(error)
        with_checker = True
    if file is not None:
        os.environ["LBFLASK_CONFIG"] = str(Path(file).absolute())  # gunicorn may change the directory
    if with_checker:
        try:
            load(os.environ)
        except ConfigError as error:
            refuse(error)  # one line, instead of one from each process
        companion.start(processes.CHECKER)
    command = processes.balancer(gunicorn_options)
    os.execv(command[0], command)  # noqa: S606 - our own


@main.command()
@click.argument("file", default=DEFAULT_FILE, type=click.Path())
@click.option("--force", is_flag=True, help="Overwrite the file.")
def init(file: str, *, force: bool) -> None:
    """Write a configuration with every setting to FILE (default: lbflask.toml), with its meaning and its default."""
    try:
        with Path(file).open("w" if force else "x", encoding="utf-8") as target:
            target.write(template.text())
    except FileExistsError:
        sys.exit(f"lbflask: {file} exists; --force overwrites it")
    except OSError as error:
        sys.exit(f"lbflask: {file}: {error.strerror}")
    click.echo(f"{file} is written: enter your backends there, then run `lbflask serve --with-checker`")


@main.command()
@click.option("--timeout", default=2.0, show_default=True, type=click.FloatRange(0, min_open=True), help="in seconds")
def live(timeout: float) -> None:
    """Exit with 0 if the balancer of this configuration serves on this machine, whatever its backends; else with 1.

    For health checks of containers. It requests `live_path` at the first address of `bind`, over TLS where configured.
    """
    failure = live_check.failure(_load(None), timeout)
    if failure:
        sys.exit(f"lbflask: {failure}")


@main.group()
def config() -> None:
    """Check and show the configuration."""


@config.command()
@click.argument("file", required=False, type=click.Path())
@click.option("--checker", is_flag=True, help="Check only what the checker uses: no listeners, no access log.")
def check(file: str | None, *, checker: bool) -> None:
    """Check FILE (default: the one in effect) together with the environment.

    Files, hooks and libraries that it names are opened and loaded, with the rights of the current user.
    """
    from lbflask.wiring import preflight  # noqa: PLC0415 - loads what the configuration names

    sys.path.insert(0, str(Path.cwd()))  # as under gunicorn, so that hooks are importable
    environ = _environ(file)
    config = _load(file)
    try:
        if checker:
            preflight.check_for_checker(config, environ)
        else:
            preflight.check_unix_sockets(config, environ)
            preflight.check(config, environ)
        for doubt in (*preflight.check_discovery(config, environ), *preflight.check_expiries(config, environ)):
            click.echo(f"lbflask: warning: {doubt}", err=True)
    except ConfigError as error:
        sys.exit(f"lbflask: {error}")
    click.echo("the configuration is valid")


@config.command()
@click.argument("file", required=False, type=click.Path())
@_running
@click.option(
    "--explain",
    "with_origins",
    is_flag=True,
    help="Print what is in effect for each pool, route and listener, each setting with the table that sets it.",
)
@api_command
def show(context: CliContext, file: str | None, running: bool, with_origins: bool) -> None:
    """Print every setting as TOML; secrets are masked.

    They are those of a process started here: from FILE (default: LBFLASK_CONFIG, or lbflask.toml here) and the
    environment of this command. With --running, they are those of a running instance.
    """
    if running and file is not None:
        raise click.UsageError(
            "--running shows the settings of an instance, which has its own file: give FILE or --running"
        )
    result: dict[str, Any] = {}
    if running:
        result = context.api.get("/config/origins" if with_origins else "/config")
        source = f"in effect at {result['instance']}, by {context.api.url}"
    else:
        _reject_api_options()
        source = _local_source(file)
    if with_origins:
        document = result["explanations"] if running else explained(_load(file))
        click.echo(json.dumps(document, ensure_ascii=False) if context.as_json else explained_text(document).rstrip())
        click.echo(source, err=True)
        return
    settings = result["settings"] if running else effective(_load(file))
    if context.as_json:
        click.echo(json.dumps(settings, ensure_ascii=False))
        click.echo(source, err=True)
    else:
        click.echo(f"# {source}\n{toml_of(settings)}", nl=False)


@main.command()
@click.argument("method")
@click.argument("url")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="a header field; may be repeated")
@click.option("--client", default="127.0.0.1", show_default=True, metavar="IP", help="address of the client")
@click.option("--listener", default="", metavar="NAME", help="name or address of the listener; else by the scheme")
@_running
@api_command
def explain(
    context: CliContext, method: str, url: str, headers: tuple[str, ...], client: str, listener: str, running: bool
) -> None:
    """Print where a request would go, and why: route, pool, candidates, excluded backends, and the order of attempts.

    URL is absolute or begins with its path. Nothing is sent and no ticket is used. The configuration is the one of
    this directory and environment, or with --running that of an instance.
    """
    from lbflask.control.explain import document, parse_query  # noqa: PLC0415 - other commands need no store
    from lbflask.wiring.explain import explained  # noqa: PLC0415

    try:
        query = parse_query(method, url, headers, client, listener)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if running:
        body = {"method": method, "url": url, "headers": list(headers), "client": client, "listener": listener}
        result = context.api.request("POST", "/explain", body)
        source = f"by the configuration in effect at {context.api.url}"
    else:
        _reject_api_options()
        try:
            result, source = document(*explained(_load(None), query)), _local_source(None)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    context.print_line(result, "\n".join(explanation_lines(query, result)))
    if result["store_error"]:
        known = "health is the last known one" if running else "the health of backends and the bans are unknown"
        click.echo(f"the store is unreachable, so {known}: {result['store_error']}", err=True)
    click.echo(source, err=True)


def _reject_api_options() -> None:
    """Raises UsageError for options that need --running."""
    context = click.get_current_context()
    for name, option in (("api_url", "--url"), ("token_file", "--token-file")):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option} needs --running: without it the command uses no instance")


def _local_source(file: str | None) -> str:
    return f"by {sources(_environ(file))}, read by this command; a running instance may differ: --running"


def _environ(file: str | None) -> dict[str, str]:
    return {**os.environ, **({} if file is None else {"LBFLASK_CONFIG": file})}


def _load(file: str | None) -> Config:
    try:
        return load(_environ(file))
    except ConfigError as error:
        sys.exit(f"lbflask: {error}")


config.add_command(diff)
main.add_command(import_configuration)
for command in (*inspect.COMMANDS, *operate.COMMANDS):
    main.add_command(command)
