"""The TLS contexts of a listener that asks clients for certificates.

They have the certificates of all listeners, and the authorities of this one. A resumed session verifies nothing: each
worker has a context of its own, which others replace when a file changes, and sessions end with their context. Those of
TLS 1.3 are not resumed at all.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable

from lbflask.config.listeners import ListenerConfig
from lbflask.server.certificates import Certificates, Signature, signature

log = logging.getLogger("gunicorn.error")


class ClientCertificates:
    """The contexts of one listener, in one process. Raises OSError or ValueError for unusable files."""

    def __init__(self, certificates: Certificates, listener: ListenerConfig) -> None:
        self._certificates = certificates
        self._listener = listener
        self._made_of = self._sources()
        self._front = self._made()

    def __repr__(self) -> str:
        return f"<ClientCertificates {self._listener.label} {self._listener.client_certificates}>"

    def context_for(self, flight: bytes) -> ssl.SSLContext:
        """As of Certificates. An authority that validates a name has no certificate."""
        context = self._certificates.context_for(flight)
        return self._front if context is self._certificates.front else context

    def refresh(self) -> None:
        """Use other certificates, and files that have changed; those that cannot be used leave the earlier ones."""
        sources = self._sources()
        if sources == self._made_of:
            return
        files_changed, self._made_of = sources[1:] != self._made_of[1:], sources
        try:
            self._front = self._made()
        except (OSError, ValueError) as error:
            log.error("the authorities of %s from before stay in use: %s", self._listener.label, _reason(error))
        else:
            if files_changed:
                log.info("the authorities of %s are loaded", self._listener.label)

    def _sources(self) -> tuple[object, Signature, Signature]:
        listener = self._listener
        return self._certificates.content(), signature(listener.client_ca), signature(listener.client_crl)

    def _made(self) -> ssl.SSLContext:
        return self._certificates.like(self._asking)

    def _asking(self, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """The context that `make` makes, which asks clients for certificates. Raises OSError or ValueError."""
        context, listener = make(), self._listener
        context.verify_mode = ssl.CERT_REQUIRED if listener.client_certificates == "required" else ssl.CERT_OPTIONAL
        context.load_verify_locations(listener.client_ca)
        if listener.client_crl:
            context.load_verify_locations(listener.client_crl)
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        context.num_tickets = 0
        return context


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error)
