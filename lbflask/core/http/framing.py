"""How long a message body is (RFC 9112 §6), decided once for each direction; never two answers for one message."""

from __future__ import annotations

from typing import NamedTuple

from lbflask.core.http.fields import Fields
from lbflask.core.http.names import NameTable


class Framing(NamedTuple):
    """`length` bytes; or, with `length` None, chunks when `chunked`, else everything until the connection closes."""

    length: int | None = 0
    chunked: bool = False

    @property
    def empty(self) -> bool:
        """Whether no body follows the head."""
        return self.length == 0 and not self.chunked


NO_BODY = Framing()
CHUNKED = Framing(None, chunked=True)
UNTIL_CLOSE = Framing(None)


_RULES: NameTable[str] = NameTable({"content-length": "length", "transfer-encoding": "coding"})


class BadFraming(Exception):
    """The message's length can't be told for certain, so the message must not be passed on (RFC 9112 §6.3)."""


def response_framing(method: str, status: int, received: Fields) -> Framing:
    """How long the body of a backend's response is.

    Raises BadFraming for both a Transfer-Encoding and a Content-Length, for a coding other than `chunked`, and for a
    Content-Length that is not one number of fewer than 20 digits.
    """
    if method == "HEAD" or status in (204, 304) or status < 200:
        return NO_BODY
    length: int | None = None
    coding: str | None = None
    rules = _RULES
    for name, value in [field for field in received if rules[field[0]]]:
        if rules[name] == "length":
            value = value.strip(" \t")  # noqa: PLW2901 - blanks around it are not of it (RFC 9112 §5)
            if length is not None or not (value.isascii() and value.isdigit() and len(value) < 20):
                raise BadFraming(f"Content-Length {value!r} is repeated or not a length")
            length = int(value)
        else:
            coding = value if coding is None else f"{coding}, {value}"
    if coding is None:
        return UNTIL_CLOSE if length is None else Framing(length)
    if length is not None:
        raise BadFraming("both Transfer-Encoding and Content-Length")
    if coding.strip().lower() != "chunked":
        raise BadFraming(f"Transfer-Encoding {coding!r}")
    return CHUNKED
