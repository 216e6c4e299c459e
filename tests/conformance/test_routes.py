"""Routes on real workers: what backends and clients see of a request that took one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from devtools.raw_client import RawClient, RawResponse
from devtools.scripted_backend import OK, Peer, ScriptedBackend
from devtools.servers import Gunicorn, free_port
from devtools.wait import eventually
from tests.conformance.cases import ask, chunked, post, reply, sized
from tests.conformance.servers import STOCK, Rig
from tests.support.programmed import Programme, ProgrammedBackend, Received, next_of, says
from tests.support.selection import first_of

ROUTES = """
error_pages = { 502 = "DIR/bad.html" }
access_log = "DIR/access.log"
[[routes]]
name = "strip"
match = { path = "/strip/me" }
pool = "default"
strip_prefix = true
[[routes]]
name = "replace"
match = { path = "/old" }
pool = "default"
replace_prefix = "/new%20place"
[[routes]]
name = "edits"
match = { path = "/edits" }
pool = "default"
[routes.request_headers]
set = { X-Set = "s", accept = "text/set" }
add = { X-Add = "a" }
remove = ["X-Gone", "X-Forwarded-Port"]
[routes.response_headers]
set = { Server = "hidden" }
add = { Strict-Transport-Security = "max-age=1" }
remove = "X-Powered-By"
[[routes]]
name = "elsewhere"
match = { path = "/elsewhere" }
redirect = { to = "https://{host}{path}{query}" }
strip_prefix = true
[[routes]]
name = "closed"
match = { path = "/closed", methods = ["GET", "HEAD", "POST"] }
respond = { file = "DIR/closed.html" }
response_headers = { set = { Retry-After = "60" } }
[[routes]]
name = "split"
match = { path = "/split" }
split = { default = 50, other = 50 }
split_by = "cookie:user"
[[routes]]
name = "beta"
match = { headers = { X-Beta = "yes" } }
pool = "other"
[[routes]]
name = "byhost"
match = { host = ["other.example", "*.other.example"] }
pool = "other"
[[routes]]
name = "dead"
match = { path = "/dead" }
pool = "dead"
response_headers = { add = { X-From = "dead" } }
[[routes]]
name = "mirrored"
match = { path = "/mirrored" }
pool = "default"
strip_prefix = true
mirror = { pool = "other" }
[[routes]]
name = "mirrored-to-the-dead"
match = { path = "/mirrored/dead" }
pool = "default"
mirror = { pool = "dead" }
"""


@dataclass(slots=True)
class Routed(Rig):
    """A balancer with routes to the pools `default`, `other` and `dead`, which has an error page."""

    other: ProgrammedBackend = None  # type: ignore[assignment]
    log: Path = Path()

    def last_line(self, mark: str) -> str:
        """The line of the access log with the mark in it."""
        lines = eventually(lambda: [line for line in self.log.read_text().splitlines() if mark in line], mark)
        return lines[-1]


#: For what stock workers can't do: they join repeats, have no body at hand, and offer no upgrade.
OWN_ONLY = pytest.mark.parametrize("routed", ["own"], indirect=True)


@pytest.fixture(scope="module", params=first_of(["own", "gthread"]))
def routed(
    request: pytest.FixtureRequest, _shared_valkey: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Routed]:
    place = tmp_path_factory.mktemp("routes")
    (place / "bad.html").write_text("<h1>bad")
    (place / "closed.html").write_text("<h1>closed")
    first, second = ProgrammedBackend(), ProgrammedBackend()
    with ExitStack() as open_:
        servers = tuple(open_.enter_context(ScriptedBackend(backend.play)) for backend in (first, second))
        pools = [f'[pools.{name}]\nbackends = ["{url}"]\nejection = {{ failures = 0 }}\n' for name, url in (
            ("other", servers[1].url), ("dead", f"http://127.0.0.1:{free_port()}")
        )]  # fmt: skip
        pools[1] += f'error_pages = {{ 502 = "{place}/bad.html" }}\n'
        path = place / "lbflask.toml"
        routes = ROUTES.replace("DIR", str(place))
        path.write_text(f'backends = ["{servers[0].url}"]\nejection = {{ failures = 0 }}\n{routes}{"".join(pools)}')
        settings = {"config": path, "redis_url": _shared_valkey, "namespace": f"routes-{request.param}"}
        balancer = open_.enter_context(Gunicorn(*STOCK.get(request.param, ()), workers=1, **settings))
        yield Routed(request.param, balancer, first, servers, other=second, log=place / "access.log")
        assert balancer.stop() == 0


@pytest.fixture
def rig(routed: Routed) -> Iterator[Routed]:
    programmes = routed.backend.programme, routed.other.programme = Programme(), Programme()
    routed.seen = len(routed.balancer.output)
    yield routed
    routed.settle()
    assert [programme.failures for programme in programmes] == [[], []]
    routed.assert_no_traceback()


@pytest.fixture
def client(rig: Routed) -> Iterator[RawClient]:
    with rig.connect() as client:
        yield client


def lines_of(request: Received, *names: bytes) -> list[bytes]:
    return [line for line in request.lines if line.partition(b":")[0].lower() in names]


def names_of(answer: RawResponse) -> list[bytes]:
    return [name.lower() for name, _ in answer.fields]


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        (b"/strip/me/x", b"/x"),
        (b"/strip/me", b"/"),
        (b"/strip/me?q=/strip/me", b"/?q=/strip/me"),
        (b"/strip/me/a%2Fb//c;d/%zz?e=%7B&&f", b"/a%2Fb//c;d/%zz?e=%7B&&f"),
        (b"/%73trip/me/%41", b"/%41"),
        (b"http://a/strip/me/x", b"/x"),
        (b"/old/x?y", b"/new%20place/x?y"),
        (b"/old", b"/new%20place"),
        (b"/older/x", b"/older/x"),
    ],
)
def test_a_prefix_is_rewritten_and_all_else_of_the_target_kept_byte_for_byte(
    rig: Routed, client: RawClient, asked: bytes, got: bytes
) -> None:
    """RFC 9112 §3.2.1: path, encoding and query are those that the client sent."""
    assert client.ask(ask(target=asked)).status == 200
    assert rig.backend.request.target == got


@OWN_ONLY
def test_fields_that_no_rule_names_keep_order_case_and_repeats(rig: Routed, client: RawClient) -> None:
    """RFC 9110 §5.3: the order of lines with one name means something."""
    fields = [b"x-a: 1", b"X-Gone: 1", b"Accept: a", b"X-B: 2", b"x-gone: 2", b"X-A: 3", b"ACCEPT: b", b"x-b: 4"]
    rig.backend.answer = says(
        sized(b"ok", b"set-cookie: a", b"X-Powered-By: x", b"Server: y", b"Set-Cookie: b", b"SERVER: z", b"x-c: 1")
    )
    answer = client.ask(ask(*fields, target=b"/edits"))
    seen = rig.backend.request
    assert lines_of(seen, b"x-a", b"x-b", b"accept", b"x-gone") == [
        b"x-a: 1", b"accept: text/set", b"X-B: 2", b"X-A: 3", b"x-b: 4",
    ]  # fmt: skip
    assert answer.fields[:5] == [
        (b"Content-Length", b"2"), (b"set-cookie", b"a"), (b"Server", b"hidden"), (b"Set-Cookie", b"b"), (b"x-c", b"1"),
    ]  # fmt: skip


def test_fields_are_set_added_and_removed_both_ways(rig: Routed, client: RawClient) -> None:
    rig.backend.answer = says(sized(b"ok", b"X-Powered-By: x"))
    answer = client.ask(ask(b"X-Set: c", b"X-Add: c", b"X-Gone: c", target=b"/edits"))
    seen = rig.backend.request
    assert (seen.values(b"x-set"), seen.values(b"x-gone"), seen.values(b"x-forwarded-port")) == ([b"s"], [], [])
    assert seen.values(b"x-add") == [b"c", b"a"]
    assert len(seen.values(b"x-forwarded-for")) == 1
    assert answer.values(b"strict-transport-security") == [b"max-age=1"]
    assert answer.values(b"server") == [b"hidden" if rig.kind == "own" else b"gunicorn"]
    assert b"x-powered-by" not in names_of(answer)


def test_edits_leave_bodies_and_their_framing_alone(rig: Routed, client: RawClient) -> None:
    bodies = rig.backend.takes_the_body(reply(b"Transfer-Encoding: chunked", body=b"2\r\nok\r\n0\r\n\r\n"))
    answer = client.ask(post(b"hello", target=b"/edits"))
    assert (next_of(bodies), answer.body) == (b"hello", b"ok")
    assert rig.backend.request.values(b"content-length") == [b"5"]


def test_a_redirection_takes_path_and_query_along(rig: Routed, client: RawClient) -> None:
    """RFC 9110 §15.4.9."""
    answer = client.ask(ask(target=b"/elsewhere/a%2Fb//?c=%20"))
    assert (answer.status, answer.values(b"location")) == (308, [b"https://a/a%2Fb//?c=%20"])
    assert rig.backend.requests == []


def test_a_redirection_to_its_own_host_needs_one(rig: Routed, client: RawClient) -> None:
    assert client.ask(b"GET /elsewhere HTTP/1.0\r\n\r\n").status == 400


def test_a_fixed_answer_has_its_page_and_its_fields(rig: Routed, client: RawClient) -> None:
    answer = client.ask(ask(target=b"/closed/x"))
    assert (answer.status, answer.body) == (503, b"<h1>closed")
    assert answer.values(b"content-type") == [b"text/html; charset=utf-8"]
    assert answer.values(b"retry-after") == [b"60"]
    assert client.ask(ask(target=b"/closed/y")).status == 503  # and the connection goes on
    assert rig.backend.requests == []


def test_the_head_of_a_fixed_answer_has_its_length_and_no_body(rig: Routed, client: RawClient) -> None:
    """RFC 9110 §9.3.2."""
    answer = client.ask(ask(target=b"/closed", method=b"HEAD"))
    assert (answer.status, answer.values(b"content-length")) == (503, [b"10"])
    assert client.ask(ask(target=b"/closed")).body == b"<h1>closed"


def test_an_unread_body_ends_the_connection_of_a_direct_response_if_necessary(rig: Routed) -> None:
    """RFC 9112 §9.3: what is left of a body is not taken for the next request."""
    with rig.connect() as client:
        client.send(chunked(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").replace(b" / ", b" /closed "))
        assert client.answer().status == 503
    assert rig.backend.requests == []


def test_a_method_that_a_route_is_not_for_goes_elsewhere(rig: Routed, client: RawClient) -> None:
    assert client.ask(ask(target=b"/closed", method=b"DELETE")).status == 200
    assert rig.backend.request.line == b"DELETE /closed HTTP/1.1"


@pytest.mark.parametrize(
    ("request_", "to_other"),
    [
        (ask(), False),
        (ask(b"X-Beta: yes"), True),
        (ask(b"X-Beta: no"), False),
        (ask().replace(b"Host: a", b"Host: OTHER.example:80"), True),
        (ask().replace(b"Host: a", b"Host: x.y.other.example."), True),
        (ask().replace(b"Host: a", b"Host: another.example"), False),
        (ask(target=b"http://other.example/x"), True),
    ],
)
def test_host_and_headers_choose_the_pool(rig: Routed, client: RawClient, request_: bytes, to_other: bool) -> None:
    """RFC 9112 §3.2.2: the authority of an absolute target is the host."""
    assert client.ask(request_).status == 200
    assert (len(rig.other.requests), len(rig.backend.requests)) == ((1, 0) if to_other else (0, 1))


def test_a_split_keeps_each_key_where_it_is(rig: Routed, client: RawClient) -> None:
    homes: dict[int, bool] = {}
    for turn in range(2):
        for user in range(12):
            before = len(rig.other.requests)
            assert client.ask(ask(b"Cookie: user=u%d" % user, target=b"/split")).status == 200
            at_other = len(rig.other.requests) > before
            assert homes.setdefault(user, at_other) == at_other, (turn, user)
    assert set(homes.values()) == {True, False}


@pytest.mark.parametrize(
    "target", [b"//closed", b"/x/../closed", b"/x/%2e%2e/closed", b"/x/..%2Fclosed", b"/closed;x", b"/x/..;/closed"]
)
def test_no_path_gets_round_the_route_of_what_it_means(rig: Routed, client: RawClient, target: bytes) -> None:
    """RFC 3986 §5.2.4, §6.2.2: a backend may take it for /closed, which it is not asked for."""
    answer = client.ask(ask(target=target))
    assert (answer.status, rig.backend.requests) == (400, [])
    assert client.ask(ask()).status == 200


@pytest.mark.parametrize("target", [b"/x//y", b"/x/../y", b"/a%2Fb", b"/a;b", b"/\\"])
def test_a_path_with_several_readings_of_one_route_is_forwarded_as_it_came(
    rig: Routed, client: RawClient, target: bytes
) -> None:
    assert client.ask(ask(target=target)).status == 200
    assert rig.backend.request.target == target


def test_the_error_page_of_a_pool_is_given_with_the_fields_of_the_route(rig: Routed, client: RawClient) -> None:
    answer = client.ask(ask(b"Accept: text/html", target=b"/dead"))
    assert (answer.status, answer.body) == (502, b"<h1>bad")
    assert answer.values(b"content-type") == [b"text/html; charset=utf-8"]
    assert answer.values(b"x-from") == [b"dead"]


def test_who_asks_for_json_gets_no_page(rig: Routed, client: RawClient) -> None:
    answer = client.ask(ask(b"Accept: application/json", target=b"/dead"))
    assert answer.values(b"content-type") == [b"application/json"]


def test_the_pages_are_not_for_what_backends_answer(rig: Routed, client: RawClient) -> None:
    rig.backend.answer = says(sized(b"mine", status=b"502 Bad Gateway"))
    assert client.ask(ask()).body == b"mine"


# Mirrors


def test_a_copy_is_what_the_backend_gets(rig: Routed, client: RawClient) -> None:
    assert client.ask(ask(b"X-A: 1", target=b"/mirrored/x?y")).status == 200
    eventually(lambda: rig.other.requests, "the copy comes")
    assert rig.other.request.line == b"GET /x?y HTTP/1.1"
    assert rig.other.request.lines == rig.backend.request.lines


@OWN_ONLY
def test_a_copy_has_the_body_that_was_here_with_its_head(rig: Routed, client: RawClient) -> None:
    bodies = rig.other.takes_the_body()
    assert client.ask(post(b"hello", target=b"/mirrored")).status == 200
    assert next_of(bodies) == b"hello"


def test_a_body_that_comes_in_pieces_has_no_copy(rig: Routed, client: RawClient) -> None:
    client.send(chunked(b"hello").replace(b" / ", b" /mirrored "))
    assert client.answer().status == 200
    assert client.ask(ask(target=b"/mirrored/next")).status == 200
    eventually(lambda: rig.other.requests, "the next copy comes")
    assert rig.other.request.line == b"GET /next HTTP/1.1"


def test_a_pool_that_never_answers_copies_delays_no_request(rig: Routed, client: RawClient) -> None:
    """Beyond those that fit, copies are left out, and counted."""
    over = threading.Event()

    def hangs(peer: Peer, request: Received) -> None:
        peer.wait(over)
        peer.send(OK)

    rig.other.answer = hangs
    try:
        for _ in range(80):
            assert client.ask(ask(target=b"/mirrored")).status == 200
        eventually(lambda: len(rig.other.requests) == 64, "as many copies as may be")
        worker = rig.balancer.health()[1]["worker"]
        assert (worker["mirrored"], worker["unmirrored"] >= 16) == (64, True)
    finally:
        over.set()
    eventually(lambda: rig.balancer.health()[1]["worker"]["mirrored"] == 0, "the copies are over")


def test_a_dead_pool_does_not_affect_others(rig: Routed, client: RawClient) -> None:
    for _ in range(3):
        assert client.ask(ask(target=b"/mirrored/dead")).status == 200


def test_the_response_to_a_copy_is_discarded(rig: Routed, client: RawClient) -> None:
    rig.other.answer = says(sized(b"x" * 300_000, b"Set-Cookie: mine", status=b"500 No"))
    assert client.ask(ask(target=b"/mirrored")).status == 200
    eventually(lambda: rig.other.requests, "the copy comes")


# The rest


@OWN_ONLY
def test_a_tunnel_takes_its_route(rig: Routed, client: RawClient) -> None:
    """RFC 9110 §7.8."""
    rig.other.answer = says(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhi")
    client.send(ask(b"Connection: Upgrade", b"Upgrade: echo", b"X-Beta: yes"))
    assert client.head().status == 101
    assert client.read(2) == b"hi"


def test_a_client_that_goes_is_no_matter_to_a_route(rig: Routed) -> None:
    with rig.connect() as client:
        client.send(ask(target=b"/closed"))
    with rig.connect() as client:
        assert client.ask(ask(target=b"/closed")).status == 503


def test_what_is_refused_is_in_the_log(rig: Routed, client: RawClient) -> None:
    client.ask(ask(target=b"/x/../closed?refused"))
    line = rig.last_line("closed?refused")
    assert " 400 " in line
    assert 'cut="the path can be read as that of another route"' in line
