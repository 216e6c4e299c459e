"""`lbflask live`: whether the balancer of this configuration serves on this machine."""

from __future__ import annotations

import http.client
import socket
import ssl

from lbflask.config.field_types import socket_address
from lbflask.config.passed_sockets import is_passed
from lbflask.config.schema import Config


def failure(config: Config, timeout: float) -> str:
    """Why the first of the public listeners for HTTP does not answer `live_path` with 200; empty if it does.

    Without `live_path` an accepted connection is enough. Certificates are not verified: the peer is this machine, and
    the name in the certificate is another one.
    """
    known = [one for one in config.every_listener() if not is_passed(one.bind)]
    if not known:
        return f"{config.addresses[0]} has its address from systemd, which this command does not know"
    listener = next((one for one in known if not one.passes_on), known[0])
    try:
        with _connect(listener.bind, timeout) as plain, _secured(plain, tls=listener.tls) as connection:
            if not config.live_path or listener.passes_on:
                return ""
            client = http.client.HTTPConnection("localhost", timeout=timeout)
            client.sock = connection
            client.request("GET", config.live_path, headers={"Connection": "close"})
            status = client.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{listener.bind} does not answer: {error or type(error).__name__}"
    return "" if status == 200 else f"{listener.bind} answers {config.live_path} with {status}"


def _connect(bind: str, timeout: float) -> socket.socket:
    """A connection to a listener. The system connects to itself where the address is that of all interfaces."""
    address = socket_address(bind)
    if isinstance(address, tuple):
        return socket.create_connection(address, timeout)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    connection.connect(str(address))
    return connection


def _secured(connection: socket.socket, *, tls: bool) -> socket.socket:
    if not tls:
        return connection
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection)
