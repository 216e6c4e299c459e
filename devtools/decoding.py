"""Decodes the content codings of responses, as a client does."""

from __future__ import annotations

import zlib

import brotli
import zstandard


class Decoder:
    """What a client decodes of one response, piece by piece."""

    def __init__(self, coding: str) -> None:
        self._gzip = zlib.decompressobj(31)
        self._brotli = brotli.Decompressor()
        self._zstd = zstandard.ZstdDecompressor().decompressobj()
        self._coding = coding

    def decode(self, data: bytes) -> bytes:
        """The content that these bytes complete."""
        if self._coding == "gzip":
            return self._gzip.decompress(data)
        if self._coding == "br":
            return bytes(self._brotli.process(data))
        return bytes(self._zstd.decompress(data)) if data else b""

    @property
    def complete(self) -> bool:
        """Whether the end of the content was seen."""
        if self._coding == "gzip":
            return self._gzip.eof
        return bool(self._brotli.is_finished() if self._coding == "br" else self._zstd.eof)


def decoded(coding: str, data: bytes) -> bytes:
    """The content of coded bytes. Fails for bytes that break off."""
    decoder = Decoder(coding)
    content = decoder.decode(data)
    assert decoder.complete, f"{coding} without its end"
    return content
