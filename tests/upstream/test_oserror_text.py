"""The words for an error, whichever library it comes from."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from lbflask.upstream.oserror_text import oserror_text, tls_failure_text


def tls_error(reason: str, kind: type[ssl.SSLError] = ssl.SSLError) -> ssl.SSLError:
    error = kind(1, f"[SSL: {reason}] (_ssl.c:1006)")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "connection refused"),
        (OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 80)"), "connection refused"),
        (OSError("it is the admin listener"), "it is the admin listener"),
        (ConnectionResetError(), "connectionreseterror"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "its name cannot be resolved: Name or"),
        (tls_error("KEY_VALUES_MISMATCH"), "key values mismatch"),
        (ssl.SSLError(1, "no reason"), "no reason"),
        (ValueError("Out of range"), "out of range"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_as_text(error: Exception, text: str) -> None:
    assert oserror_text(error).startswith(text)


def test_a_certificate_that_is_not_accepted_is_named_as_the_reason() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate."
    assert tls_failure_text(error) == "its certificate is not accepted: self-signed certificate"


def test_any_other_failure_of_the_handshake_is_its_text() -> None:
    assert tls_failure_text(tls_error("WRONG_VERSION_NUMBER")) == "the TLS handshake failed: wrong version number"
    reset = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
    assert tls_failure_text(reset) == "the TLS handshake failed: connection reset by peer"
