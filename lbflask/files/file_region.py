"""A part of an open file on its way to a client: by sendfile(2) where the server can, else in bounded pieces."""

from __future__ import annotations

import os
from typing import Final

from lbflask.files.document_root import OpenFile

#: Bytes of one read. A disk that is slow holds up all clients of a worker for as long as it takes to read them.
PIECE: Final = 65_536


class TruncatedFile(Exception):
    """The file has become shorter since its length was stated."""


class FileRegion:
    """`left` bytes of a file from `offset` on. `advance` counts what was sent."""

    __slots__ = ("_file", "left", "offset")

    def __init__(self, file: OpenFile, offset: int, left: int) -> None:
        self._file = file
        self.offset = offset
        self.left = left

    def __repr__(self) -> str:
        return f"FileRegion({self._file!r}, {self.left} bytes from {self.offset} on)"

    @property
    def fd(self) -> int:
        """The descriptor of the file; -1 once it is closed."""
        return self._file.fd

    def advance(self, count: int) -> None:
        """So many bytes were sent."""
        self.offset += count
        self.left -= count

    def piece(self) -> bytes:
        """The next bytes, at most PIECE; empty at the end of the region. Raises TruncatedFile, OSError."""
        if not self.left:
            return b""
        data = os.pread(self._file.fd, min(PIECE, self.left), self.offset)
        if not data:
            raise TruncatedFile
        self.advance(len(data))
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_part(file: OpenFile, start: int, count: int) -> bytes:
    """So many bytes of the file from `start` on. Raises TruncatedFile, OSError."""
    region = FileRegion(file, start, count)
    pieces = []
    while piece := region.piece():
        pieces.append(piece)
    return b"".join(pieces)
