"""The listeners of the configuration, as the worker and the log recognize them: by the addresses of their sockets."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from lbflask.config.field_types import socket_address
from lbflask.config.schema import Config
from lbflask.core.client_hello import server_name
from lbflask.core.http.addresses import IPNetwork
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.server.worker.arbiter_listeners import address_forms
from lbflask.server.worker.arbiter_startup import address_text
from lbflask.server.worker.client_connection import ListenerOptions


def listener_options(
    config: Config, contexts: Mapping[str, Callable[[bytes], ssl.SSLContext]] = MappingProxyType({})
) -> dict[Any, ListenerOptions]:
    """What connections have by their listener, by all addresses that `getsockname` may name; names are resolved.
    `contexts` choose the TLS contexts of listeners, by label, that do not have those of all others.
    """
    found = {
        form: ListenerOptions(
            listener.label,
            listener.tls,
            _senders(listener.proxy_protocol),
            contexts.get(listener.label),
            listener.passes_on,
            server_name if listener.sni else None,
        )
        for listener in config.every_listener()
        if (address := socket_address(listener.bind)) is not None
        for form in address_forms(address)
    }
    return {**found, socket_address(config.admin_bind): ListenerOptions()}


def _senders(networks: Sequence[IPNetwork]) -> TrustedProxies | None:
    """Tests whether a peer sends a header of the PROXY protocol; None if none does."""
    return TrustedProxies(networks) if networks else None


def plain_addresses(config: Config) -> frozenset[str]:
    """The addresses of the listeners without TLS, as in the setting `bind`."""
    return frozenset(
        address_text(address)
        for address, options in listener_options(config).items()
        if address is not None and not options.tls
    )
