from __future__ import annotations

import pytest

from devtools.wire import ChunkCounter, Head, event, frame, masked, websocket_accept, websocket_request


def test_a_head_is_its_first_line_and_its_fields() -> None:
    head = Head.parse(b"HTTP/1.1 404 Not Found\r\nContent-LENGTH:  12 \r\nX: a:b\r\n\r\n")
    assert head == Head(("HTTP/1.1", "404", "Not Found"), {"content-length": "12", "x": "a:b"})
    assert (head.length, head.chunked) == (12, False)


def test_a_head_without_a_length_has_no_body() -> None:
    assert Head.parse(b"GET / HTTP/1.1\r\n\r\n").length == 0
    assert Head.parse(b"HTTP/1.1 200\r\nTransfer-Encoding: Chunked").chunked


CHUNKED = b"5\r\nhello\r\n10;ext=1\r\n0123456789\nab\r\nf\r\n0\r\n\r\n"


@pytest.mark.parametrize("size", range(1, len(CHUNKED) + 1))
def test_a_chunked_body_is_counted_however_it_is_cut(size: int) -> None:
    counter = ChunkCounter()
    for at in range(0, len(CHUNKED), size):
        assert not counter.complete
        counter.feed(memoryview(CHUNKED[at : at + size]))
    assert counter.complete
    assert counter.count == 5 + 16


def test_a_chunked_body_is_not_complete_before_its_empty_line() -> None:
    counter = ChunkCounter()
    counter.feed(memoryview(CHUNKED[:-1]))
    assert not counter.complete


def test_an_event_is_one_chunk() -> None:
    counter = ChunkCounter()
    counter.feed(memoryview(event(b"last") + b"0\r\n\r\n"))
    assert counter.complete
    assert counter.count == len(b"data: last\n\n")


def test_the_websocket_handshake_is_the_one_of_the_standard() -> None:
    # RFC 6455 §1.3 has this pair.
    assert websocket_accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" in websocket_request("/ws", b"the sample nonce")


def test_frames_are_those_of_the_standard() -> None:
    # RFC 6455 §5.7 has these.
    assert frame(b"Hello") == bytes.fromhex("810548656c6c6f")
    assert frame(b"Hello", bytes.fromhex("37fa213d")) == bytes.fromhex("818537fa213d7f9f4d5158")
    assert masked(masked(b"Hello", b"abcd"), b"abcd") == b"Hello"
    with pytest.raises(ValueError, match="short"):
        frame(bytes(126))
