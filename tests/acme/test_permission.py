"""The service that permits names: a real server."""

from __future__ import annotations

import http.server
import logging
import threading
from collections.abc import Iterator

import pytest

from devtools.environment import HOST
from devtools.ports import free_port
from lbflask.acme.permission import Permission


class Service:
    """Answers `statuses` by the path."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.status = 200
        service = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.paths.append(self.path)
                self.send_response(service.status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer((HOST, 0), Answer)
        self.url = f"http://{HOST}:{self.server.server_address[1]}"


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    threading.Thread(target=service.server.serve_forever, daemon=True).start()
    yield service
    service.server.shutdown()
    service.server.server_close()


def test_status_200_permits_a_name_and_no_other_status_does(service: Service) -> None:
    permission = Permission(f"{service.url}/allowed?token=x")
    assert permission.allows("a.tenants.example")
    assert service.paths == ["/allowed?token=x&domain=a.tenants.example"]
    for status in (204, 301, 404, 500):
        service.status = status
        assert not permission.allows("a.tenants.example")
    assert len(service.paths) == 5, "redirections are not followed"


def test_a_url_without_a_path(service: Service) -> None:
    assert Permission(service.url).allows("a.example")
    assert service.paths == ["/?domain=a.example"]


def test_a_service_out_of_reach_permits_nothing_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    permission = Permission(f"http://{HOST}:{free_port()}/")
    with caplog.at_level(logging.WARNING):
        assert not any(permission.allows(f"{name}.example") for name in "abc")
    (line,) = caplog.messages
    assert "tls.acme.on_demand_ask: no new names are allowed" in line


def test_what_is_no_http_permits_nothing(service: Service) -> None:
    service.server.RequestHandlerClass.do_GET = lambda handler: handler.wfile.write(b"\0\xff\r\n\r\n")  # type: ignore[attr-defined]
    assert not Permission(service.url).allows("a.example")


def test_a_name_that_dns_cannot_have_permits_nothing() -> None:
    assert not Permission(f"http://{'a' * 70}.example/").allows("a.example")
