"""Request heads that nobody would send, made from those that are sent: all end in an answer or in the end of the
connection, and none in an error of ours. Half a minute at most in all; what once failed stays among the examples.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, run_wsgi_app

from devtools.raw_client import ConnectionCut, RawClient
from tests.conformance.cases import ask, chunked, post
from tests.conformance.servers import Rig
from tests.control.servers import ALICE, TOKENS, Counter
from tests.support.changes import CHANGES, changed, changes_of
from tests.support.selection import examples

#: Seeds of the generator: another one makes other requests, and one that has found something stays.
SEED = 20_261
#: Seconds for each test with each parser: what was not tried by then is not tried.
SECONDS = 5.0
FUZZ = settings(max_examples=examples(250), deadline=None, database=None, suppress_health_check=list(HealthCheck))

#: Requests in order, of which others are made.
GOOD = [
    ask(),
    ask(method=b"OPTIONS", target=b"*"),
    ask(target=b"http://b:81/a%2Fb?c"),
    ask(target=b"/a;b=c/../d//e?token=x&y=%zz#f"),
    ask(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    ask(b"Cookie: a=b; c=d", b"Cookie: e", b"X-Forwarded-For: 1.2.3.4, [::1]:80", b"Forwarded: for=1.2.3.4"),
    ask(b"Connection: close, TE", b"TE: trailers, gzip;q=0.5", b"Max-Forwards: 0", b"Range: bytes=0-1"),
    ask(b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"X-Request-ID: x"),
    post(b"body"),
    post(b"body", b"Expect: 100-continue"),
    chunked(b"one", b"two"),
    chunked(b"one", trailers=(b"X-T: u",)),
    ask() + ask(target=b"/next"),
]
REQUESTS = changes_of(GOOD) | st.binary(max_size=300)


class Budget:
    """Whether there is time left. What began is finished."""

    def __init__(self) -> None:
        self._until = time.monotonic() + SECONDS

    @property
    def left(self) -> bool:
        return time.monotonic() < self._until


def statuses(port: int, request: bytes, patience: float) -> list[int]:
    """What is answered until the end of the connection, which has to come."""
    got = b""
    with RawClient(port, patience) as client:
        try:
            client.send(request)
            client.finish()
            got = client.rest()
        except ConnectionCut as cut:
            got = cut.got
        except TimeoutError:
            pytest.fail(f"neither an answer nor the end for {request!r}")
        except OSError:
            pass  # the balancer has closed already, and did not read all
    assert got == b"" or re.match(rb"HTTP/1\.1 [1-5][0-9][0-9] ", got), got[:200]
    return [int(found) for found in re.findall(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ", got)]


@pytest.fixture
def steady(rig: Rig) -> Iterator[Rig]:
    """The rig, whose worker is the same at the end."""
    before = rig.balancer.workers()
    yield rig
    assert rig.balancer.workers() == before


def try_all(check: Callable[[bytes], None], requests: st.SearchStrategy[bytes], *kept: bytes) -> None:
    """Hold what is kept and what hypothesis makes of it against the check, within the budget."""
    budget = Budget()

    def within(request: bytes) -> None:
        if budget.left:
            check(request)

    for one in kept:
        within = example(one)(within)
    seed(SEED)(FUZZ(given(requests)(within)))()


@pytest.mark.sampled(2)
def test_no_request_is_an_error_of_the_data_plane(steady: Rig) -> None:
    def check(request: bytes) -> None:
        assert 500 not in statuses(steady.port, request, steady.patience)

    try_all(
        check,
        REQUESTS,
        ask(target=b"http://["),
        ask(b"Content-Length: 50000000000", method=b"POST"),
        ask(b"Content-Length: 18446744073709551620", method=b"POST"),
        ask(b"Content-Length: 99999999999999999999999", method=b"POST"),
        ask(b"Max-Forwards: \xb2", method=b"OPTIONS"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    )


#: What the control plane reads of a request.
HEADERS = [
    "Host", "Origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Authorization", "Cookie",
    "X-CSRF-Token", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range",
    "Accept", "Accept-Language", "Accept-Encoding", "Content-Type", "Content-Length", "Content-Encoding",
    "Last-Event-ID", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-ID",
    "Transfer-Encoding", "Expect", "Connection", "Upgrade", "Cache-Control", "User-Agent", "Date", "Max-Forwards",
]  # fmt: skip
ODD_VALUES = [
    "", "null", "http://[", "http://[::1", "http://localhost:99999", "http://" + "9" * 5000, "http://\xe9", "//", "*",
    '"', 'W/"', '""', '"a", "b"', "a" * 4000, "," * 4000, " ," * 2000, '"' * 4000, "\\" * 4000, "bytes=",
    "bytes=9-1,-,-0", "bytes=" + "9" * 5000 + "-", "0", "-1", "9" * 5000, "1-1", "18446744073709551616-0",
    "9999999999999999999-0", "x-y", "Bearer", "Bearer ", "Bearer \xff", "Basic Og==", "Basic \xff", "Digest a=\"",
    "lbflask_session=", "lbflask_session=|", "lbflask_session=1|a|b", "lbflask_session=99999999999|alice|\xe9",
    'lbflask_session="\\777\\"', "=;=;", "a=b;" * 500, "application/json", "application/json; charset=x",
    "application/json; charset=utf-7", 'a/b; c="', "a/b; c*=x''%ff", "multipart/form-data",
    "application/x-www-form-urlencoded", "gzip", "chunked", "100-continue", "cross-site",
    "Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 99 Xxx 99999 99:99:99 GMT", "*/*;q=9", "a;q=" + "0" * 500,
    "text/html, */*;q=x",
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(ODD_VALUES),
    st.text(st.characters(max_codepoint=0xFF, exclude_characters="\r\n\0"), max_size=30),
    st.text('[]:/@%?#,;="\\*\xe9 \t9', max_size=12),
)
#: Methods and paths of the control plane; streams are asked apart, as they do not end.
PLACES = [
    ("GET", "/"), ("GET", "/dashboard.js"), ("HEAD", "/favicon.svg"), ("GET", "/health"), ("GET", "/metrics"),
    ("GET", "/api/v1/state"), ("GET", "/api/v1/events?limit=5"), ("GET", "/api/v1/config"),
    ("GET", "/api/v1/openapi.json"), ("GET", "/api/v1/pools/default/backends/x"), ("GET", "/api/v1/session"),
    ("DELETE", "/api/v1/session"), ("POST", "/api/v1/session"), ("POST", "/api/v1/pools/default/backends/x/drain"),
    ("POST", "/api/v1/pools/x/backends"), ("PUT", "/api/v1/pools/default/backends/x/weight"),
    ("OPTIONS", "/api/v1/state"), ("GET", "/\xe9%ff%2e%2e/%00"),
]  # fmt: skip
BODIES = [
    "",
    "{}",
    "[",
    '{"token": "\\ud800"}',
    '{"weight": 1e999}',
    '{"weight": ' + "9" * 5000 + "}",
    "[" * 5000,
    "\xff",
    "null",
]
FIELDS = st.lists(st.tuples(st.sampled_from(HEADERS), VALUES), max_size=4)


def as_bytes(place: tuple[str, str], fields: list[tuple[str, str]], body: str) -> bytes:
    names = {name for name, _ in fields}
    usual = [("Host", "127.0.0.1"), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    lines = [f"{name}: {value}" for name, value in [*(pair for pair in usual if pair[0] not in names), *fields]]
    return "\r\n".join([f"{place[0]} {place[1]} HTTP/1.1", *lines, "", body]).encode("latin-1")


ADMIN = st.builds(as_bytes, st.sampled_from(PLACES), FIELDS, st.sampled_from(BODIES))


def test_no_request_is_an_error_of_the_control_plane(steady: Rig) -> None:
    def check(request: bytes) -> None:
        found = statuses(steady.balancer.admin_port, request, steady.patience)
        assert [status for status in found if status >= 500 and status != 501] == []

    drain = ("POST", "/api/v1/pools/default/backends/x/drain")
    try_all(
        check,
        ADMIN | st.builds(changed, ADMIN, CHANGES),
        as_bytes(drain, [("Origin", "http://[")], ""),
        as_bytes(drain, [("Origin", "http://\xe9[::1")], ""),
        as_bytes(drain, [("Host", "a_b.attacker.example"), ("Origin", "null")], ""),
        as_bytes(drain, [("If-Match", '"' * 4000)], ""),
        as_bytes(("POST", "/api/v1/session"), [], '{"token": "\\ud800"}'),
        as_bytes(("PUT", "/api/v1/pools/default/backends/x/weight"), [], "[" * 5000),
    )


STREAMS = [("GET", "/api/v1/stream"), ("GET", "/api/v1/events/stream")]


@pytest.mark.parametrize("tokens", [(), TOKENS], ids=["open", "with tokens"])
def test_no_field_is_an_error_of_the_admin_api(tokens: tuple[str, ...]) -> None:
    """Without a socket, which lets through any byte: as behind another server."""
    counter = Counter(admin={"tokens": tokens})
    budget = Budget()

    @seed(SEED)
    @FUZZ
    @example(("GET", "/api/v1/stream"), [("Last-Event-ID", "9" * 5000)], "")
    @example(("GET", "/api/v1/session"), [("Cookie", "lbflask_session=99999999999|alice|\xe9")], "")
    @example(("POST", "/api/v1/session"), [("Authorization", "Bearer \xff")], '{"token": "\\ud800"}')
    @given(st.sampled_from([*PLACES, *STREAMS]), FIELDS, st.sampled_from(BODIES))
    def check(place: tuple[str, str], fields: list[tuple[str, str]], body: str) -> None:
        if not budget.left:
            return
        method, path = place
        asked = EnvironBuilder(path=path, method=method, data=body.encode("latin-1")).get_environ()
        asked |= {"HTTP_HOST": "127.0.0.1", "HTTP_AUTHORIZATION": f"Bearer {ALICE}", "CONTENT_TYPE": "application/json"}
        asked |= {"lbflask.admin": True, "wsgi.multithread": True}
        for name, value in fields:
            key = name.upper().replace("-", "_")
            asked[key if key.startswith("CONTENT_") else f"HTTP_{key}"] = value
        pieces, status, _ = run_wsgi_app(counter.app, asked)
        with contextlib.closing(pieces):  # type: ignore[type-var]
            assert int(status[:3]) < 500, status

    check()
