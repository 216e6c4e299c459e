"""A part of a file that is compressed while it is sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.field_lines import FieldLines
from lbflask.core.http.types import Fields
from lbflask.files.file_region import FileRegion, TruncatedFile
from lbflask.proxy.client_response import REQUEST_TIMEOUT, ClientResponse, Finish
from lbflask.proxy.compression import Compressor, is_here
from lbflask.proxy.file_response import TRUNCATED
from lbflask.upstream.stream import NEVER


class CompressedFileResponse(ClientResponse):
    """A response whose body is a part of a file, compressed. The server iterates over the pieces."""

    def __init__(
        self,
        status: str,
        fields: Fields | FieldLines,
        region: FileRegion,
        finish: Finish,
        compressor: Compressor,
        deadline: float = NEVER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(status, fields, b"", finish, deadline, clock)
        self._region = region
        self._pieces = compressor.pieces(_pieces_of(region), is_here)

    def close(self) -> None:
        """End the response: the server needs no more of it."""
        self._region.close()
        if self._finish is not None:  # the end was not reached
            late = self._clock() > self.deadline
            cut, cause = (REQUEST_TIMEOUT, AnswerCause.TIMEOUT) if late else _LEFT
            self._end(cut, None, cause)


_LEFT = ("the client hung up", AnswerCause.CLIENT_LEFT)


def _pieces_of(region: FileRegion) -> Iterator[bytes]:
    """The bytes of the region. Raises Fault for a file that has become shorter, or that can't be read."""
    try:
        while piece := region.piece():
            yield piece
    except (TruncatedFile, OSError):
        raise Fault(Blame.SELF, Stage.BODY, 500, TRUNCATED, answer_cause=AnswerCause.INTERNAL) from None
