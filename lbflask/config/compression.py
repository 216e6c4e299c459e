"""Configuration of the compression of responses (docs/how-to/compression.md)."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Annotated, Final, Literal

from pydantic import Field

from lbflask.config.field_types import Listed, Section, required
from lbflask.config.units import Bytes
from lbflask.core.http.compression import TEXTUAL_TYPES, CompressionPolicy

Encoding = Literal["zstd", "br", "gzip"]
CompressedType = Annotated[
    str,
    required(
        re.compile(r"[a-z0-9.+-]+/\*?[a-z0-9.+-]*(?<!/)").fullmatch,
        "must be a media type in small letters, such as application/json, text/* or application/*+json",
    ),
]
Least = Annotated[Bytes, Field(ge=1, le=1 << 30)]
# The highest levels are those at which one part of a response holds up other requests for a few milliseconds at most.
GzipLevel = Annotated[int, Field(ge=1, le=9)]
BrLevel = Annotated[int, Field(ge=0, le=5)]
ZstdLevel = Annotated[int, Field(ge=1, le=6)]

#: The modules of the codings that the standard library does not have.
_LIBRARIES: Final = {"br": "brotli", "zstd": "zstandard"}


class TrafficCompressionConfig(Section):
    """Compression of responses for clients that accept it (docs/how-to/compression.md)."""

    encodings: Listed[Encoding] | None = None
    """`zstd`, `br` and `gzip`, the preferred one first; the first two need `lbflask[compression]`. Empty: none."""
    types: Listed[CompressedType] | None = None
    """Media types that are compressed, `text/*` and `application/*+json` among them; a list replaces the usual ones."""
    min_length: Least | None = None
    """Bytes that a response has at least, where its length is known before its body."""
    gzip_level: GzipLevel | None = None
    """1 (fast) to 9 (small)."""
    br_level: BrLevel | None = None
    """0 (fast) to 5. Files that were compressed in advance may have any level."""
    zstd_level: ZstdLevel | None = None
    """1 (fast) to 6."""


class CompressionConfig(TrafficCompressionConfig):
    """Compression of responses for clients that accept it (docs/how-to/compression.md)."""

    encodings: Listed[Encoding] = ()
    types: Listed[CompressedType] = TEXTUAL_TYPES
    min_length: Least = 1024
    gzip_level: GzipLevel = 4
    br_level: BrLevel = 3
    zstd_level: ZstdLevel = 3

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting, for an encoding whose library is missing."""
        for encoding in self.encodings:
            library = _LIBRARIES.get(encoding)
            if library is not None and find_spec(library) is None:
                reason = f"needs the package {library}: pip install 'lbflask[compression]', or leave it out"
                raise ValueError(f"{where}.encodings: {encoding!r} {reason}")

    def policy(self) -> CompressionPolicy | None:
        """The rules as a value of the core; None for no compression."""
        if not self.encodings or not self.types:
            return None
        levels = {"gzip": self.gzip_level, "br": self.br_level, "zstd": self.zstd_level}
        return CompressionPolicy({name: levels[name] for name in self.encodings}, self.types, self.min_length)
