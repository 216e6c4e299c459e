"""The client that a connection to a backend states by the PROXY protocol."""

from __future__ import annotations

from lbflask.core.http.addresses import plain_address
from lbflask.core.proxy_protocol import header, header_without_client
from lbflask.proxy.client_request import ClientRequest


def stated_client(request: ClientRequest, client: str, version: int) -> bytes:
    """The header for a request of `client`, an address. The port is 0 where the peer is not the client but a trusted
    proxy, since fields state no ports. Without addresses the connection is the balancer's.
    """
    exchange = request.server_exchange
    if exchange is None or not isinstance(exchange.local, tuple):
        return header_without_client(version)
    host, port = exchange.local
    is_peer = plain_address(exchange.peer[0]) == client
    return header(version, (client, exchange.peer_port if is_peer else "0"), (str(host), str(port)))
