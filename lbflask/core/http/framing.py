"""The framing of message bodies (RFC 9112 §6), decided once for each direction."""

from __future__ import annotations

from typing import Final, NamedTuple

from lbflask.core.http.field_names import NameTable, decimal
from lbflask.core.http.types import Fields


class Framing(NamedTuple):
    """`length` bytes; or, with `length` None, chunks when `chunked`, else everything until the connection closes."""

    length: int | None = 0
    chunked: bool = False

    @property
    def empty(self) -> bool:
        """Whether no body follows the head."""
        return self.length == 0 and not self.chunked


#: The largest length of a body: what a signed number of 64 bits holds, in which many readers keep it.
MAX_LENGTH: Final = (1 << 63) - 1
NO_BODY: Final = Framing()
CHUNKED: Final = Framing(None, chunked=True)
UNTIL_CLOSE: Final = Framing(None)


_RULES: Final[NameTable[str]] = NameTable({"content-length": "length", "transfer-encoding": "coding"})


class BadFraming(Exception):
    """The length of the message is ambiguous, so that it must not be forwarded (RFC 9112 §6.3)."""


def content_length(value: str) -> int | None:
    """The bytes that a Content-Length states; None for any other text, and for more than MAX_LENGTH."""
    length = decimal(value, MAX_LENGTH)
    return None if length is None or length > MAX_LENGTH else length


def response_framing(method: str, status: int, received: Fields) -> Framing:
    """The framing of the body of a backend's response.

    Raises BadFraming for both a Transfer-Encoding and a Content-Length, for a coding other than `chunked`, and for a
    Content-Length that is repeated or not a length. The last holds for responses without a body too, since the client
    gets it (RFC 9110 §8.6), but not where no such field is passed on.
    """
    if status == 204 or status < 200:
        return NO_BODY
    length: int | None = None
    coding: str | None = None
    rules = _RULES
    for name, value in [field for field in received if rules[field[0]]]:
        if rules[name] == "length":
            named = content_length(value)
            if length is not None or named is None:
                raise BadFraming(f"Content-Length {value[:40]!r} is repeated or not a length")
            length = named
        else:
            coding = value if coding is None else f"{coding}, {value}"
    if method == "HEAD" or status == 304:
        return NO_BODY
    if coding is None:
        return UNTIL_CLOSE if length is None else Framing(length)
    if length is not None:
        raise BadFraming("both Transfer-Encoding and Content-Length")
    if coding.strip().lower() != "chunked":
        raise BadFraming(f"Transfer-Encoding {coding!r}")
    return CHUNKED
