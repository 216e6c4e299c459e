"""nginx's `auth_basic` and `auth_request` as `auth`, and `allow` and `deny` as `access`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lbflask.importers.directives import Directive, Scope
from lbflask.importers.literals import literal
from lbflask.importers.networks import access_of
from lbflask.importers.site import Site

#: What nginx does in the phase of access, after `return` and `rewrite`.
RESTRICTIONS = ("auth", "access")
_COOKIE = "set-cookie"


def restrictions(scope: Scope, site: Site) -> dict[str, Any]:
    """`auth` and `access`."""
    rules = [(one.name == "allow", _network(one.args[0])) for one in scope.all("allow", "deny") if one.args]
    access, auth = access_of(rules), _auth(scope, site)
    return {**({"access": access} if access else {}), **({"auth": auth} if auth else {})}


def without_restrictions(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of what nginx does before the phase of access."""
    return {key: value for key, value in settings.items() if key not in RESTRICTIONS}


def granted_fields(scope: Scope) -> dict[str, str]:
    """The variables of `auth_request_set` that have a field of the service's response, with its name."""
    found: dict[str, str] = {}
    for one in scope.all("auth_request_set"):
        if len(one.args) == 2 and one.args[1].startswith("$upstream_http_"):
            found[one.args[0]] = one.args[1].removeprefix("$upstream_http_").replace("_", "-")
    return found


def is_service_cookie(scope: Scope, value: str) -> bool:
    """Whether a value is the cookie of the service, which reaches clients anyhow."""
    return granted_fields(scope).get(value) == _COOKIE


def asked_paths(block: Sequence[Directive]) -> Iterator[str]:
    """The paths that `auth_request` names, in all blocks."""
    for one in block:
        if one.name == "auth_request" and one.args and one.args[0] != "off":
            yield one.args[0]
        yield from asked_paths(one.block or ())


def _network(text: str) -> str:
    return "unix" if text.startswith("unix") else literal(text)


def _auth(scope: Scope, site: Site) -> dict[str, Any]:
    realm, file = scope.value("auth_basic", "off"), scope.last("auth_basic_user_file")
    asked = scope.last("auth_request")
    forward = _forward(asked, scope, site) if asked and asked.args[:1] not in ((), ("off",)) else {}
    if realm == "off" or file is None or not file.args:
        return forward
    if forward and asked:
        site.lose(asked.place, asked.text, "a route has one kind of auth, which is auth_basic here")
    site.differ(file.place, file.text, "each hash must be bcrypt or Argon2, as of `htpasswd -B`")
    basic = {"file": literal(file.args[0]), "realm": literal(realm), "keep_credentials": True}
    return {"basic": basic}


def _forward(one: Directive, scope: Scope, site: Site) -> dict[str, Any]:
    path = one.args[0]
    location = _location(scope, path)
    url = _url(location, path, scope) if location else None
    if url is None:
        site.lose(
            one.place, one.text, 'auth = { forward = "http://…" }: its location has no proxy_pass with an address'
        )
        return {}
    scope.ledger.use(location.block or () if location else ())
    site.differ(
        one.place, one.text, "the service gets X-Forwarded-Method, -Proto, -Host and -Uri, and no field of its own"
    )
    fields = [_shown(name) for name in granted_fields(scope).values() if name != _COOKIE]
    return {"forward": {"url": url, **({"fields": list(dict.fromkeys(fields))} if fields else {})}}


def _location(scope: Scope, path: str) -> Directive | None:
    """The location that nginx takes for the path: an exact one, else the longest prefix."""
    found = [one for block in scope.blocks for one in block if one.name == "location" and one.args]
    for one in found:
        if one.args == ("=", path):
            return one
    prefixes = [one for one in found if one.args[-1].startswith("/") and path.startswith(one.args[-1])]
    return max(prefixes, key=lambda one: len(one.args[-1]), default=None)


def _url(location: Directive, path: str, scope: Scope) -> str | None:
    """The URL that the service has for the path."""
    passes = [one.args[0] for one in location.named("proxy_pass") if one.args]
    found = re.fullmatch(r"(https?)://([^/$:]+|\[[^\]]+\])(:\d+)?(/[^$?]*)?", passes[-1]) if passes else None
    if found is None or found[2] == "unix":
        return None
    scheme, host, port, uri = found.groups()
    target = path if uri is None else uri + path[len(location.args[-1]) :]
    for one in scope.blocks[0]:
        if one.name == "upstream" and one.args == (host,):
            servers = [server.args[0] for server in one.named("server") if server.args]
            if not servers or servers[0].startswith("unix:"):
                return None
            host, port = servers[0], ""
    return literal(f"{scheme}://{host}{port or ''}{target}")


def _shown(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))
