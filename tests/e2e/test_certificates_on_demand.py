"""Certificates for names that are not listed, when a client asks for them: real instances, checkers and authority."""

from __future__ import annotations

import http.server
import os
import re
import signal
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import redis

from devtools.environment import HOST
from devtools.ports import free_port
from devtools.servers import Process, get
from devtools.wait import eventually
from tests.e2e.test_automatic_certificates import NAMES, Site, issued

pytestmark = pytest.mark.e2e

TENANT, OTHER, FOREIGN = "a.tenants.example", "b.tenants.example", "a.foreign.example"


@pytest.fixture
def site(tmp_path: Path, store: str, demos: list[int]) -> Iterator[Site]:
    site = Site(tmp_path, store, demos, NAMES[0])
    site.authority.resolve(TENANT, OTHER, FOREIGN)
    site.settings["tls__acme__on_demand"] = "*.tenants.example"
    yield site
    site.close()


def shakes_hands(site: Site, name: str, port: int = 0) -> bool:
    """Whether a client that asks for the name gets a certificate for it."""
    with suppress(ConnectionError, ssl.SSLError):
        return site.serves(port or site.https, name)
    return False


def stored(site: Site, store: str) -> str:
    """All that the store holds of certificates and wishes."""
    with redis.Redis.from_url(store) as client:
        namespace = site.settings["namespace"]
        found = [client.hgetall(f"{{{namespace}:}}:{key}") for key in ("certificates", "wishes")]
    return " ".join(name.decode() for record in found for name in record)


def test_a_name_that_matches_is_issued_for_all_instances_and_no_other_is(site: Site, store: str) -> None:
    balancer = site.balancer("one", workers=2)
    https = free_port()
    site.balancer("two", free_port(), https)
    checker = site.checker("one")
    eventually(lambda: issued(checker) == [NAMES[0]], "the listed name is issued", 60)
    assert not shakes_hands(site, FOREIGN)
    assert not shakes_hands(site, "a.b.tenants.example")
    eventually(lambda: shakes_hands(site, TENANT, https), "the instance that was asked has it", 60)
    eventually(lambda: shakes_hands(site, TENANT), "the other one too")
    assert issued(checker) == sorted([NAMES[0], TENANT])
    assert site.orders() == 2
    assert "foreign" not in stored(site, store)
    assert "a.b.tenants" not in stored(site, store)
    page = get(balancer.admin_port, "/metrics").body.decode()
    assert re.search(r'lbflask_acme_on_demand_names\{state="issued"\} 1', page)


@pytest.mark.long
def test_only_so_many_first_orders_begin_within_an_hour_also_after_a_change_of_the_leader(site: Site) -> None:
    site.settings["tls__acme__on_demand_per_hour"] = 1
    site.balancer("one")
    checker = site.checker("one")
    eventually(lambda: shakes_hands(site, TENANT), "the first one is issued", 60)
    eventually(lambda: not shakes_hands(site, OTHER) and f"{OTHER} waits" in checker.output, "the second one waits")
    os.kill(checker.pid, signal.SIGKILL)
    successor = site.checker("two")
    leads(successor)
    with redis.Redis.from_url(str(site.settings["redis_url"])) as client:  # as a worker does after its pause
        client.hset(f"{{{site.settings['namespace']}:}}:wishes", OTHER, "1")
    eventually(lambda: f"{OTHER} waits" in successor.output, "it waits here too")
    assert not issued(successor)


def leads(checker: Process) -> None:
    eventually(lambda: "certificates: leading" in checker.output, "it leads", 60)


class Service:
    """Permits `names`."""

    def __init__(self, *names: str) -> None:
        self.asked: list[str] = []
        service = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                (name,) = parse_qs(urlsplit(self.path).query)["domain"]
                service.asked.append(name)
                self.send_response(200 if name in names else 403)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer((HOST, 0), Answer)
        self.url = f"http://{HOST}:{self.server.server_address[1]}/allowed"


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service(FOREIGN)
    threading.Thread(target=service.server.serve_forever, daemon=True).start()
    yield service
    service.server.shutdown()
    service.server.server_close()


@pytest.mark.long
def test_a_service_permits_names_and_the_leader_asks_it_too(site: Site, store: str, service: Service) -> None:
    del site.settings["tls__acme__on_demand"]
    site.settings["tls__acme__on_demand_ask"] = service.url
    site.balancer("one")
    checker = site.checker("one")
    leads(checker)
    eventually(lambda: shakes_hands(site, FOREIGN), "it is permitted, and issued", 60)
    assert service.asked.count(FOREIGN) >= 2, "by the worker and by the leader"
    assert not shakes_hands(site, TENANT)
    eventually(lambda: TENANT in service.asked, "it is asked for")
    with redis.Redis.from_url(store) as client:  # a wish that no worker of ours would file
        client.hset(f"{{{site.settings['namespace']}:}}:wishes", OTHER, "1")
    eventually(lambda: OTHER in service.asked, "the leader does not trust the store")
    eventually(lambda: "tenants" not in stored(site, store), "nothing of them is stored")
    assert TENANT not in issued(checker)
    assert OTHER not in issued(checker)
