"""TLS towards backends that differs by pool: roots, names and client certificates, for requests and for checks."""

from __future__ import annotations

import json
import signal
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devtools.certificates import Authority
from devtools.scripted_backend import ScriptedBackend, answering_always
from devtools.servers import Gunicorn, get, start_checker
from devtools.wait import eventually

pytestmark = pytest.mark.e2e

FILE = """
namespace = "backend-tls"
redis_url = "{store}"

[pools.one.backend_tls]
ca_file = "{first}"

[pools.one]
backends = ["{one}"]
health = {{ kind = "https", interval = 0.2, fast_interval = 0.1 }}

[pools.two]
backends = ["{two}"]
health = {{ kind = "https", interval = 0.2, fast_interval = 0.1 }}

[pools.two.backend_tls]
ca_file = "{second}"
server_name = "two.inner"
certificate = "{certificate}"
key = "{key}"

[[routes]]
name = "one"
match = {{ path = "/one" }}
pool = "one"

[[routes]]
name = "two"
match = {{ path = "/two" }}
pool = "two"
"""


@dataclass(frozen=True, slots=True)
class Setting:
    balancer: Gunicorn
    one: ScriptedBackend
    two: ScriptedBackend
    file: Path
    values: dict[str, str]

    def write(self, **changes: str) -> None:
        self.file.write_text(FILE.format(**{**self.values, **changes}))

    def reload(self, **changes: str) -> None:
        self.write(**changes)
        self.balancer.signal(signal.SIGHUP)

    def state(self, pool: str) -> str:
        """The health of the backend of the pool, as its checks find it."""
        pools = json.loads(get(self.balancer.admin_port, "/api/v1/pools").body)["pools"]
        (found,) = [one for one in pools if one["name"] == pool]
        (backend,) = found["backends"]
        return str(backend["state"])


@pytest.fixture(scope="module")
def setting(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    directory = tmp_path_factory.mktemp("tls")
    first, second = (Authority(directory, name) for name in ("first", "second"))
    client = second.pair("balancer")

    def require_client(context: ssl.SSLContext) -> None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(second.ca_file)

    with (
        ScriptedBackend(answering_always(), tls=first.server("127.0.0.1")) as one,
        ScriptedBackend(answering_always(), tls=second.server("two.inner", adjust=require_client)) as two,
    ):
        values = {"store": store, "first": first.ca_file, "second": second.ca_file, "one": one.url, "two": two.url}
        values |= {"certificate": client.certificate, "key": client.key}
        file = directory / "lbflask.toml"
        file.write_text(FILE.format(**values))
        with (
            Gunicorn(config=file, workers=1) as balancer,
            start_checker(config=file),
        ):
            yield Setting(balancer, one, two, file, values)


def test_each_pool_trusts_its_own_roots_and_shows_its_own_certificate(setting: Setting) -> None:
    assert get(setting.balancer.port, "/one").status == 200
    assert get(setting.balancer.port, "/two").status == 200


def test_checks_use_those_of_their_pool(setting: Setting) -> None:
    for pool in ("one", "two"):
        eventually(lambda pool=pool: setting.state(pool) == "up", f"{pool} to be up")


def test_a_reload_changes_one_pool_and_keeps_the_connections_of_the_other(setting: Setting) -> None:
    assert get(setting.balancer.port, "/one").status == 200
    setting.reload(first=setting.values["second"])
    eventually(lambda: get(setting.balancer.port, "/one").status == 502, "the other root not to be trusted")
    assert get(setting.balancer.port, "/two").status == 200
    setting.reload()
    eventually(lambda: get(setting.balancer.port, "/one").status == 200, "the right root to be trusted again")
