from __future__ import annotations

import ssl

import pytest

from lbflask.core.handshakes import WINDOW, Handshake, Handshakes, failure_of


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] text")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (tls_error("SSLV3_ALERT_CERTIFICATE_EXPIRED"), "certificate_expired"),
        (tls_error("TLSV1_ALERT_UNKNOWN_CA"), "certificate_rejected"),
        (tls_error("SSLV3_ALERT_BAD_CERTIFICATE"), "certificate_rejected"),
        (tls_error("SSLV3_ALERT_CERTIFICATE_UNKNOWN"), "certificate_rejected"),
        (tls_error("PEER_DID_NOT_RETURN_A_CERTIFICATE"), "client_certificate"),
        (tls_error("CERTIFICATE_VERIFY_FAILED"), "client_certificate"),
        (tls_error("NO_SHARED_CIPHER"), "cipher"),
        (tls_error("SSLV3_ALERT_HANDSHAKE_FAILURE"), "cipher"),
        (tls_error("TLSV1_ALERT_INSUFFICIENT_SECURITY"), "cipher"),
        (tls_error("UNSUPPORTED_PROTOCOL"), "protocol"),
        (tls_error("WRONG_VERSION_NUMBER"), "protocol"),
        (tls_error("TLSV1_ALERT_PROTOCOL_VERSION"), "protocol"),
        (tls_error("UNEXPECTED_EOF_WHILE_READING"), "client_left"),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), "client_left"),
        (tls_error("APPLICATION_DATA_AFTER_CLOSE_NOTIFY"), "client_left"),
        (tls_error("TLSV1_ALERT_USER_CANCELLED"), "client_left"),
        (ConnectionResetError(), "client_left"),
        (TimeoutError(), "timeout"),
        (tls_error("BAD_EXTENSION"), "other"),
        (OSError(9, "Bad file descriptor"), "other"),
    ],
)
def test_each_error_has_its_reason(error: Exception, result: str) -> None:
    assert failure_of(error) == result


def test_recent_handshakes_are_those_of_the_window() -> None:
    made = Handshakes()
    made.count(Handshake.COMPLETED)
    assert made.recent(0.0) == {"completed": 1}
    made.count(Handshake.TIMEOUT)
    assert made.recent(0.5) == {"completed": 1, "timeout": 1}
    assert made.recent(1.0) == {"completed": 1, "timeout": 1}
    made.count(Handshake.TIMEOUT)
    assert made.recent(WINDOW) == {"timeout": 2}
    assert made.recent(WINDOW + 0.8) == {"timeout": 2}
    assert made.recent(WINDOW + 1.0) == {"timeout": 1}
    assert made.recent(3 * WINDOW) == {}
    assert made.totals == {Handshake.COMPLETED: 1, Handshake.TIMEOUT: 2}


def test_a_repr_shows_the_totals() -> None:
    made = Handshakes()
    made.count(Handshake.OTHER)
    assert repr(made) == "Handshakes({<Handshake.OTHER: 'other'>: 1})"
