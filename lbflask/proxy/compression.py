"""The stage that compresses responses: backends', files, and the pages that replace a backend's body."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from lbflask.core.http.compression import (
    CompressionPolicy,
    CompressionRules,
    ContentEncoder,
)
from lbflask.core.http.types import Fields
from lbflask.proxy.client_request import ClientRequest

#: Bytes of content that are coded at once; between two such parts other requests get their turn.
PART: Final = 16_384
#: Bytes of a body that is coded as a whole, so that its length is known.
MOST_WHOLE: Final = 65_536
#: Seconds for which a piece waits at most for the next one before it leaves the encoder; 0 for events.
FLUSH_WITHIN: Final = 0.02


def is_here(_: float) -> bool:
    """As of BackendAnswer.arrives_within, for content that is here."""
    return True


class Compressor:
    """The encoder of one response, and when it flushes. `encode_whole` or `pieces` is called once."""

    def __init__(self, encoder: ContentEncoder, within: float) -> None:
        self._encoder = encoder
        self._within = within

    def __repr__(self) -> str:
        return f"Compressor({self._encoder!r}, flushed within {self._within:g} s)"

    def whole(self, content: bytes) -> bytes:
        """The coded form of all of the content."""
        return self._part(content) + self._encoder.finish()

    def pieces(self, content: Iterator[bytes], arrives_within: Callable[[float], bool]) -> Iterator[bytes]:
        """The coded pieces of the content. An empty piece passes at once. Raises what `content` raises.

        Nothing stays in the encoder for longer than its time: `arrives_within` returns whether the next piece, or the
        end, is here within so many seconds.
        """
        waits_since: float | None = None
        for piece in content:
            if not piece:
                yield piece
                continue
            now = time.monotonic()
            if waits_since is None:
                waits_since = now
            coded = self._part(piece)
            if not arrives_within(max(0.0, waits_since + self._within - time.monotonic())):
                coded += self._encoder.flush()
                waits_since = None
            elif now - waits_since > self._within:
                coded += self._encoder.flush()
                waits_since = now
            if coded:
                yield coded
        yield self._encoder.finish()

    def _part(self, content: bytes) -> bytes:
        """What is ready with this content, of which no large part holds up other requests."""
        encode = self._encoder.encode
        if len(content) <= PART:
            return encode(content)
        coded = []
        for start in range(0, len(content), PART):
            if start:
                time.sleep(0)  # lets other greenlets or threads run
            coded.append(encode(content[start : start + PART]))
        return b"".join(coded)


class Compression:
    """Compresses by one policy. Threads and greenlets may share it. `makers` has what makes an encoder, by codings; its
    argument is whether the encoder is to be small.
    """

    def __init__(self, policy: CompressionPolicy, makers: Mapping[str, Callable[[bool], ContentEncoder]]) -> None:
        self._rules = CompressionRules(policy)
        self._makers = makers

    def __repr__(self) -> str:
        return f"Compression({', '.join(self._makers)})"

    def begin(self, request: ClientRequest, status: int, fields: Fields) -> tuple[Fields, Compressor | None]:
        """The fields of a response, and what compresses its body; None for a body as it is, or for none."""
        fields, coding = self._rules.edited(status, request.fields, fields)
        if not coding or request.method == "HEAD":
            return fields, None
        is_events = self._rules.is_event_stream(fields)
        return fields, Compressor(self._makers[coding](is_events), 0.0 if is_events else FLUSH_WITHIN)

    def whole(self, request: ClientRequest, status: int, fields: Fields, content: bytes) -> tuple[Fields, bytes]:
        """The fields and the body of a response that is here whole."""
        fields, compressor = self.begin(request, status, fields)
        if compressor is None:
            return fields, content
        coded = compressor.whole(content)
        return [*fields, ("Content-Length", str(len(coded)))], coded
