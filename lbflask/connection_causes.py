"""The cause of an error of a socket, a lookup or a TLS handshake."""

from __future__ import annotations

import socket
import ssl

from lbflask.core import failure_causes
from lbflask.core.failure_causes import FailureCause

#: Failures that prove that a name has no address.
_NO_ADDRESS = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


def cause_of(error: BaseException) -> FailureCause:
    """The cause; UNKNOWN for other errors."""
    if isinstance(error, socket.gaierror):
        return FailureCause.NAME if error.errno in _NO_ADDRESS else FailureCause.NAME_SERVER
    if isinstance(error, UnicodeError):  # of the encoding of a name for DNS
        return FailureCause.NAME
    if isinstance(error, ssl.SSLCertVerificationError):
        return failure_causes.of_verification(error.verify_code)
    if isinstance(error, ssl.SSLError):
        return FailureCause.TLS
    if isinstance(error, TimeoutError) and not error.errno:
        return FailureCause.TIMED_OUT
    if isinstance(error, MemoryError):
        return FailureCause.SHORTAGE
    return failure_causes.of_number(error.errno) if isinstance(error, OSError) else FailureCause.UNKNOWN
