"""Each key of `match`, rewrites, redirects and a route for `/health`, through our worker and through a stock one."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from devtools.ports import free_port
from devtools.servers import Gunicorn, get, start_demo
from devtools.wait import PATIENCE
from tests.e2e.test_stock_workers import WORKERS
from tests.support.selection import first_of

pytestmark = pytest.mark.e2e

#: Routes that respond with their names, by these.
RESPONDING = {
    "lists": 'path = ["/a", "/b/c"]',
    "exact": 'exact = "/a/x"',
    "suffix": 'path = "/x", suffix = [".php", ".cgi"]',
    "regex": "path = '/x', regex = '/v[0-9]+(/|$)'",
    "query": 'path = "/x", query = { q = "a b", r = true }',
    "cookie": 'path = "/x", cookies = { beta = { regex = "^y" } }',
    "header": 'path = "/x", headers = { X-Version = { regex = "^2[.]" } }',
    "client": 'path = "/x", client = "192.0.2.0/24"',
    "https": 'path = "/x", scheme = "https"',
    "second": 'path = "/x", listener = ":SECOND"',
    "inner": 'path = "/inner", not = { client = "192.0.2.0/24" }',
    "health": 'host = "app.example", exact = "/health"',
}
OTHERS = """
[[routes]]
match = { exact = "/spaces" }
redirect = "/spaces/{query}"

[[routes]]
match = { path = "/away" }
redirect = "https"

[[routes]]
match = { path = "/old" }
rewrite = { regex = "^/old/(?P<status>[0-9]+)$", to = "/status/{status}" }
pool = "default"

[[routes]]
match = { path = ["/strip", "/strip/twice"] }
strip_prefix = true
pool = "default"
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """A balancer with two listeners, which trusts the clients that connect from 127.0.0.2."""

    port: int
    second: int


@pytest.fixture(scope="module", params=first_of(["own", "gthread"]))
def setting(request: pytest.FixtureRequest, store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    file = tmp_path_factory.mktemp(request.param) / "lbflask.toml"
    port, second, backend = free_port(), free_port(), free_port()
    routes = "".join(
        f'[[routes]]\nname = "{name}"\nmatch = {{ {match} }}\nrespond = {{ status = 200, body = "{name}" }}\n'
        for name, match in RESPONDING.items()
    )
    file.write_text(
        f"backends = 'http://127.0.0.1:{backend}'\nbind = ['127.0.0.1:{port}', '127.0.0.1:{second}']\n"
        f"trusted_proxies = '127.0.0.2/32'\nredis_url = '{store}'\nnamespace = 'matching-{request.param}'\n"
        + OTHERS
        + routes.replace("SECOND", str(second))
    )
    with ExitStack() as running:
        running.enter_context(start_demo(backend))
        balancer = running.enter_context(Gunicorn(*WORKERS[request.param], workers=1, config=file, bind=None))
        yield Setting(port, second)
        balancer.assert_no_traceback()


def sent(port: int, target: str, *fields: str, source: str = "127.0.0.1") -> tuple[int, str, str]:
    """Status, Location and body of the response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE, source_address=(source, 0))
    try:
        connection.request("GET", target, headers=dict(field.split(": ") for field in fields))
        response = connection.getresponse()
        return response.status, response.getheader("Location", ""), response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("target", "fields", "source", "expected"),
    [
        ("/a", [], "", "lists"),
        ("/b/c/d", [], "", "lists"),
        ("/b", [], "", "hello"),
        ("/a/x", [], "", "exact"),
        ("/a/x/", [], "", "lists"),
        ("/x/y.php?q", [], "", "suffix"),
        ("/x/y.%70hp", [], "", "suffix"),
        ("/x/y.php/", [], "", "hello"),
        ("/x/v12/y", [], "", "regex"),
        ("/x/vv", [], "", "hello"),
        ("/x?r&q=a+b", [], "", "query"),
        ("/x?q=a+b", [], "", "hello"),
        ("/x", ["Cookie: a=1; beta=yes"], "", "cookie"),
        ("/x", ["Cookie: alpha=yes; beta=no"], "", "hello"),
        ("/x", ["X-Version: 2.1"], "", "header"),
        ("/x", ["X-Version: 12.1"], "", "hello"),
        ("/x", ["X-Forwarded-For: 192.0.2.7"], "127.0.0.2", "client"),
        ("/x", ["X-Forwarded-For: 192.0.2.7"], "", "hello"),
        ("/x", ["X-Forwarded-Proto: https"], "127.0.0.2", "https"),
        ("/x", ["X-Forwarded-Proto: https"], "", "hello"),
        ("/inner", [], "", "inner"),
        ("/inner", ["X-Forwarded-For: 192.0.2.7"], "127.0.0.2", "hello"),
        ("/old/404", [], "", "status 404"),
        ("/old/x", [], "", "hello"),
        ("/strip/status/204", [], "", ""),
        ("/strip/twice/status/418?x", [], "", "status 418"),
    ],
)
def test_a_request_takes_the_route_of_what_it_has(
    setting: Setting, target: str, fields: list[str], source: str, expected: str
) -> None:
    _, _, body = sent(setting.port, target, *fields, source=source or "127.0.0.1")
    assert body.startswith(expected) if expected else not body


def test_a_request_takes_the_route_of_its_listener(setting: Setting) -> None:
    assert sent(setting.second, "/x")[2] == "second"
    assert sent(setting.port, "/x")[2].startswith("hello")


def test_a_redirect_adds_a_slash_once(setting: Setting) -> None:
    assert sent(setting.port, "/spaces?a=b")[:2] == (308, "/spaces/?a=b")
    assert sent(setting.port, "/spaces/?a=b")[2].startswith("hello")


def test_a_redirect_to_https_keeps_host_and_target(setting: Setting) -> None:
    status, location, _ = sent(setting.port, "/away/x?y=1", "Host: shop.example:8080")
    assert (status, location) == (308, "https://shop.example/away/x?y=1")


@pytest.mark.parametrize("target", ["/x/..;/a/x", "/a/x%00", "//a/x", "/x/y.php;a", "/spaces;x", "/strip/./twice/x"])
def test_a_path_that_may_be_that_of_another_route_is_refused(setting: Setting, target: str) -> None:
    assert sent(setting.port, target)[0] == 400


def test_the_health_of_the_balancer_gives_way_to_a_route_that_names_its_path(setting: Setting) -> None:
    assert sent(setting.port, "/health", "Host: app.example")[2] == "health"
    status, _, body = sent(setting.port, "/health", "Host: other.example")
    assert (status, json.loads(body)["status"]) == (200, "ok")
    assert get(setting.port, "/live").status == 200
