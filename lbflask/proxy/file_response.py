"""A response whose body is a part of a file. Our worker sends it by sendfile(2), other servers take its pieces."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Final

from lbflask.core.answers import AnswerCause
from lbflask.core.http.field_lines import FieldLines
from lbflask.core.http.types import Fields
from lbflask.files.file_region import FileRegion, TruncatedFile
from lbflask.proxy.client_response import REQUEST_TIMEOUT, ClientResponse, Finish
from lbflask.upstream.stream import NEVER

#: Why a response was cut.
TRUNCATED: Final = "the file became shorter while it was sent"


class FileResponse(ClientResponse):
    """As a ClientResponse. The server sends `region` and counts with it what was sent, or iterates over the pieces."""

    def __init__(
        self,
        status: str,
        fields: Fields | FieldLines,
        region: FileRegion,
        finish: Finish,
        deadline: float = NEVER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(status, fields, b"", finish, deadline, clock)
        self.region = region
        self._size = region.left

    def __repr__(self) -> str:
        return f"FileResponse({self.status}, {self.region!r})"

    def __len__(self) -> int:
        """Not known, as for all that is streamed: 1 would be a hint that nothing follows the first piece."""
        raise TypeError("the number of pieces is not known")

    def __next__(self) -> bytes:
        try:
            piece = self.region.piece()
        except (TruncatedFile, OSError):
            self._finish_file(TRUNCATED, AnswerCause.INTERNAL)
            raise BrokenPipeError(errno.EPIPE, TRUNCATED) from None
        if not piece:
            self._finish_file("", None)
            raise StopIteration
        if self._clock() > self.deadline:
            self._finish_file(REQUEST_TIMEOUT, AnswerCause.TIMEOUT)
            raise BrokenPipeError(errno.EPIPE, REQUEST_TIMEOUT)
        return piece

    def close(self) -> None:
        """End the response: the server needs no more of it."""
        region = self.region
        if not region.left or region.fd < 0:
            self._finish_file("", None)
        elif os.fstat(region.fd).st_size <= region.offset:
            self._finish_file(TRUNCATED, AnswerCause.INTERNAL)
        elif self._clock() > self.deadline:
            self._finish_file(REQUEST_TIMEOUT, AnswerCause.TIMEOUT)
        else:
            self._finish_file("the client hung up", AnswerCause.CLIENT_LEFT)

    def _finish_file(self, cut: str, cause: AnswerCause | None) -> None:
        self.region.close()
        self._sent = self._size - self.region.left
        self._end(cut, None, cause)
