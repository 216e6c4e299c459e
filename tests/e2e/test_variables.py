"""Header fields with variables, as backends and clients get them."""

from __future__ import annotations

from contextlib import closing
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from devtools.certificates import Authority
from devtools.ports import free_port
from devtools.servers import Gunicorn, get, urls
from devtools.wait import PATIENCE

pytestmark = pytest.mark.e2e

FILE = """
trusted_proxies = ["127.0.0.1"]
request_headers.set = { X-Scheme = "{scheme}", X-Url = "{scheme}://{host}{path}{query}", X-Token = "{header.X-None}" }
request_headers.default = { X-Kind = "plain" }
response_headers.when = [{ on = ["2xx"], absent = ["X-None"], set = { Cache-Control = "max-age=60" } }]
response_headers.set = { X-Served-By = "{backend}", X-Request = "{request_id}" }

[[routes]]
match = { path = "/closed" }
respond = { status = 503, body = "later" }
response_headers.set = { X-From = "{client} {method}" }

[[routes]]
match = { path = "/moved" }
redirect = "https://{host}/{header.X-Tenant}/{client}{path}"

[[routes]]
match = { path = "/page" }
respond = { status = 200, content_type = "text/html", body = "<p title='{header.X-Name}'>{client} {request_id}" }

[[routes]]
match = { path = "/" }
pool = "default"
"""


@pytest.mark.parametrize("worker", [(), ("-k", "gthread")], ids=["own", "gthread"])
def test_they_are_those_of_the_request(store: str, demos: list[int], tmp_path: Path, worker: tuple[str, ...]) -> None:
    file = tmp_path / "lbflask.toml"
    file.write_text(f"backends = {urls(demos).split(',')}\n{FILE}")
    with Gunicorn(*worker, config=file, redis_url=store) as balancer:
        proxied = {"Host": "shop.example:81", "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
        response = get(balancer.port, "/echo?a=b", headers={**proxied, "X-Token": "t", "X-Scheme": "ftp"})
        lines = response.body.decode().splitlines()
        assert "X-Scheme: https" in lines
        assert "X-Url: https://shop.example/echo?a=b" in lines
        assert not [line for line in lines if line.startswith("X-Token")]
        assert "X-Kind: plain" in lines
        assert response.field("Cache-Control") == "max-age=60"
        assert "X-Kind: own" in get(balancer.port, "/echo", headers={"X-Kind": "own"}).body.decode().splitlines()
        assert response.field("X-Served-By") in [f"127.0.0.1:{port}" for port in demos]
        assert response.field("X-Request")
        closed = get(balancer.port, "/closed", headers=proxied)
        assert closed.status == 503
        assert closed.field("Cache-Control") is None
        assert closed.field("X-From") == "192.0.2.7 GET"
        assert closed.field("X-Served-By") is None
        assert closed.field("X-Request")
        moved = get(balancer.port, "/moved", headers={**proxied, "X-Tenant": "a/../b c"})
        assert moved.field("Location") == "https://shop.example/a%2F..%2Fb%20c/192.0.2.7/moved"
        page = get(balancer.port, "/page", headers={**proxied, "X-Name": "'><script>"})
        assert page.body.decode() == f"<p title='&#x27;&gt;&lt;script&gt;'>192.0.2.7 {page.field('X-Request')}"
        balancer.assert_no_traceback()


def test_they_have_the_version_of_tls(store: str, demos: list[int], tmp_path: Path) -> None:
    authority, file = Authority(tmp_path), tmp_path / "lbflask.toml"
    pair, plain, secured = authority.pair("localhost"), free_port(), free_port()
    file.write_text(
        f"backends = {urls(demos).split(',')}\nredis_url = '{store}'\n"
        "request_headers.set = { X-TLS = '{tls.version}', X-Subject = '{tls.client_subject}' }\n"
        f"[[listeners]]\nbind = '127.0.0.1:{plain}'\n[[listeners]]\nbind = '127.0.0.1:{secured}'\ntls = true\n"
        f"[tls]\ncertificate = '{pair.certificate}'\nkey = '{pair.key}'\n"
    )
    with Gunicorn(config=file, bind=None):
        with closing(HTTPSConnection("localhost", secured, timeout=PATIENCE, context=authority.trust())) as connection:
            connection.request("GET", "/echo", headers={"X-Subject": "CN=forged"})
            lines = connection.getresponse().read().decode().splitlines()
        assert "X-TLS: TLSv1.3" in lines
        assert not [line for line in lines if line.startswith("X-Subject")]
        assert b"X-TLS" not in get(plain, "/echo").body
