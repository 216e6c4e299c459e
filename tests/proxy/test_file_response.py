from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Fault
from lbflask.files.document_root import DocumentRoot
from lbflask.files.file_region import PIECE, FileRegion
from lbflask.proxy.client_response import REQUEST_TIMEOUT
from lbflask.proxy.file_response import FileResponse

DATA = bytes(range(256)) * 1000
End = tuple[int, str, AnswerCause | None]


class Served:
    """A response with the file, and how it ended."""

    def __init__(self, place: Path, clock: Callable[[], float] = lambda: 0.0, deadline: float = 1.0) -> None:
        self.path = place / "data"
        self.path.write_bytes(DATA)
        self.region = FileRegion(DocumentRoot(str(place)).open(["data"]), 0, len(DATA))
        self.ends: list[End] = []
        self.response = FileResponse("200 OK", [("A", "b")], self.region, self._end, deadline, clock)

    def _end(self, sent: int, cut: str, fault: Fault | None, cause: AnswerCause | None) -> None:
        assert fault is None
        self.ends.append((sent, cut, cause))


def test_a_server_may_take_the_pieces(tmp_path: Path) -> None:
    served = Served(tmp_path)
    assert b"".join(served.response) == DATA
    served.response.close()
    assert served.ends == [(len(DATA), "", None)]
    assert served.region.fd == -1
    assert (served.response.status, served.response.fields, served.response.lines) == ("200 OK", [("A", "b")], None)


def test_a_server_may_send_the_region_itself(tmp_path: Path) -> None:
    served = Served(tmp_path)
    assert served.response.region is served.region
    served.region.advance(len(DATA))
    served.response.close()
    assert served.ends == [(len(DATA), "", None)]
    assert served.region.fd == -1


def test_the_number_of_pieces_is_not_known(tmp_path: Path) -> None:
    served = Served(tmp_path)
    with pytest.raises(TypeError):
        len(served.response)
    assert "FileResponse(200 OK" in repr(served.response)
    served.response.close()


def test_a_client_that_leaves_ends_it_once(tmp_path: Path) -> None:
    served = Served(tmp_path)
    next(served.response)
    served.response.close()
    served.response.close()
    assert served.ends == [(PIECE, "the client hung up", AnswerCause.CLIENT_LEFT)]
    assert served.region.fd == -1


@pytest.mark.parametrize("by_pieces", [True, False])
def test_a_file_that_becomes_shorter_cuts_the_response(tmp_path: Path, by_pieces: bool) -> None:
    served = Served(tmp_path)
    os.truncate(served.path, PIECE)
    if by_pieces:
        next(served.response)
        with pytest.raises(BrokenPipeError, match="shorter"):
            next(served.response)
    else:
        served.region.advance(PIECE)
    served.response.close()
    assert served.ends == [(PIECE, "the file became shorter while it was sent", AnswerCause.INTERNAL)]


@pytest.mark.parametrize("by_pieces", [True, False])
def test_a_deadline_cuts_the_response(tmp_path: Path, by_pieces: bool) -> None:
    served = Served(tmp_path, clock=lambda: 2.0)
    if by_pieces:
        with pytest.raises(BrokenPipeError):
            next(served.response)
    served.response.close()
    ((sent, cut, cause),) = served.ends
    assert (sent in (0, PIECE), cut, cause) == (True, REQUEST_TIMEOUT, AnswerCause.TIMEOUT)
