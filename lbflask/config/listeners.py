"""The public listeners: plain and TLS side by side, and listeners that only redirect."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Annotated, Literal

from lbflask.config.field_types import Listed, ListenAddress, Network, Section, required, socket_address

#: The port that a URL with https leaves out.
_HTTPS = 443

ListenerName = Annotated[
    str,
    required(
        re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,63})?").fullmatch,
        "must be a name of at most 64 letters, digits and characters of ._-, or empty",
    ),
]


class ListenerConfig(Section):
    """A public listener. Several in place of `bind` can differ: `bind = "0.0.0.0:80"` with `redirect = "https"` beside
    `bind = "0.0.0.0:443"` with `tls = true`.
    """

    bind: ListenAddress
    """Its address: `host:port`, `[v6]:port` or `unix:/path`. One that systemd passes on is found by its address."""
    name: ListenerName = ""
    """Its name for `match.listener`, which can also name it by its address."""
    tls: bool = False
    """Whether clients use TLS, with the certificates of `[tls]`."""
    proxy_protocol: Listed[Network] = ()
    """Networks of proxies that begin each connection with a header of the PROXY protocol, version 1 or 2, which states
    the client's address. Connections from there without it are refused; other peers are clients.
    """
    redirect: Literal["", "https"] = ""
    """`https` redirects requests (308) to https:// with the same host and target, except those for `health_path`,
    `live_path` and challenges of ACME.
    """

    @property
    def label(self) -> str:
        """What a request has as its listener: the name, or without one the address."""
        return self.name or self.bind


def check_listeners(listeners: Sequence[ListenerConfig], *, certificate: str) -> None:
    """Raises ValueError, which names the setting, for listeners that are impossible together. `certificate` is the
    setting of the first certificate, empty without any.
    """
    seen: dict[tuple[str, str], int] = {}
    for number, listener in enumerate(listeners):
        where = f"listeners[{number}]"
        for key, value in (("bind", listener.bind), ("name", listener.name)):
            first = seen.setdefault((key, value), number)
            if value and first != number:
                raise ValueError(f"{where}.{key}: {value!r} is that of listeners[{first}] already")
        if listener.proxy_protocol and not isinstance(socket_address(listener.bind), tuple):
            raise ValueError(
                f"{where}.proxy_protocol: peers of a unix socket have no address in a network; leave it out"
            )
        if listener.tls and listener.redirect:
            raise ValueError(f"{where}.redirect: clients of this listener use https already; leave out redirect or tls")
        if listener.tls and not certificate:
            raise ValueError(
                f"{where}.tls: there is no certificate; set in [tls] certificates = "
                '[{ cert = "fullchain.pem", key = "privkey.pem" }]'
            )
    if listeners and certificate and not any(listener.tls for listener in listeners):
        raise ValueError(f"{certificate}: no listener uses it; set tls = true in one of [[listeners]]")


def https_url(listeners: Collection[ListenerConfig]) -> str:
    """The URL of a redirection to https, as `Redirect` has it: with the port of the first TLS listener unless one of
    them has the default port, or none has a port: then TLS ends in front of the balancer.
    """
    addresses = (socket_address(listener.bind) for listener in listeners if listener.tls)
    ports = [address[1] for address in addresses if isinstance(address, tuple)]
    port = "" if not ports or _HTTPS in ports else f":{ports[0]}"
    return f"https://{{host}}{port}{{path}}{{query}}"
