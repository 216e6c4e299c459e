"""Header fields with variables, as backends and clients get them."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools.servers import Gunicorn, get, urls

pytestmark = pytest.mark.e2e

FILE = """
trusted_proxies = ["127.0.0.1"]
request_headers.set = { X-Scheme = "{scheme}", X-Url = "{scheme}://{host}{path}{query}", X-Token = "{header.X-None}" }
response_headers.set = { X-Served-By = "{backend}", X-Request = "{request_id}" }

[[routes]]
match = { path = "/closed" }
respond = { status = 503, body = "later" }
response_headers.set = { X-From = "{client} {method}" }

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
        assert response.field("X-Served-By") in [f"127.0.0.1:{port}" for port in demos]
        assert response.field("X-Request")
        closed = get(balancer.port, "/closed", headers=proxied)
        assert closed.status == 503
        assert closed.field("X-From") == "192.0.2.7 GET"
        assert closed.field("X-Served-By") is None
        assert closed.field("X-Request")
        balancer.assert_no_traceback()
