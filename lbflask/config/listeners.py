"""The public listeners: plain and TLS side by side, and listeners that only redirect."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Annotated, Literal

from pydantic import Field

from lbflask.config.field_types import Listed, ListenAddress, Network, Section, SocketMode, required, socket_address
from lbflask.config.passed_sockets import is_passed
from lbflask.config.paths import FilePath
from lbflask.config.tls import check_authorities
from lbflask.core.http.direct_response import Redirect

#: The port that a URL with https leaves out.
_HTTPS = 443
#: The status of redirections to https, which keeps the method (RFC 9110 §15.4.9).
_REDIRECT_STATUS = 308

_is_server_name = re.compile(r"(?=.{1,253}\Z)(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*").fullmatch

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
    """Its address: `host:port`, `[v6]:port` or `unix:/path`; or a socket that systemd passes, by number or by name:
    `fd://3`, `systemd:NAME` (docs/how-to/sockets.md).
    """
    socket_mode: SocketMode = ""
    """Who may connect to its unix socket, as the mode of the file: `"0660"`. Unset, all may, but for gunicorn's
    `umask`.
    """
    name: ListenerName = ""
    """Its name for `match.listener`, which can also name it by its address."""
    tls: bool = False
    """Whether clients use TLS, with the certificates of `[tls]`."""
    proxy_protocol: Listed[Network] = ()
    """Networks of proxies that begin each connection with a header of the PROXY protocol, version 1 or 2, which states
    the client's address. Connections from there without it are refused; other peers are clients.
    """
    client_certificates: Literal["", "optional", "required"] = ""
    """Whether clients have to identify themselves by a certificate (docs/how-to/client-certificates.md): `required`,
    or `optional`, which verifies one that a client has. Backends get it in Client-Cert.
    """
    client_ca: FilePath = ""
    """PEM file of the authorities that issue these certificates. It is loaded within seconds when it changes."""
    client_crl: FilePath = ""
    """PEM file of the revoked certificates, one list for each authority that issues them; loaded in the same way."""
    tcp: str = ""
    """The pool that gets its connections as they are, without HTTP (docs/how-to/tcp.md); with `sni` that for all other
    names.
    """
    sni: dict[Annotated[str, required(_is_server_name, "must be a name in small letters, or *. and one")], str] = Field(
        default_factory=dict
    )
    """Pools by the name that TLS clients ask for, which stays encrypted: `{ "a.example" = "a", "*.b.example" = "b" }`.
    Without `tcp`, connections for other names are closed.
    """
    redirect: Literal["", "https"] = ""
    """`https` redirects requests (308) to https:// with the same host and target, except those for `health_path`,
    `live_path` and challenges of ACME.
    """

    def check_client_certificates(self, where: str) -> None:
        """Raises ValueError, which names the setting, for settings that are impossible together and unusable files."""
        if not self.client_certificates:
            self.check_unused(where, ("client_ca", "client_crl"), "needs client_certificates, optional or required")
            return
        if not self.tls:
            raise ValueError(f"{where}.client_certificates: clients of this listener use no TLS; set tls = true")
        if not self.client_ca:
            raise ValueError(f'{where}.client_certificates: set client_ca = "ca.pem", whose authorities issue them')
        for key, path in (("client_ca", self.client_ca), ("client_crl", self.client_crl)):
            if path:
                check_authorities(f"{where}.{key}", path)

    @property
    def passes_on(self) -> bool:
        """Whether its connections have no HTTP here."""
        return bool(self.tcp or self.sni)

    def tcp_pools(self) -> dict[str, str]:
        """The pools of its connections, by the key that names each."""
        by_name = {f"sni.{name}": pool for name, pool in self.sni.items()}
        return {**({"tcp": self.tcp} if self.tcp else {}), **by_name}

    @property
    def label(self) -> str:
        """What a request has as its listener: the name, or without one the address."""
        return self.name or self.bind


def check_binds(binds: Sequence[str], where: str) -> None:
    """Raises ValueError, which names the setting by the form `where`, for two listeners that cannot be open at the same
    time: at the same address, or at one of IPv4 and at all of them.
    """
    for number, bind in enumerate(binds):
        for first, other in enumerate(binds[:number]):
            if bind == other or _overlap(socket_address(bind), socket_address(other)):
                raise ValueError(f"{where.format(number)}: {bind!r} is taken by {where.format(first)} = {other!r}")


def _overlap(one: tuple[str, int] | str | None, other: tuple[str, int] | str | None) -> bool:
    if not (isinstance(one, tuple) and isinstance(other, tuple)):
        return one is not None and one == other  # a passed socket is unknown to other processes
    hosts = {one[0], other[0]}
    if one[1] != other[1] or not one[1]:  # the system chooses a port in place of 0
        return False
    return len(hosts) == 1 or ("0.0.0.0" in hosts and all(re.fullmatch(r"[0-9.]+", host) for host in hosts))


def check_socket_mode(where: str, mode: str, bind: str) -> None:
    """Raises ValueError, which names the setting, for a mode of a socket that is not lbflask's own unix socket."""
    if mode and is_passed(bind):
        raise ValueError(f"{where}: systemd opens {bind!r}; leave it out, and write SocketMode={mode} into its unit")
    if mode and not bind.startswith("unix:"):
        raise ValueError(f"{where}: only the file of a unix socket has a mode, and {bind!r} is none; leave it out")


def check_listeners(listeners: Sequence[ListenerConfig], *, certificate: str) -> None:
    """Raises ValueError, which names the setting, for listeners that are impossible together. `certificate` is the
    setting of the first certificate, empty without any.
    """
    seen: dict[str, int] = {}
    for number, listener in enumerate(listeners):
        where = f"listeners[{number}]"
        first = seen.setdefault(listener.name, number)
        if listener.name and first != number:
            raise ValueError(f"{where}.name: {listener.name!r} is that of listeners[{first}] already")
        if listener.proxy_protocol and isinstance(socket_address(listener.bind), str):
            raise ValueError(
                f"{where}.proxy_protocol: peers of a unix socket have no address in a network; leave it out"
            )
        check_socket_mode(f"{where}.socket_mode", listener.socket_mode, listener.bind)
        listener.check_client_certificates(where)
        if listener.passes_on:
            reason = "connections without HTTP are passed on as they are; leave it out, or leave out tcp and sni"
            listener.check_unused(where, ("tls", "redirect"), reason)
        if listener.tls and listener.redirect:
            raise ValueError(f"{where}.redirect: clients of this listener use https already; leave out redirect or tls")
        if listener.tls and not certificate:
            raise ValueError(
                f"{where}.tls: there is no certificate; set in [tls] certificates = "
                '[{ cert = "fullchain.pem", key = "privkey.pem" }]'
            )
    if listeners and certificate and not any(listener.tls for listener in listeners):
        raise ValueError(f"{certificate}: no listener uses it; set tls = true in one of [[listeners]]")


def https_redirect(listeners: Collection[ListenerConfig]) -> Redirect:
    """The response of listeners with `redirect`."""
    return Redirect(_REDIRECT_STATUS, https_url(listeners))


def https_url(listeners: Collection[ListenerConfig]) -> str:
    """The URL of a redirection to https, as `Redirect` has it: with the port of the first TLS listener unless one of
    them has the default port, or none has a port: then TLS ends in front of the balancer.
    """
    addresses = (socket_address(listener.bind) for listener in listeners if listener.tls)
    ports = [address[1] for address in addresses if isinstance(address, tuple)]
    port = "" if not ports or _HTTPS in ports else f":{ports[0]}"
    return f"https://{{host}}{port}{{path}}{{query}}"
