"""Inputs that nobody would send, made from those that are sent, and tests of properties with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.corpus import inputs
from fuzz.targets import TARGETS

#: Pieces that are put into inputs.
TOKENS_OF_HTTP = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b"\t", b" ", b"  ", b":", b"::", b",", b";", b"\"", b"\\", b"\x7f",
    b"\x80", b"\xff", b"[", b"http://[", b"http://[::1", b"@", b"u:p@", b"%", b"%0d%0a", b"%00", b"%zz", b"..", b"//",
    b"#", b"?", b"*", b"{}", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b"HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT", b"TRACE", b"HEAD", b"Host:", b"\r\nHost: b", b"\r\nHost: a_b",
    b"\r\nContent-Length: 5", b"\r\nContent-Length: -1", b"\r\nContent-Length: 1e3",
    b"\r\nContent-Length: 9223372036854775807", b"\r\nContent-Length: 99999999999999999999999",
    b"\r\nTransfer-Encoding: chunked", b"\r\nTransfer-Encoding: gzip, chunked", b"\r\nTransfer-Encoding: identity",
    b"\r\nExpect: 100-continue", b"\r\nExpect: x", b"\r\nConnection: keep-alive", b"\r\nConnection: \x80",
    b"\r\nUpgrade: h2c", b"\r\n folded", b"\r\nX_Y: z", b"\r\n: x", b"\r\nX",
    b"\r\nMax-Forwards: 99999999999999999999", b"\r\nMax-Forwards: \xb2", b"\r\nTE: trailers", b"\r\nCookie: =;=;",
    b"ffffffffffffffff", b"0\r\n\r\n", b"-1\r\n", b"\r\nX-Forwarded-For: " + b"1," * 500, b"x" * 9000,
    b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n",
]  # fmt: skip

Change = tuple[str, float, bytes]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["insert", "replace", "delete", "repeat", "cut", "flip"]),
        st.floats(0, 1),
        st.sampled_from(TOKENS_OF_HTTP) | st.binary(max_size=4),
    ),
    min_size=1,
    max_size=6,
)


def changed(request: bytes, changes: list[Change]) -> bytes:
    for what, where, piece in changes:
        place = int(where * len(request))
        if what == "insert":
            request = request[:place] + piece + request[place:]
        elif what == "replace":
            request = request[:place] + piece + request[place + len(piece) :]
        elif what == "delete":
            request = request[:place] + request[place + max(1, len(piece)) :]
        elif what == "repeat":
            request = request[: place + 20] + request[place:]
        elif what == "cut":
            request = request[:place]
        elif request:
            at = min(place, len(request) - 1)
            request = request[:at] + bytes([request[at] ^ (piece or b"\x20")[0]]) + request[at + 1 :]
    return request[:60_000]


def changes_of(inputs: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of the inputs, changed in some places."""
    return st.builds(changed, st.sampled_from(inputs), CHANGES)


def property_test(name: str) -> Callable[[], None]:
    """A test that the property of a target holds for its corpora, for changes of them, and for any bytes.

    The same in each run, since `make fuzz` looks for others.
    """
    corpus = [data for _, data in inputs(name)]

    @settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(corpus) | changes_of(corpus) | st.binary(max_size=200))
    def holds(data: bytes) -> None:
        TARGETS[name].check(data)

    return holds
