"""How backends are spoken to over TLS, by workers and by the checker alike."""

from __future__ import annotations

from lbflask.config.tls import BackendTLSConfig
from lbflask.upstream.dialer import TLSSettings


def tls_rules(tls: BackendTLSConfig) -> TLSSettings:
    """The settings as what dials takes them."""
    return TLSSettings(tls.verify, tls.ca_file, tls.certificate, tls.key, tls.server_name)
