"""A request in the uwsgi protocol: a header of four bytes, then variables with the names of CGI (RFC 3875 §4.1).

Source: "The uwsgi Protocol" of the uWSGI documentation. The response is plain HTTP, and ends the connection.
"""

from __future__ import annotations

from string import ascii_lowercase, ascii_uppercase
from typing import Final
from urllib.parse import unquote_to_bytes

from lbflask.core.http.types import Fields

#: Bytes of all variables with their lengths: the header has two bytes for the number.
MAX_VARIABLES: Final = 0xFFFF
#: Not passed as HTTP_…: a variable of its own, stated by the framing, no matter of one request, or a variable that
#: programs take for their proxy (CVE-2016-5385).
_APART: Final = frozenset({"host", "content-type", "content-length", "expect", "proxy"})
_UPPER: Final = str.maketrans(ascii_lowercase + "-", ascii_uppercase + "_")


class TooManyVariables(ValueError):
    """The variables of a request have more than MAX_VARIABLES bytes."""


def uwsgi_packet(method: str, target: str, host: str, fields: Fields, length: int | None) -> bytes:
    """The packet of a request, whose body of `length` bytes follows it; None for no body.

    Repeated fields are joined (RFC 9110 §5.3). A field whose name has an underscore is dropped: its variable would be
    that of another field. Raises TooManyVariables.
    """
    path, _, query = target.partition("?")
    joined = _joined(fields)
    scheme = joined.get("x-forwarded-proto", "http")
    name, _, port = host.rpartition(":") if host.rpartition(":")[2].isdecimal() else (host, "", "")
    variables = [
        ("REQUEST_METHOD", method),
        ("REQUEST_URI", target),
        ("PATH_INFO", unquote_to_bytes(path.encode("latin-1")).decode("latin-1")),
        ("QUERY_STRING", query),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_NAME", name),
        ("SERVER_PORT", port or ("443" if scheme == "https" else "80")),
        ("REQUEST_SCHEME", scheme),
        ("REMOTE_ADDR", joined.get("x-real-ip", "")),
        ("CONTENT_TYPE", joined.get("content-type", "")),
        ("CONTENT_LENGTH", "" if length is None else str(length)),
        ("HTTP_HOST", host),
    ]
    if scheme == "https":
        variables.append(("HTTPS", "on"))
    for key, value in joined.items():
        if key not in _APART and "_" not in key:
            variables.append(("HTTP_" + key.translate(_UPPER), value))
    block = b"".join([_sized(text) for pair in variables for text in pair])
    if len(block) > MAX_VARIABLES:
        raise TooManyVariables(f"its variables have {len(block)} bytes, of at most {MAX_VARIABLES}")
    return b"\0" + len(block).to_bytes(2, "little") + b"\0" + block


def _joined(fields: Fields) -> dict[str, str]:
    """The fields by their names in lower case; the values of a repeated one together."""
    joined: dict[str, str] = {}
    for name, value in fields:
        key = name.lower()
        separator = "; " if key == "cookie" else ", "
        joined[key] = joined[key] + separator + value if key in joined else value
    return joined


def _sized(text: str) -> bytes:
    """The text after its length. Raises TooManyVariables."""
    data = text.encode("latin-1")
    if len(data) > MAX_VARIABLES:
        raise TooManyVariables(f"a variable has {len(data)} bytes, of at most {MAX_VARIABLES}")
    return len(data).to_bytes(2, "little") + data
