"""Names that clients ask for in TLS and that are no ASCII (RFC 6066 §3). Python fails to decode them, and ends the
handshake with an alert. It would also write a traceback for each, without end if a client likes.
"""

from __future__ import annotations

import sys
from typing import Any


def leave_out_of_log() -> None:
    """Write nothing about such names from now on in this process. Other errors that cannot be raised are written."""
    write = sys.unraisablehook

    def write_others(unraisable: Any) -> None:
        if not is_of_name(unraisable.exc_value, unraisable.object):
            write(unraisable)

    sys.unraisablehook = write_others


def is_of_name(error: object, subject: object) -> bool:
    """Whether it is the error that the callback for names has for a name, which it could not decode."""
    return isinstance(error, UnicodeDecodeError) and isinstance(subject, bytes) and error.object == subject
