"""The settings of a route that nginx's directives give: header fields, times, limits, buffers, pages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from lbflask.importers.directives import Directive, Scope
from lbflask.importers.literals import bytes_of, literal, number_of, seconds_of
from lbflask.importers.nginx.authentication import granted_fields, is_service_cookie, restrictions
from lbflask.importers.nginx.variables import field_value
from lbflask.importers.site import Site, merged

#: Fields that lbflask sets for backends itself, with the values that mean the same.
_AUTOMATIC: Mapping[str, frozenset[str]] = {
    "x-real-ip": frozenset({"$remote_addr", "$realip_remote_addr", "$proxy_protocol_addr"}),
    "x-forwarded-for": frozenset({"$proxy_add_x_forwarded_for", "$remote_addr", "$proxy_protocol_addr"}),
    "x-forwarded-proto": frozenset({"$scheme", "$http_x_forwarded_proto", "$x_forwarded_proto"}),
    "x-forwarded-host": frozenset({"$host", "$http_host", "$host:$server_port"}),
    "x-forwarded-port": frozenset({"$server_port"}),
}
#: Fields of one connection, which no setting changes: WebSockets work without.
_OF_CONNECTION = frozenset(
    {"connection", "upgrade", "keep-alive", "te", "transfer-encoding", "content-length", "http2-settings"}
)
_CERTIFICATES = frozenset({"$ssl_client_cert", "$ssl_client_raw_cert", "$ssl_client_escaped_cert"})
_NGINX_BODY = "1m"
_BUFFER = "1MiB"


def forwarding_settings(scope: Scope, site: Site, constants: Mapping[str, str], proxy: str) -> dict[str, Any]:
    """The settings of a route to a backend. `proxy` is what nginx sends as Host unless a directive sets it."""
    return merged(
        _request_headers(scope, site, constants, proxy),
        _times(scope, site),
        _limits(scope, site),
        _buffers(scope),
        _retries(scope, site),
    )


def common_settings(scope: Scope, site: Site, constants: Mapping[str, str]) -> dict[str, Any]:
    """The settings that all routes have."""
    return merged(
        _response_headers(scope, site, constants),
        _error_pages(scope, site),
        restrictions(scope, site),
        _compression(scope),
        _client_certificate(scope),
    )


def _request_headers(scope: Scope, site: Site, constants: Mapping[str, str], proxy: str) -> dict[str, Any]:
    edits: dict[str, Any] = {}
    host: dict[str, Any] = {}
    granted = granted_fields(scope)
    for one in scope.all("proxy_set_header"):
        if len(one.args) != 2:
            continue
        name, value = one.args
        low = name.lower()
        if low == "host":
            host = _host(one, site, constants, proxy)
        elif low in _OF_CONNECTION:
            site.skip(one.place, f"proxy_set_header {name}", "belongs to a connection; WebSockets work without it")
        elif value in _AUTOMATIC.get(low, ()):
            site.skip(one.place, f"proxy_set_header {name}", "is always set (docs/forwarding.md)")
        elif not value:
            edits.setdefault("remove", []).append(name)
        elif value in granted or value in _CERTIFICATES:
            _list_known(one, granted, site)
        elif (text := field_value(value, constants)) is None:
            site.lose(one.place, one.text, "a variable without an equal (docs/variables.md); a hook can set the field")
        else:
            edits.setdefault("set", {})[name] = text
    host = host or _default_host(proxy)
    for one in scope.all("proxy_hide_header", "proxy_pass_header"):
        if one.name == "proxy_pass_header":
            site.skip(one.place, one.text, "fields of backends pass")
    return {**host, **({"request_headers": edits} if edits else {})}


def _list_known(one: Directive, granted: Mapping[str, str], site: Site) -> None:
    """Fields that backends get anyhow, under these names or under others."""
    name, value = one.args
    if value in _CERTIFICATES:
        site.lose(one.place, one.text, "backends get Client-Cert and Client-Cert-Chain (RFC 9440)")
    elif granted[value].lower() == name.lower():
        site.skip(one.place, one.text, "the service's field reaches backends: auth.forward.fields")
    else:
        site.lose(one.place, one.text, f"fields of the service keep their names: backends get {granted[value]}")


def _default_host(proxy: str) -> dict[str, Any]:
    """What nginx sends without `proxy_set_header Host`: the name in `proxy_pass`."""
    return {"preserve_host": False} if not proxy else {"host": proxy}


def _host(one: Directive, site: Site, constants: Mapping[str, str], proxy: str) -> dict[str, Any]:
    value = one.args[1]
    if value in ("$host", "$http_host", "$host:$server_port", "$http_host:$server_port"):
        return {"preserve_host": True}
    if value == "$proxy_host":
        return _default_host(proxy)
    text = field_value(value, constants)
    if text is None or "{" in text:
        site.lose(one.place, one.text, "host is a fixed name, preserve_host = true the client's")
        return {"preserve_host": True}
    return {"host": text}


def _response_headers(scope: Scope, site: Site, constants: Mapping[str, str]) -> dict[str, Any]:
    edits: dict[str, Any] = {}
    for one in scope.all("add_header"):
        if len(one.args) < 2 or not one.args[1]:
            continue
        if is_service_cookie(scope, one.args[1]):
            site.skip(one.place, one.text, "cookies of the service reach clients")
            continue
        text = field_value(one.args[1], constants)
        if text is None:
            site.lose(one.place, one.text, "a variable without an equal (docs/variables.md)")
            continue
        edits.setdefault("add", {})[one.args[0]] = text
        if "always" not in one.args[2:]:
            site.differ(
                one.place,
                f"add_header {one.args[0]}",
                "is in errors too, as with `always`, unless `when` names statuses",
            )
    removed = [one.args[0] for one in scope.all("proxy_hide_header") if one.args]
    if removed:
        edits["remove"] = removed
    rewritten = _location_rewrites(scope, site)
    return {"response_headers": {**edits, **rewritten}} if edits or rewritten else {}


def _location_rewrites(scope: Scope, site: Site) -> dict[str, Any]:
    found: dict[str, str] = {}
    for one in scope.all("proxy_redirect"):
        if one.args[:1] in (("off",), ("default",)):
            site.skip(one.place, one.text, "Location of backends passes; response_headers.rewrite_location changes it")
        elif len(one.args) == 2 and not any("$" in text or text.startswith("~") for text in one.args):
            found[literal(one.args[0])] = literal(one.args[1])
        else:
            site.lose(one.place, one.text, "rewrite_location takes prefixes without variables")
    return {"rewrite_location": found} if found else {}


def _times(scope: Scope, site: Site) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, keys in (
        ("proxy_connect_timeout", ("connect",)),
        ("uwsgi_connect_timeout", ("connect",)),
        ("proxy_read_timeout", ("first_byte", "between_bytes", "tunnel_idle")),
        ("uwsgi_read_timeout", ("first_byte", "between_bytes", "tunnel_idle")),
    ):
        one = scope.last(name)
        if one is None:
            continue
        seconds = seconds_of(" ".join(one.args))
        if not seconds:
            site.lose(one.place, one.text, "no time")
            continue
        found |= dict.fromkeys(keys, seconds)
    for one in scope.all("proxy_send_timeout", "uwsgi_send_timeout"):
        site.skip(one.place, one.text, "timeouts.between_bytes counts in both directions")
    return {"timeouts": found} if found else {}


def _limits(scope: Scope, site: Site) -> dict[str, Any]:
    one = scope.last("client_max_body_size")
    size = bytes_of(one.args[0] if one and one.args else _NGINX_BODY)
    if size is None and one is not None:
        site.lose(one.place, one.text, "no size")
    return {} if size is None else {"limits": {"body": size}}


def _buffers(scope: Scope) -> dict[str, Any]:
    """Nginx buffers unless it is turned off."""
    off = {"requests": scope.value("proxy_request_buffering"), "responses": scope.value("proxy_buffering")}
    return {"buffering": {key: 0 if value == "off" else _BUFFER for key, value in off.items()}}


def _retries(scope: Scope, site: Site) -> dict[str, Any]:
    found: dict[str, Any] = {}
    tries = scope.value("proxy_next_upstream_tries")
    if number_of(tries):
        found["attempts"] = min(number_of(tries) - 1, 10)
    one = scope.last("proxy_next_upstream")
    if one is not None and "off" in one.args:
        found["attempts"] = 0
    elif one is not None:
        statuses = [number_of(arg.removeprefix("http_")) for arg in one.args if arg.startswith("http_")]
        if statuses:
            found["statuses"] = [status for status in statuses if 400 <= status <= 599]
        if "non_idempotent" in one.args:
            site.lose(
                one.place, "proxy_next_upstream non_idempotent", "such requests are retried only if nothing was sent"
            )
    return {"retries": found} if found else {}


def _error_pages(scope: Scope, site: Site) -> dict[str, Any]:
    pages: dict[str, str] = {}
    for one in scope.all("error_page"):
        codes, target = one.args[:-1], one.args[-1] if one.args else ""
        file = _page_file(scope, target)
        if "401" in codes and scope.value("auth_request", "off") != "off":
            site.lose(
                one.place, one.text, "the service's redirection to its login page, or its 401, reaches the client"
            )
            continue
        if not file or not all(map(number_of, codes)):
            site.lose(one.place, one.text, "error_pages takes files, and keeps the status")
            continue
        pages |= dict.fromkeys(codes, file)
    if not pages:
        return {}
    everywhere = scope.value("proxy_intercept_errors") == "on"
    return {"error_pages": pages, **({"error_pages_for": "all"} if everywhere else {})}


def _page_file(scope: Scope, target: str) -> str:
    """The file that nginx serves for the path of an error page; empty for what is no file."""
    if not target.startswith("/") or "$" in target:
        return ""
    root = scope.value("root")
    for block in scope.blocks:
        for one in block:
            if one.name == "location" and one.args in (("=", target), (target,)):
                root = next((found.args[0] for found in one.named("root") if found.args), root)
    return str(PurePosixPath(root) / target.lstrip("/")) if root else ""


def _client_certificate(scope: Scope) -> dict[str, Any]:
    """`if ($ssl_client_verify != SUCCESS)` of the server or of the innermost block."""
    blocks = (*scope.blocks[:2], scope.blocks[-1])
    return {"client_certificate": True} if any(map(is_certificate_check, (one for b in blocks for one in b))) else {}


def is_certificate_check(one: Directive) -> bool:
    """Whether an `if` refuses clients without a valid certificate."""
    refuses = any(inner.name == "return" and inner.args[:1] in _REFUSALS for inner in one.block or ())
    return one.name == "if" and one.args == ("$ssl_client_verify", "!=", "SUCCESS") and refuses


_REFUSALS = (("400",), ("401",), ("403",), ("404",), ("444",), ("495",), ("496",))
#: The encodings that nginx prefers, with the names of their directives and the highest levels that lbflask has.
_ENCODINGS = (("zstd", "zstd", 6), ("br", "brotli", 5), ("gzip", "gzip", 9))


def _compression(scope: Scope) -> dict[str, Any]:
    """`gzip`, `brotli` and `zstd` with the types of the first one: text/html alone unless there are others."""
    used = [one for one in _ENCODINGS if scope.value(one[1]) == "on"]
    if not used:
        return {}
    first = used[0][1]
    found: dict[str, Any] = {"encodings": [encoding for encoding, *_ in used]}
    types = scope.last(f"{first}_types")
    extra = [arg for arg in types.args if arg != "text/html"] if types else []
    found["types"] = ["text/*", "application/*"] if "*" in extra else ["text/html", *extra]
    found["min_length"] = max(number_of(scope.value(f"{first}_min_length", "20")), 1)
    for encoding, name, highest in used:
        if level := number_of(scope.value(f"{name}_comp_level")):
            found[f"{encoding}_level"] = min(level, highest)
    return {"compression": found}
