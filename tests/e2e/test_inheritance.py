"""Settings that pools and routes override, through real gunicorn, by our worker and by a stock one."""

from __future__ import annotations

import http.client
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devtools.scripted_backend import Peer, ScriptedBackend
from devtools.servers import Gunicorn, HttpResponse
from devtools.wait import eventually
from tests.support.selection import first_of

pytestmark = pytest.mark.e2e

WORKERS = {"own": (), "sync": ("-k", "sync"), "gthread": ("-k", "gthread", "--threads", "4")}
SHOP = "https://shop.example"

FILE = """
namespace = "{name}"
limits = {{ body = 8 }}
error_pages = {{ 500 = "sorry.html" }}

[health]
fall = 100

[pools.web]
backends = ["{url}"]
host = "web.inner"

[[routes]]
name = "small"
match = {{ path = "/small" }}
pool = "web"
limits = {{ body = 3 }}

[[routes]]
name = "large"
match = {{ path = "/large" }}
pool = "web"
limits = {{ body = 0 }}
host = "{host}"

[[routes]]
name = "page"
match = {{ path = "/page" }}
pool = "web"
error_pages_for = "all"

[[routes]]
name = "api"
match = {{ path = "/api" }}
pool = "web"
cors = {{ origins = ["https://shop.example"] }}

[[routes]]
name = "slow"
match = {{ path = "/slow" }}
pool = "web"
timeouts = {{ first_byte = 0.3 }}

[[routes]]
name = "rest"
pool = "web"
"""


def echo(peer: Peer) -> None:
    """Answers with its Host; 500 below /page, and not at all below /slow."""
    while head := peer.read_head():
        peer.read_body(head)
        target = head.split(b" ")[1]
        if target == b"/slow":
            peer.read_to_end()
            return
        status = b"500 Oops" if target == b"/page" else b"200 OK"
        body = head.partition(b"\r\nHost: ")[2].partition(b"\r\n")[0]
        peer.send(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


@dataclass(frozen=True, slots=True)
class Setting:
    balancer: Gunicorn
    backend: ScriptedBackend
    file: Path

    def write(self, host: str) -> None:
        self.file.write_text(FILE.format(name=self.file.parent.name, url=self.backend.url, host=host))

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **fields: str) -> HttpResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.balancer.port, timeout=20)
        try:
            named = {name.replace("_", "-"): value for name, value in fields.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            return HttpResponse(response.status, response.getheaders(), response.read())
        finally:
            connection.close()


@pytest.fixture(scope="module", params=first_of(WORKERS))
def setting(request: pytest.FixtureRequest, store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    directory = tmp_path_factory.mktemp(request.param)
    (directory / "sorry.html").write_text("<p>Sorry.</p>")
    with ScriptedBackend(echo) as backend:
        file = directory / "lbflask.toml"
        file.write_text(FILE.format(name=directory.name, url=backend.url, host="large.inner"))
        with Gunicorn(*WORKERS[request.param], config=file, redis_url=store, backends=None) as balancer:
            yield Setting(balancer, backend, file)


@pytest.mark.parametrize(("path", "size", "status"), [("/small", 3, 200), ("/small", 4, 413), ("/large", 99, 200)])
def test_each_route_has_its_limit_of_bodies(setting: Setting, path: str, size: int, status: int) -> None:
    assert setting.ask(path, "POST", b"x" * size).status == status


@pytest.mark.parametrize(("size", "status"), [(8, 200), (9, 413)])
def test_a_route_that_sets_none_has_that_of_the_top_level(setting: Setting, size: int, status: int) -> None:
    assert setting.ask("/", "POST", b"x" * size).status == status


def test_the_host_is_that_of_the_route_or_of_its_pool(setting: Setting) -> None:
    assert setting.ask("/").body == b"web.inner"
    assert setting.ask("/large").body == b"large.inner"


def test_pages_replace_what_backends_say_where_the_route_says_so(setting: Setting) -> None:
    response = setting.ask("/page")
    assert (response.status, response.body) == (500, b"<p>Sorry.</p>")
    assert response.field("Content-Type") == "text/html; charset=utf-8"
    assert setting.ask("/page", "HEAD").body == b""


def test_a_route_answers_preflight_requests(setting: Setting) -> None:
    asked = {"Origin": SHOP, "Access_Control_Request_Method": "POST"}
    answer = setting.ask("/api/x", "OPTIONS", **asked)
    assert (answer.status, answer.field("Access-Control-Allow-Origin")) == (204, SHOP)
    assert setting.ask("/api/x", Origin=SHOP).field("Access-Control-Allow-Origin") == SHOP
    assert setting.ask("/", Origin=SHOP).field("Access-Control-Allow-Origin") is None
    assert setting.ask("/", "OPTIONS", **asked).status == 200


def test_a_route_has_its_own_patience(setting: Setting) -> None:
    assert setting.ask("/slow").status == 504


def test_a_reload_changes_them_without_new_workers(setting: Setting) -> None:
    workers = setting.balancer.workers()
    setting.write(host="new.inner")
    setting.balancer.signal(signal.SIGHUP)
    eventually(lambda: setting.ask("/large").body == b"new.inner", "the new Host")
    assert setting.balancer.workers() == workers
