"""What the data plane knows of listeners: which one a connection came by, and which ones only redirect."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

from lbflask.config.field_types import AnyHost, connection_address, is_address
from lbflask.config.listeners import https_redirect
from lbflask.config.schema import Config
from lbflask.proxy.listener_redirects import ListenerRedirects
from lbflask.proxy.local_replies import DirectResponseRoute, LocalReplies
from lbflask.proxy.router import RootHandler
from lbflask.proxy.services import SharedServices
from lbflask.proxy.settings import ProxySettings


def listener_of(config: Config) -> Callable[[object], str]:
    """The label of the listener of a connection, by the address of its end here; empty if there is none."""
    exact: dict[object, str] = {}
    by_port: dict[int, str] = {}
    for listener in config.every_listener():
        for address in filter(None, _connection_addresses(listener.bind)):
            if isinstance(address, AnyHost):
                by_port.setdefault(address.port, listener.label)
            else:
                exact.setdefault(address, listener.label)

    def find(local: object) -> str:
        return exact.get(local) or (by_port.get(local[1], "") if isinstance(local, tuple) else "")

    return find


def redirecting(config: Config, handler: RootHandler, services: SharedServices, settings: ProxySettings) -> RootHandler:
    """The handler of all requests behind the redirections of listeners; without any it is the handler itself."""
    labels = [listener.label for listener in config.listeners if listener.redirect]
    if not labels:
        return handler
    route = DirectResponseRoute(https_redirect(config.listeners), LocalReplies(services, settings), settings.via, None)
    return ListenerRedirects(labels, route, handler)


def _connection_addresses(bind: str) -> Iterator[object]:
    """The addresses of connections through the listener. Those of a name are what it resolves to now."""
    if is_address(bind):
        yield connection_address(bind)
        return
    host, _, port = bind.rpartition(":")
    with suppress(OSError):
        yield from (found[4][:2] for found in socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM))
