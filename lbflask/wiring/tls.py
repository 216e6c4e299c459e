"""How backends are spoken to over TLS, by workers and by the checker alike."""

from __future__ import annotations

from lbflask.config.tls import BackendTLSConfig
from lbflask.upstream.dial import TLSRules


def tls_rules(tls: BackendTLSConfig) -> TLSRules:
    """The settings as what dials takes them."""
    return TLSRules(tls.verify, tls.ca_file, tls.certificate, tls.key, tls.server_name)
