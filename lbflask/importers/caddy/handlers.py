"""Caddy's directives as actions and settings of routes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lbflask.importers.caddy.proxies import proxy_of
from lbflask.importers.caddy.values import field_value, redirect_target
from lbflask.importers.directives import Directive
from lbflask.importers.literals import bytes_of, number_of
from lbflask.importers.passwords import basic_auth
from lbflask.importers.precedence import escaped
from lbflask.importers.site import Site, merged

Found = tuple[dict[str, Any], dict[str, Any]]
#: The highest levels that lbflask has.
_LEVELS: Mapping[str, int] = {"zstd": 6, "br": 5, "gzip": 9}
_CODES = {"permanent": 301, "temporary": 302}


def response_of(one: Directive, args: Sequence[str], site: Site) -> Found:
    """`respond`, `error`, `abort`."""
    if one.name == "abort":
        site.differ(one.place, one.text, "a 403, not a closed connection")
        return {"respond": {"status": 403}}, {}
    codes = [arg for arg in args if re.fullmatch(r"[1-5]\d\d", arg)]
    texts = [arg for arg in args if arg not in codes]
    for inner in one.block or ():
        texts += [inner.args[0]] if inner.name == "body" and inner.args else []
    status = number_of(codes[-1]) if codes else 500 if one.name == "error" else 200
    body = field_value(texts[0]) if texts else ""
    if body is None:
        site.lose(one.place, one.text, "a placeholder without an equal (docs/variables.md)")
    return {"respond": {"status": status, **({"body": body} if body and status not in (204, 304) else {})}}, {}


def redirect_of(one: Directive, args: Sequence[str], site: Site) -> Found | None:
    """`redir TO CODE`."""
    code = args[1] if len(args) > 1 else "302"
    status = _CODES.get(code, number_of(code))
    to = redirect_target(args[0]) if args else None
    if to is None or status not in (301, 302, 303, 307, 308):
        site.lose(one.place, one.text, "redirect.to is a URL or a path with variables (docs/variables.md)")
        return None
    return {"redirect": {"to": to, "status": status}}, {}


def files_of(one: Directive, args: Sequence[str], site: Site, root: str, fallback: str) -> Found:
    """`file_server`."""
    files: dict[str, Any] = {"root": root or "."}
    if "browse" in args:
        site.lose(one.place, one.text, "lists of files are not here: in the application")
    for inner in one.block or ():
        if inner.name == "root" and inner.args:
            files["root"] = inner.args[0]
        elif inner.name == "index":
            files["index"] = list(inner.args)
        elif inner.name in ("precompressed", "pass_thru", "hide"):
            site.skip(
                inner.place, inner.text, "files are compressed in advance by default; names with a dot are hidden"
            )
        else:
            site.lose(inner.place, inner.text, "not known in file_server")
    return {"files": {**files, **({"fallback": fallback} if fallback else {})}}, {}


def forwarding_of(one: Directive, args: Sequence[str], site: Site) -> Found:
    """`reverse_proxy`."""
    pool, settings = proxy_of(one, args, site)
    return ({"pool": pool} if pool else {"respond": {"status": 503}}), settings


def headers_of(one: Directive, args: Sequence[str], site: Site, table: str) -> dict[str, Any]:
    """`header`, `request_header`: settings."""
    lines = [(args[0], args[1:])] if args else []
    lines += [(inner.name, inner.args) for inner in one.block or ()]
    found: dict[str, Any] = {}
    for name, values in lines:
        if name == "defer":
            continue
        text = field_value(values[0]) if values else ""
        if len(values) > 1 or text is None:
            site.lose(one.place, f"{one.name} {name}", "a placeholder without an equal, or a replacement")
        elif name.startswith("-"):
            found = merged(found, {"remove": [*found.get("remove", ()), name[1:]]})
        else:
            key = {"+": "add", "?": "default"}.get(name[:1], "set")
            found = merged(found, {key: {name.lstrip("+?>"): text}})
    return {table: found} if found else {}


def rewrite_of(one: Directive, args: Sequence[str], match: Mapping[str, Any], site: Site) -> dict[str, Any]:
    """`uri`, `rewrite`: what belongs to the action."""
    if one.name == "uri" and args[:1] == ("strip_prefix",) and len(args) == 2:
        prefix = "/" + args[1].strip("/")
        if match.get("path") == [prefix]:
            return {"strip_prefix": True}
        return {"rewrite": {"regex": f"^{escaped(prefix)}/?(.*)$", "to": "/{1}"}}
    is_expression = one.name == "uri" and args[:1] == ("path_regexp",) and len(args) == 3 and args[1].startswith("^")
    if is_expression and args[2].startswith("/") and not re.search(r"\$\{?\d", args[2]):
        return {"rewrite": {"regex": f"{args[1]}(.*)$", "to": args[2] + "{1}"}}
    if one.name == "rewrite" and len(args) == 1 and args[0].startswith("/"):
        prefix, _, rest = args[0].partition("{")
        if rest in ("uri}", "path}"):
            return {"rewrite": {"regex": "^(/.*)$", "to": prefix.rstrip("/") + "{1}"}}
        if not rest and "?" not in prefix:
            return {"rewrite": {"regex": "^.*$", "to": prefix}}
    site.lose(one.place, one.text, "rewrite = { regex = …, to = … } of a route")
    return {}


def limits_of(one: Directive, site: Site) -> dict[str, Any]:
    """`request_body`."""
    for inner in one.block or ():
        size = bytes_of(inner.args[0], decimal=True) if inner.name == "max_size" and inner.args else None
        if size is not None:
            return {"limits": {"body": size}}
        site.lose(inner.place, inner.text, "not known in request_body")
    return {}


def basic_of(one: Directive, args: Sequence[str], site: Site) -> dict[str, Any]:
    """`basic_auth`: its users are in a file here."""
    users = {inner.name: (inner.place, inner.args[0] if inner.args else "") for inner in one.block or ()}
    return {"auth": basic_auth("users", users, site, args[1] if len(args) > 1 else "restricted")}


def compression_of(one: Directive, args: Sequence[str], site: Site) -> dict[str, Any]:
    """`encode`."""
    found: dict[str, Any] = {"encodings": list(args), "min_length": 512}
    for inner in one.block or ():
        value = inner.args[0] if inner.args else ""
        if inner.name in _LEVELS:
            found["encodings"].append(inner.name)
            if level := number_of(value):
                found[f"{inner.name}_level"] = min(level, _LEVELS[inner.name])
        elif inner.name == "minimum_length" and number_of(value):
            found["min_length"] = number_of(value)
        elif inner.name == "match" and inner.args[:1] == ("header",) and inner.args[1:2] == ("Content-Type",):
            found["types"] = [text.partition(";")[0].rstrip("*") + "*" * ("*" in text) for text in inner.args[2:]]
        else:
            site.lose(inner.place, f"encode {inner.text}", "docs/how-to/compression.md has the settings")
    found["encodings"] = [name for name in dict.fromkeys(found["encodings"]) if name in _LEVELS] or ["zstd", "gzip"]
    return {"compression": found}


def forward_of(one: Directive, args: Sequence[str], site: Site) -> dict[str, Any]:
    """`forward_auth ADDRESS`."""
    address = args[0] if args else ""
    url = address if "://" in address else f"http://{address}"
    found: dict[str, Any] = {}
    for inner in one.block or ():
        if inner.name == "uri" and inner.args:
            url += inner.args[0]
        elif inner.name == "copy_headers":
            names = [*inner.args, *(field.name for field in inner.block or ())]
            if any(">" in name for name in names):
                site.lose(inner.place, inner.text, "fields keep their names")
            found["fields"] = [name for name in names if ">" not in name]
        else:
            site.lose(inner.place, inner.text, "the service gets the fields that docs/how-to/authentication.md lists")
    return {"auth": {"forward": {"url": url, **found}}}
