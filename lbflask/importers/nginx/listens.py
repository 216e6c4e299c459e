"""nginx's `listen`: its address, and the networks whose connections begin with a header of the PROXY protocol."""

from __future__ import annotations

from collections.abc import Sequence

from lbflask.importers.directives import Directive, Scope
from lbflask.importers.literals import literal
from lbflask.importers.site import Site

_PROXY_PROTOCOL = "proxy_protocol"
_UNNEEDED = frozenset(
    {"reuseport", "backlog", "so_keepalive", "deferred", "rcvbuf", "sndbuf", "fastopen", "ipv6only", "bind"}
)


def address_of(text: str) -> str:
    """`80`, `*:80`, `127.0.0.1`, `[::]:80`, `unix:/path` as an address with a port."""
    if text.startswith("unix:"):
        return text
    if text.isdecimal():
        return f"0.0.0.0:{text}"
    if ":" not in text or text.endswith("]"):
        text = f"{text}:80"
    return text.replace("*:", "0.0.0.0:")


def is_tls(options: tuple[str, ...]) -> bool:
    """Whether a listener with these options has TLS."""
    return "ssl" in options


def check_options(one: Directive, site: Site) -> None:
    """List the options of a `listen` that have no setting of their own."""
    for option in one.args[1:]:
        name = option.partition("=")[0]
        if name in ("http2", "quic"):
            site.differ(one.place, f"listen … {option}", "clients use HTTP/1.1; HTTP/2 needs a terminator in front")
        elif name in _UNNEEDED:
            site.skip(one.place, f"listen … {option}", "is gunicorn's, or not needed")
        elif name not in ("ssl", "default_server", "default", _PROXY_PROTOCOL):
            site.lose(one.place, f"listen … {option}", "not known")


def add_proxy_protocol(one: Directive, bind: str, networks: Sequence[str], site: Site) -> None:
    """Let the listener read headers of the PROXY protocol from the networks, where its options have them."""
    if _PROXY_PROTOCOL not in one.args[1:]:
        return
    if networks:
        site.set_listener(bind, {"proxy_protocol": list(networks)})
        site.differ(one.place, one.text, f"peers outside of {', '.join(networks)} send no header")
    else:
        site.lose(one.place, one.text, "name the networks of the proxy in front in listeners.proxy_protocol")


def states_by_header(scope: Scope) -> bool:
    """Whether the networks of `set_real_ip_from` state clients by the PROXY protocol, not by a field of requests."""
    return scope.value("real_ip_header", "X-Real-IP") == _PROXY_PROTOCOL


def real_networks(scope: Scope) -> list[str]:
    """The networks of `set_real_ip_from`."""
    found = [one.args[0] for one in scope.all("set_real_ip_from") if one.args and one.args[0] != "unix:"]
    return [literal(network) for network in dict.fromkeys(found)]
