from __future__ import annotations

import asyncio

import pytest

from chaos.soak.backend import read_body
from chaos.soak.content import LONGEST, PIECE, Target, body, chunk, pieces
from devtools.wire import Head


def test_a_target_is_the_same_after_it_was_read() -> None:
    for target in (Target("get", 7), Target("download", 8, 1000)):
        assert Target.parse(str(target)) == target


def test_no_two_places_of_a_body_are_equal_and_no_two_bodies() -> None:
    words = body(3, LONGEST)
    assert len(words) == LONGEST
    assert len({words[start : start + 8] for start in range(0, LONGEST, 8)}) == LONGEST // 8
    assert body(3, 100) != body(4, 100)


def test_the_pieces_of_a_body_are_the_body() -> None:
    size = 3 * PIECE + 1
    assert [len(piece) for piece in pieces(5, size)] == [PIECE, PIECE, PIECE, 1]
    assert b"".join(pieces(5, size)) == body(5, size)


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_is_read_to_its_end_and_a_cut_one_is_an_error(chunked: bool) -> None:
    data = body(1, 5000)
    framed = chunk(data[:2000]) + chunk(data[2000:]) + chunk(b"") if chunked else data
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 5000"

    async def read(sent: bytes) -> bytes:
        reader = asyncio.StreamReader()
        reader.feed_data(sent)
        reader.feed_eof()
        return await read_body(Head.parse(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n"), reader)

    assert asyncio.run(read(framed)) == data
    for length in (len(framed) - 1, len(framed) // 2, 0):
        with pytest.raises(EOFError):
            asyncio.run(read(framed[:length]))
