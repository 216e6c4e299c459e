"""Encoders of the content codings: `gzip` (RFC 1952), `br` (RFC 7932) and `zstd` (RFC 8878, RFC 9659).

An encoder holds less than a megabyte, whatever the length of a response; a small one, for streams of events that stay
open for hours, holds about a tenth of that.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from lbflask.core.http.compression import ContentEncoder

#: Makes an encoder of one level, a small one or not.
EncoderMaker = Callable[[bool], ContentEncoder]


class GzipEncoder:
    """As of ContentEncoder."""

    def __init__(self, level: int, small: bool) -> None:
        window, memory = (12, 5) if small else (15, 8)
        self._compress = zlib.compressobj(level, zlib.DEFLATED, 16 + window, memory)
        self.encode = self._compress.compress

    def flush(self) -> bytes:
        """As of ContentEncoder."""
        return self._compress.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        """As of ContentEncoder."""
        return self._compress.flush()


class BrotliEncoder:
    """As of ContentEncoder."""

    def __init__(self, library: Any, level: int, small: bool) -> None:
        compressor = library.Compressor(quality=level, lgwin=14 if small else 18)
        self.encode = compressor.process
        self.flush = compressor.flush
        self.finish = compressor.finish


class ZstdEncoder:
    """As of ContentEncoder. The window is far below the 8 MB that every client has to decode (RFC 9659 §3)."""

    def __init__(self, library: Any, parameters: Any) -> None:
        compressor = library.ZstdCompressor(compression_params=parameters).compressobj()
        self._flush = compressor.flush
        self._block = library.COMPRESSOBJ_FLUSH_BLOCK
        self.encode = compressor.compress
        self.finish = compressor.flush

    def flush(self) -> bytes:
        """As of ContentEncoder."""
        return bytes(self._flush(self._block))


#: The logarithms of the window and of both tables, which bound the memory of an encoder.
_ZSTD: Final = {"window_log": 17, "chain_log": 15, "hash_log": 15}
_SMALL_ZSTD: Final = {"window_log": 14, "chain_log": 12, "hash_log": 12}


def encoder_maker(coding: str, level: int) -> EncoderMaker:
    """What makes encoders of this coding at this level. Raises ImportError where its library is missing."""
    if coding == "br":
        brotli = import_module("brotli")
        return lambda small: BrotliEncoder(brotli, level, small)
    if coding == "zstd":
        zstandard = import_module("zstandard")
        large, little = (
            zstandard.ZstdCompressionParameters.from_level(level, **limits) for limits in (_ZSTD, _SMALL_ZSTD)
        )
        return lambda small: ZstdEncoder(zstandard, little if small else large)
    return lambda small: GzipEncoder(level, small)
