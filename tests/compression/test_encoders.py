from __future__ import annotations

import pytest

from devtools.decoding import Decoder, decoded
from lbflask.compression.encoders import encoder_maker

LEVELS = {"gzip": (1, 4, 9), "br": (0, 3, 5), "zstd": (1, 3, 6)}
CASES = [(coding, level) for coding, levels in LEVELS.items() for level in levels]
TEXT = b"".join(b"line %d of a text that repeats itself\n" % number for number in range(20_000))


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize(("coding", "level"), CASES)
def test_what_is_coded_decodes_to_the_same_bytes(coding: str, level: int, small: bool) -> None:
    encoder = encoder_maker(coding, level)(small)
    parts = [encoder.encode(TEXT[start : start + 16_384]) for start in range(0, len(TEXT), 16_384)]
    coded = b"".join([*parts, encoder.finish()])
    assert decoded(coding, coded) == TEXT
    assert len(coded) < len(TEXT) / 4


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize(("coding", "level"), CASES)
def test_a_flush_gives_the_client_all_so_far(coding: str, level: int, small: bool) -> None:
    encoder, decoder = encoder_maker(coding, level)(small), Decoder(coding)
    for number in range(3):
        piece = b"data: %d\n\n" % number
        assert decoder.decode(encoder.encode(piece) + encoder.flush()) == piece
    assert decoder.decode(encoder.finish()) == b""
    assert decoder.complete


@pytest.mark.parametrize(("coding", "level"), CASES)
def test_the_content_may_be_empty(coding: str, level: int) -> None:
    assert decoded(coding, encoder_maker(coding, level)(False).finish()) == b""
