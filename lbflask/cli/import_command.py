"""`lbflask import`: another proxy's configuration as lbflask.toml, with a list of what is not translated."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from lbflask.cli.context import FAILED
from lbflask.config.load import ConfigError, load
from lbflask.core.printable import printable
from lbflask.importers.caddy import reader as caddy
from lbflask.importers.document import finding_lines, text_of
from lbflask.importers.haproxy import reader as haproxy
from lbflask.importers.nginx import reader as nginx
from lbflask.importers.site import FindingKind, Site, UnreadableConfiguration
from lbflask.importers.traefik import reader as traefik

_BAD_INPUT = 2
#: How the files of each proxy are read.
READERS: dict[str, Callable[[Sequence[str]], Site]] = {
    "nginx": nginx.read,
    "haproxy": haproxy.read,
    "traefik": traefik.read,
    "caddy": caddy.read,
}


@click.command("import")
@click.argument("proxy", type=click.Choice(list(READERS)))
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write to this file, not to standard output.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
def import_configuration(proxy: str, files: tuple[str, ...], output: str | None, *, force: bool) -> None:
    """Translate the configuration of another PROXY into an lbflask.toml.

    Each block names the file and line that it comes from; users with passwords are written into files beside it. What
    is not translated, what differs, and what is not needed is listed on standard error, and in comments of the result.
    Exit code 0 if all is translated, 1 if something is not, 2 if the files cannot be read.
    """
    try:
        site = READERS[proxy](files)
        text = text_of(site, shlex.join(["lbflask", "import", proxy, *files]))
    except UnreadableConfiguration as error:
        click.echo(f"lbflask: {printable(str(error))}", err=True)
        raise SystemExit(_BAD_INPUT) from None
    if output is None:
        click.echo(text, nl=False)
        for name in site.files:
            click.echo(f"lbflask: the result names {name}, which is written beside it with --output", err=True)
    else:
        _write_all(site, text, Path(output), force=force)
        _check(output)
    for line in finding_lines(site.findings):
        click.echo(line, err=True)
    if any(one.kind is FindingKind.NOT_TRANSLATED for one in site.findings):
        raise SystemExit(FAILED)


def _write_all(site: Site, text: str, output: Path, *, force: bool) -> None:
    """Write the result, and the files that it names beside it: all, or none if one of them exists."""
    files = {output.with_name(name): content for name, content in site.files.items()}
    for path in (output, *files):
        if not force and path.exists():
            click.echo(f"lbflask: {path} exists; --force overwrites it", err=True)
            sys.exit(_BAD_INPUT)
    for path, content in files.items():
        _write(content, path, mode=0o600)
    _write(text, output)


def _write(text: str, path: Path, *, mode: int = 0o666) -> None:
    """Write a file; a new one has at most these permissions."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as target:
            target.write(text)
    except OSError as error:
        click.echo(f"lbflask: {path}: {error.strerror}", err=True)
        sys.exit(_BAD_INPUT)


def _check(file: str) -> None:
    """A result that does not load here, such as one with certificates of another machine, is stated."""
    try:
        load({**os.environ, "LBFLASK_CONFIG": file})
    except ConfigError as error:
        click.echo(f"lbflask: the result does not load here: {error}", err=True)
