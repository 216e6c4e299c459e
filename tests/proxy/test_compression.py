from __future__ import annotations

from collections.abc import Iterator

import pytest

from devtools.decoding import Decoder, decoded
from lbflask.compression.encoders import encoder_maker
from lbflask.core.http.compression import CompressionPolicy
from lbflask.core.http.types import Fields
from lbflask.proxy.compression import PART, Compression, Compressor
from tests.proxy.test_dispatcher import inbound

LEVELS = {"zstd": 3, "br": 3, "gzip": 4}
HTML = ("Content-Type", "text/html")


def compression() -> Compression:
    policy = CompressionPolicy(LEVELS)
    return Compression(policy, {coding: encoder_maker(coding, level) for coding, level in LEVELS.items()})


def accepting(coding: str) -> Fields:
    return [("Accept-Encoding", coding)]


@pytest.mark.parametrize("coding", LEVELS)
def test_a_body_that_is_here_gets_its_length(coding: str) -> None:
    content = b"<p>text" * 20_000
    fields, coded = compression().whole(inbound(fields=accepting(coding)), 200, [HTML], content)
    assert decoded(coding, coded) == content
    assert dict(fields) == {
        "Content-Type": "text/html",
        "Content-Encoding": coding,
        "Vary": "Accept-Encoding",
        "Content-Length": str(len(coded)),
    }
    assert compression().whole(inbound(), 200, [HTML], content) == ([HTML, ("Vary", "Accept-Encoding")], content)


def test_head_gets_the_fields_without_the_length_that_is_not_known() -> None:
    asked = inbound("HEAD", fields=accepting("gzip"))
    fields, compressor = compression().begin(asked, 200, [HTML, ("Content-Length", "5000")])
    assert compressor is None
    assert fields == [HTML, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]


def begun(coding: str, kind: str = "text/html") -> Compressor:
    _, compressor = compression().begin(inbound(fields=accepting(coding)), 200, [("Content-Type", kind)])
    assert compressor is not None
    return compressor


@pytest.mark.parametrize("kind", ["text/html", "text/event-stream"])
@pytest.mark.parametrize("coding", LEVELS)
def test_each_piece_leaves_when_no_other_one_arrives(coding: str, kind: str) -> None:
    waits: list[float] = []

    def nothing_arrives(seconds: float) -> bool:
        waits.append(seconds)
        return False

    decoder, sent = Decoder(coding), [b"one\n", b"two\n", b"three\n"]
    pieces = begun(coding, kind).pieces(iter(sent), nothing_arrives)
    assert [decoder.decode(next(pieces)) for _ in sent] == sent
    assert decoder.decode(next(pieces)) == b""
    assert decoder.complete
    assert list(pieces) == []
    assert max(waits) <= (0.02 if kind == "text/html" else 0)


@pytest.mark.parametrize("coding", LEVELS)
def test_pieces_that_arrive_together_are_coded_together(coding: str) -> None:
    sent = [b"word %d " % number for number in range(100)]
    coded = list(begun(coding).pieces(iter(sent), lambda seconds: True))
    assert decoded(coding, b"".join(coded)) == b"".join(sent)
    assert len(coded) < 20


def test_a_stream_without_a_pause_is_flushed_in_time() -> None:
    decoder, taken = Decoder("gzip"), 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"x"

    pieces = begun("gzip").pieces(endless(), lambda seconds: True)
    while not decoder.decode(next(pieces)):
        pass
    assert taken > 1  # the time was over before the encoder was full


def test_the_head_does_not_wait_for_the_first_piece() -> None:
    pieces = begun("gzip").pieces(iter([b"", b"x"]), lambda seconds: True)
    assert next(pieces) == b""


@pytest.mark.parametrize("coding", LEVELS)
def test_a_large_piece_is_coded_in_parts(coding: str) -> None:
    content = bytes(range(256)) * 4 * (PART // 256) + b"x"
    assert decoded(coding, begun(coding).whole(content)) == content
