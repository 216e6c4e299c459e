"""A real uWSGI behind lbflask, and behind nginx: the application gets the same from both."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devtools.environment import HOST
from devtools.raw_client import RawClient
from devtools.servers import Gunicorn, HttpResponse, Process, free_port, get, listens, require, start_checker
from devtools.wait import eventually
from tests.support.selection import first_of

pytestmark = pytest.mark.e2e

APPLICATION = """
import json

def application(environ, start_response):
    body = environ["wsgi.input"].read().decode("latin-1")
    if environ["PATH_INFO"] == "/pieces":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([b"one ", b"two ", b"three"])
    variables = {key: value for key, value in environ.items() if isinstance(value, str)}
    text = json.dumps({"variables": variables, "body": body}).encode()
    status = "404 Not Found" if environ["PATH_INFO"] == "/missing" else "200 OK"
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [text]
"""
#: What a connection or a proxy differs in.
APART = {"REMOTE_PORT", "SERVER_PORT", "SERVER_NAME", "HTTP_HOST", "DOCUMENT_ROOT", "SERVER_ADDR", "uwsgi.node"}
#: What only nginx adds, or only lbflask.
ADDED = {
    "HTTP_CONTENT_LENGTH",
    "HTTP_CONTENT_TYPE",
    "HTTP_CONNECTION",
    "HTTP_VIA",
    "HTTP_X_REQUEST_ID",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_HOST",
}
#: The variables that applications read by the specification of WSGI (PEP 3333), and of nginx's uwsgi_params.
EXPECTED = (
    "REQUEST_METHOD",
    "REQUEST_URI",
    "PATH_INFO",
    "QUERY_STRING",
    "CONTENT_TYPE",
    "REMOTE_ADDR",
    "REQUEST_SCHEME",
)


@dataclass(frozen=True, slots=True)
class Site:
    """uWSGI, and the proxies before it."""

    balancer: Gunicorn
    nginx: int
    buffers: bool


@pytest.fixture(scope="module", params=first_of(["socket", "tcp"]))
def site(request: pytest.FixtureRequest, store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    require(shutil.which("uwsgi"), "uwsgi")
    require(shutil.which("nginx"), "nginx")
    place = tmp_path_factory.mktemp("uwsgi")
    (place / "app.py").write_text(APPLICATION)
    port, nginx = free_port(), free_port()
    path = place / "app.sock"
    address = f"{HOST}:{port}" if request.param == "tcp" else str(path)
    backend = f"uwsgi://{address}" if request.param == "tcp" else f"uwsgi:{address}"
    upstream = address if request.param == "tcp" else f"unix:{address}"
    application_file = str(place / "app.py")
    command = ["uwsgi", "--plugin", "python3", "--socket", address, "--wsgi-file", application_file, "--need-app"]
    settings = {"backends": backend, "redis_url": store, "namespace": f"uwsgi-{request.param}", "health__kind": "http"}
    (place / "nginx.conf").write_text(nginx_configuration(place, nginx, upstream))
    with ExitStack() as stack:
        application = stack.enter_context(Process(command, cwd=place))
        application.await_start(lambda: path.is_socket() or listens(port), "uWSGI listens")
        front = stack.enter_context(Process(["nginx", "-c", str(place / "nginx.conf"), "-e", f"{place}/start.log"]))
        front.await_start(lambda: listens(nginx), "nginx listens")
        stack.enter_context(start_checker(health__interval="0.2", **settings))
        buffers = request.param == "socket"
        balancer = stack.enter_context(Gunicorn(**settings, buffering__requests="1MiB" if buffers else "0"))
        yield Site(balancer, nginx, buffers)
        assert balancer.stop() == 0
        balancer.assert_no_traceback()


def nginx_configuration(place: Path, port: int, upstream: str) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {place}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""  # which may use the socket
    return (
        f"{user} daemon off; pid {place}/nginx.pid; error_log {place}/error.log; events {{ }}\n"
        f"http {{ access_log off; {paths} include /etc/nginx/uwsgi_params;\n"
        f"uwsgi_param HTTP_X_REAL_IP $remote_addr; uwsgi_param HTTP_X_FORWARDED_FOR $remote_addr;\n"
        f"uwsgi_param HTTP_X_FORWARDED_PROTO $scheme;\n"
        f"server {{ listen {HOST}:{port}; location / {{ uwsgi_pass {upstream}; }} }} }}\n"
    )


def variables(got: HttpResponse) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(got.body)["variables"]
    return {key: value for key, value in found.items() if key not in APART | ADDED}


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("GET", "/", {}, None),
        ("GET", "/a%20b/%C3%A4?x=%20&y", {"Accept": "text/html", "Cookie": "a=1; b=2"}, None),
        ("POST", "/form", {"Content-Type": "text/plain"}, b"x" * 100_000),
        ("DELETE", "/missing", {"Authorization": "Basic eDp5"}, None),
    ],
)
def test_the_application_gets_what_nginx_gives_it(
    site: Site, method: str, path: str, headers: dict[str, str], body: bytes | None
) -> None:
    ours, theirs = (get(port, path, method, headers, body) for port in (site.balancer.port, site.nginx))
    assert ours.status == theirs.status
    assert variables(ours) == variables(theirs)
    assert {key: variables(ours).get(key) for key in EXPECTED} == {key: variables(theirs).get(key) for key in EXPECTED}
    assert json.loads(ours.body)["body"] == json.loads(theirs.body)["body"] == (body or b"").decode()


def test_a_stranger_sets_no_variable_of_another_field(site: Site) -> None:
    got = get(
        site.balancer.port, headers={"X_Real_IP": "192.0.2.66", "Proxy": "http://evil", "X-Real-IP": "192.0.2.66"}
    )
    found = json.loads(got.body)["variables"]
    assert (found["HTTP_X_REAL_IP"], found["REMOTE_ADDR"], found.get("HTTP_PROXY")) == (HOST, HOST, None)


def test_a_response_without_a_length_ends_with_its_connection(site: Site) -> None:
    assert get(site.balancer.port, "/pieces").body == b"one two three"
    assert get(site.balancer.port, "/", "HEAD").body == b""


def test_a_client_that_expects_100_continue_gets_it(site: Site) -> None:
    with RawClient(site.balancer.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert client.head().status == 100
        client.send(b"abc")
        assert json.loads(client.answer().body)["body"] == "abc"


def test_a_body_of_unknown_length_needs_a_buffer(site: Site) -> None:
    with RawClient(site.balancer.port) as client:
        got = client.ask(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    if site.buffers:
        assert json.loads(got.body)["body"] == "abc"
    else:
        assert got.status == 411
        eventually(lambda: "buffering.requests" in site.balancer.output, "the log names the setting")


def test_checks_ask_by_the_protocol(site: Site) -> None:
    eventually(lambda: set(site.balancer.healths().values()) == {"up"}, "uWSGI is found up")
