"""Balancers and their backends, started when first asked for, and one Valkey for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devtools.raw_client import RawClient
from devtools.scripted_backend import ScriptedBackend
from devtools.servers import free_port
from tests.conformance.servers import OWN, STOCK, Rig, fresh, start
from tests.support.programmed import ProgrammedBackend
from tests.support.selection import first_of


@pytest.fixture(scope="session", params=first_of(OWN))
def own(request: pytest.FixtureRequest, _shared_valkey: str) -> Iterator[Rig]:
    """Our own worker, with each of gunicorn's parsers."""
    yield from start(request.param, _shared_valkey, *OWN[request.param])


@pytest.fixture(scope="session", params=first_of(STOCK))
def stock(request: pytest.FixtureRequest, _shared_valkey: str) -> Iterator[Rig]:
    """gunicorn's own workers."""
    yield from start(request.param, _shared_valkey, *STOCK[request.param])


@pytest.fixture(scope="session", params=first_of(OWN))
def unlimited(request: pytest.FixtureRequest, _shared_valkey: str) -> Iterator[Rig]:
    """Our own worker, with each of gunicorn's parsers, and no limit to a body."""
    kind = f"unlimited-{request.param}"
    yield from start(kind, _shared_valkey, *OWN[request.param], limits__body=0, limits__field_size=32_000)


@pytest.fixture(scope="session")
def trusting(_shared_valkey: str) -> Iterator[Rig]:
    """One that believes its peers, gives backends their own address as Host, and writes no Via."""
    settings = {"trusted_proxies": "127.0.0.0/8", "preserve_host": "false", "via": ""}
    yield from start("trusting", _shared_valkey, **settings)


@pytest.fixture(scope="session")
def impatient(_shared_valkey: str) -> Iterator[Rig]:
    """One whose patience with both sides is short."""
    settings = {
        f"timeouts__{name}": 0.4
        for name in ("client_head", "client_body", "first_byte", "between_bytes", "tunnel_idle")
    }
    yield from start("impatient", _shared_valkey, **settings)


@pytest.fixture(scope="session")
def failing(_shared_valkey: str) -> Iterator[Rig]:
    """One before two backends, of which the second is never there."""
    yield from start("failing", _shared_valkey, others=(f"http://127.0.0.1:{free_port()}",))


@pytest.fixture(scope="session")
def redundant(_shared_valkey: str) -> Iterator[Rig]:
    """One before two backends that play the same programme."""
    backend = ProgrammedBackend()
    with ScriptedBackend(backend.play) as second:
        yield from start("redundant", _shared_valkey, backend=backend, more=(second,))


@pytest.fixture(scope="session")
def dead(_shared_valkey: str) -> Iterator[Rig]:
    """One whose only backend is never there."""
    yield from start("dead", _shared_valkey, backends=f"http://127.0.0.1:{free_port()}")


@pytest.fixture(scope="session")
def empty(_shared_valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One whose only backend takes no request."""
    file = tmp_path_factory.mktemp("empty") / "lbflask.toml"
    file.write_text(f'[[backends]]\nurl = "http://127.0.0.1:{free_port()}"\nweight = 0\n')
    yield from start("empty", _shared_valkey, config=file)


@pytest.fixture
def rig(own: Rig) -> Iterator[Rig]:
    """The server that a test is about: our own worker, unless its module says otherwise."""
    yield from fresh(own)


@pytest.fixture
def backend(rig: Rig) -> ProgrammedBackend:
    return rig.backend


@pytest.fixture
def client(rig: Rig) -> Iterator[RawClient]:
    with rig.connect() as client:
        yield client
