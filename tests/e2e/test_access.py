"""Clients are admitted and refused by their addresses, whatever a route does, by our worker and by a stock one."""

from __future__ import annotations

import http.client
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devtools.raw_client import RawClient
from devtools.scripted_backend import OK, Peer, ScriptedBackend
from devtools.servers import Gunicorn, HttpResponse, get
from devtools.wait import eventually
from tests.support.selection import first_of

pytestmark = pytest.mark.e2e

WORKERS = {"own": (), "sync": ("-k", "sync")}
FILE = """
namespace = "{name}"
trusted_proxies = ["127.0.0.1"]
error_pages = {{ 403 = "no.html" }}
access = {{ deny = ["file:deny.txt"] }}

[pools.web]
backends = ["{url}"]

[[routes]]
name = "office"
match = {{ path = "/office" }}
pool = "web"
access = {{ allow = ["10.0.0.0/8", "203.0.113.9"] }}

[[routes]]
name = "open"
match = {{ path = "/open" }}
pool = "web"
access = {{ deny = [] }}

[[routes]]
name = "fixed"
match = {{ path = "/fixed" }}
respond = {{ body = "fixed", status = 200 }}

[[routes]]
name = "moved"
match = {{ path = "/moved" }}
redirect = "https://shop.example"

[[routes]]
name = "static"
match = {{ path = "/static" }}
files = "files"

[[routes]]
name = "web"
pool = "web"
"""
STRANGER, DENIED, OFFICE = "198.51.100.1", "203.0.113.9", "10.1.2.3"


def answer(peer: Peer) -> None:
    while head := peer.read_head():
        peer.read_body(head)
        peer.send(OK)


@dataclass(frozen=True, slots=True)
class Site:
    balancer: Gunicorn
    directory: Path

    def ask(self, path: str, client: str, method: str = "GET", body: bytes | None = None) -> HttpResponse:
        return get(self.balancer.port, path, method, {"X-Forwarded-For": client}, body)

    def log(self) -> str:
        return (self.directory / "access.log").read_text()


@pytest.fixture(scope="module", params=first_of(WORKERS))
def site(request: pytest.FixtureRequest, store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp(request.param)
    (directory / "deny.txt").write_text("203.0.113.0/24\n2001:db8::/32 # abuse\n")
    (directory / "no.html").write_text("<p>No.</p>")
    (directory / "files").mkdir()
    (directory / "files" / "a.txt").write_text("a")
    with ScriptedBackend(answer) as backend:
        file = directory / "lbflask.toml"
        file.write_text(FILE.format(name=directory.name, url=backend.url))
        with Gunicorn(
            *WORKERS[request.param], config=file, redis_url=store, backends=None, access_log=directory / "access.log",
            access_log_format="json",
        ) as balancer:  # fmt: skip
            yield Site(balancer, directory)


@pytest.mark.parametrize(("path", "stranger"), [("/", 200), ("/fixed", 200), ("/moved", 308), ("/static/a.txt", 200)])
def test_a_denied_client_gets_403_whatever_the_route_does(site: Site, path: str, stranger: int) -> None:
    assert site.ask(path, STRANGER).status == stranger
    for client in (DENIED, "2001:db8:1::7", "::ffff:203.0.113.200"):
        refused = site.ask(path, client)
        assert (refused.status, refused.body) == (403, b"<p>No.</p>")
    assert site.ask("/health", DENIED).status == 200


@pytest.mark.parametrize(
    ("path", "client", "status"),
    [
        ("/office", OFFICE, 200),
        ("/office", STRANGER, 403),
        ("/office", DENIED, 200),  # more specific than what the top level denies
        ("/office", "203.0.113.8", 403),
        ("/open", DENIED, 200),
        ("/open", "unknown", 200),
        ("/office", "unknown", 403),
    ],
)
def test_a_route_has_its_own_lists_and_inherits_those_that_it_does_not_set(
    site: Site, path: str, client: str, status: int
) -> None:
    assert site.ask(path, client).status == status


def test_a_refusal_is_in_the_log_with_its_cause_client_and_route(site: Site) -> None:
    site.ask("/office/log", STRANGER)
    eventually(lambda: "/office/log" in site.log(), "the line of the request")
    (line,) = [line for line in site.log().splitlines() if "/office/log" in line]
    assert '"access"' in line
    assert STRANGER in line
    assert '"office"' in line


def test_a_connection_goes_on_after_a_refused_body(site: Site) -> None:
    """What follows a refusal on the connection is no part of the refused body."""
    assert site.ask("/", DENIED, "POST", b"x" * 100_000).status == 403
    body = b"GET /smuggled HTTP/1.1\r\nA: b\r\n\r\n"
    with RawClient(site.balancer.port) as client:
        head = f"POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {DENIED}\r\nContent-Length: {len(body)}\r\n\r\n"
        client.send(head.encode() + body)
        assert client.answer().status == 403
    assert "/smuggled" not in site.log()


def test_an_upgrade_is_refused(site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.balancer.port, timeout=20)
    upgrade = {"X-Forwarded-For": DENIED, "Connection": "Upgrade", "Upgrade": "websocket"}
    connection.request("GET", "/", headers=upgrade)
    assert connection.getresponse().status == 403
    connection.close()


def test_a_reload_reads_the_files_again_and_keeps_the_old_list_if_one_is_bad(site: Site) -> None:
    deny, workers = site.directory / "deny.txt", site.balancer.workers()
    before = deny.read_text()
    deny.write_text(before + "192.0.2.0/33\n")
    site.balancer.signal(signal.SIGHUP)
    eventually(lambda: "'192.0.2.0/33' is no address" in site.balancer.output, "the mistake is named")
    assert f"'{deny}' line 3:" in site.balancer.output
    assert site.ask("/", DENIED).status == 403
    deny.write_text("192.0.2.0/24\n")
    site.balancer.signal(signal.SIGHUP)
    eventually(lambda: site.ask("/", "192.0.2.1").status == 403, "the new list")
    eventually(lambda: site.ask("/", DENIED).status == 200, "the old list is gone")
    deny.write_text(before)
    site.balancer.signal(signal.SIGHUP)
    eventually(lambda: site.ask("/", DENIED).status == 403, "the first list")
    assert site.balancer.workers() == workers
