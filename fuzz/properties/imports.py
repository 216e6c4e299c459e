"""Imports of other proxies' configurations: one line as an error, or a result that is TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence

from fuzz.properties.files import written
from lbflask.importers.caddy import reader as caddy
from lbflask.importers.document import finding_lines, text_of
from lbflask.importers.haproxy import reader as haproxy
from lbflask.importers.nginx import reader as nginx
from lbflask.importers.site import Site, UnreadableConfiguration
from lbflask.importers.traefik import reader as traefik


def imported_files(read: Callable[[Sequence[str]], Site], files: Sequence[str]) -> None:
    try:
        site = read(files)
    except UnreadableConfiguration as error:
        assert "\n" not in str(error)
        return
    tomllib.loads(text_of(site, "lbflask import"))
    assert all(line.isprintable() for line in finding_lines(site.findings))


def _imported(read: Callable[[Sequence[str]], Site], text: str, name: str) -> None:
    imported_files(read, [str(written(text.encode("utf-8", "replace"), name))])


def imported_nginx(text: str) -> None:
    if "include" not in text:  # which would open any file
        _imported(nginx.read, text, "nginx.conf")


def imported_haproxy(text: str) -> None:
    _imported(haproxy.read, text, "haproxy.cfg")


def imported_caddy(text: str) -> None:
    if "import" not in text:  # which would open any file
        _imported(caddy.read, text, "Caddyfile")


def imported_traefik(text: str) -> None:
    _imported(traefik.read, text, "dynamic.yaml")
