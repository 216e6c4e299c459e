from __future__ import annotations

import os
from pathlib import Path

import pytest

from lbflask.files.document_root import DocumentRoot, OpenFile
from lbflask.files.file_region import PIECE, FileRegion, TruncatedFile, read_part

DATA = bytes(range(256)) * 1000


@pytest.fixture
def file(tmp_path: Path) -> OpenFile:
    (tmp_path / "data").write_bytes(DATA)
    return DocumentRoot(str(tmp_path)).open(["data"])


def test_a_region_is_read_in_bounded_pieces(file: OpenFile) -> None:
    region = FileRegion(file, 100, len(DATA) - 200)
    pieces = []
    while piece := region.piece():
        pieces.append(piece)
    assert b"".join(pieces) == DATA[100:-100]
    assert max(map(len, pieces)) == PIECE
    assert region.piece() == b""
    region.close()
    assert region.fd == -1


def test_what_was_sent_is_left_out(file: OpenFile) -> None:
    region = FileRegion(file, 0, 10)
    region.advance(7)
    assert (region.offset, region.left) == (7, 3)
    assert region.piece() == DATA[7:10]
    assert "0 bytes from 10 on" in repr(region)
    file.close()


def test_a_file_that_became_shorter_is_an_error(file: OpenFile, tmp_path: Path) -> None:
    os.truncate(tmp_path / "data", 10)
    region = FileRegion(file, 0, 20)
    assert region.piece() == DATA[:10]
    with pytest.raises(TruncatedFile):
        region.piece()
    with pytest.raises(TruncatedFile):
        read_part(file, 0, 20)
    assert read_part(file, 2, 8) == DATA[2:10]
    file.close()
