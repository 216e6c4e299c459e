"""Caddy's `tls` block: certificates of clients, and versions of TLS."""

from __future__ import annotations

from collections.abc import Sequence

from lbflask.importers.client_authorities import OPTIONAL, REQUIRED, ClientAuthority
from lbflask.importers.directives import Directive
from lbflask.importers.site import Site

_MODES = {"verify_if_given": OPTIONAL, "require_and_verify": REQUIRED}
_FILES = ("trusted_ca_cert_file", "trusted_leaf_cert_file")


def client_authority(site: Directive, lines: Sequence[Directive], found: Site) -> ClientAuthority:
    """What a site wants of its clients; other lines of the blocks of `tls` are settings, or listed."""
    wanted = ClientAuthority(site.place, site.text)
    for inner in (inner for one in lines for inner in one.block or ()):
        if inner.name == "client_auth":
            wanted = _client_auth(inner, found)
        elif inner.name == "protocols" and inner.args:
            found.set_default("tls.minimum", "TLSv1.3" if inner.args[0] == "tls1.3" else "TLSv1.2")
        elif inner.name == "dns":
            reason = 'tls.acme.challenge = "dns-01", whose dns_hook is a command of yours'
            found.lose(inner.place, f"tls {inner.text}", reason)
        elif inner.name in ("curves", "alpn"):
            found.skip(inner.place, f"tls {inner.text}", "is OpenSSL's")
        elif inner.name != "on_demand":
            found.lose(inner.place, f"tls {inner.text}", "[tls] has minimum, ciphers and acme")
    return wanted


def _client_auth(one: Directive, found: Site) -> ClientAuthority:
    """`client_auth`: with authorities, a valid certificate is required unless `mode` is another."""
    modes = [inner.args[0] for inner in one.named("mode") if inner.args]
    files = [inner.args[0] for inner in one.block or () if inner.name in _FILES and inner.args]
    for inner in one.named("trust_pool"):
        files += inner.args[1:] if inner.args[:1] == ("file",) else ()
        files += [arg for line in inner.named("pem_file") for arg in line.args]
    kind = modes[-1] if modes else "require_and_verify"
    mode = _MODES.get(kind, "")
    if not mode or not files:
        reason = "a certificate is always verified: client_certificates and client_ca of the listener"
        found.lose(one.place, f"client_auth {kind}", reason)
    if len(files) > 1:
        found.lose(one.place, one.text, f"client_ca is one file: add the others to {files[0]}")
    return ClientAuthority(one.place, one.text, mode, files[0] if files else "")
