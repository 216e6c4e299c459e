"""What backends learn of a client beside the fields that all requests have: its address by the PROXY protocol, and its
certificate.
"""

from __future__ import annotations

from lbflask.core.http.addresses import plain_address
from lbflask.core.http.client_certificates import with_certificates
from lbflask.core.proxy_protocol import header, header_without_client
from lbflask.proxy.client_request import ClientRequest, ServerExchange
from lbflask.proxy.settings import ProxySettings
from lbflask.upstream.backend_request import BackendRequest


class StatedClient:
    """States clients by this version of the PROXY protocol, 0 for none, and by their certificates if `certified`."""

    def __init__(self, version: int, certified: bool) -> None:
        self._version = version
        self._certified = certified

    def __repr__(self) -> str:
        return f"StatedClient(v{self._version}, certified={self._certified})"

    def complete(self, upstream: BackendRequest, request: ClientRequest, client: str) -> None:
        """State the client of the request, an address, to the backend of the upstream request."""
        fields, exchange = upstream.fields, request.server_exchange
        if self._certified and exchange is not None:
            fields = with_certificates(fields, exchange.client_certificates)
        upstream.set_client(fields, self._opening(exchange, client))

    def _opening(self, exchange: ServerExchange | None, client: str) -> bytes:
        """The port is 0 where the peer is not the client but a trusted proxy, since fields state no ports. Without
        addresses the connection is the balancer's.
        """
        if not self._version:
            return b""
        if exchange is None or not isinstance(exchange.local, tuple):
            return header_without_client(self._version)
        host, port = exchange.local
        is_peer = plain_address(exchange.peer[0]) == client
        return header(self._version, (client, exchange.peer_port if is_peer else "0"), (str(host), str(port)))


def stated_client_for(settings: ProxySettings) -> StatedClient | None:
    """By these settings; None if backends learn nothing else of clients."""
    if not settings.proxy_version and not settings.passes_certificates:
        return None
    return StatedClient(settings.proxy_version, settings.passes_certificates)
