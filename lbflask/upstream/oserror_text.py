"""The words for an error of a socket, a name, a file or TLS, as they stand in faults and observations."""

from __future__ import annotations

import os
import socket
import ssl


def oserror_text(error: Exception) -> str:
    """The reason in lower case: the system's text for an errno, since asyncio has texts of its own."""
    if isinstance(error, socket.gaierror):
        return f"its name cannot be resolved: {error.strerror}"
    if isinstance(error, ssl.SSLError) and (reason := getattr(error, "reason", None)):  # not set on every one
        return str(reason).lower().replace("_", " ")
    number = error.errno if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
    return (os.strerror(number) if number else str(error) or type(error).__name__).lower()


def tls_failure_text(error: Exception) -> str:
    """Why a TLS handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message.rstrip('.')}"
    return f"the TLS handshake failed: {oserror_text(error)}"
