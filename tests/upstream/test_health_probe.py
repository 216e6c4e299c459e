"""The probes: an observation whatever happens, with a reason a person can act on."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from devtools.servers import free_port
from devtools.wait import PATIENCE
from lbflask.core.checks import HealthCheck
from lbflask.core.failure_causes import FailureCause
from lbflask.core.health import Observation
from lbflask.core.model import Backend
from lbflask.upstream.health_probe import Prober
from lbflask.upstream.resolver import HostAddress, SystemResolver
from tests.support.changes import property_test


def backend(port: int, host: str = "127.0.0.1") -> Backend:
    return Backend(f"{host}:{port}", host, port, f"http://{host}:{port}")


def observe(target: Backend, timeout: float = PATIENCE, resolver: SystemResolver | None = None) -> Any:
    with asyncio.Runner() as runner:
        broken: list[dict[str, Any]] = []
        runner.get_loop().set_exception_handler(lambda _, context: broken.append(context))
        seen = runner.run(Prober(resolver=resolver)(target, HealthCheck(timeout=timeout)))
    assert not broken
    return seen


def addresses(*hosts: str) -> SystemResolver:
    """A resolver that knows every name under these addresses."""
    return SystemResolver(lambda _: [HostAddress(socket.AF_INET, host) for host in hosts])


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        yield listener


@pytest.fixture
def black_hole() -> Iterator[int]:
    """The port of a listener with a full backlog: the kernel drops whoever else knocks."""
    callers = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        while True:
            caller = socket.socket()
            callers.append(caller)
            caller.settimeout(0.2)
            try:
                caller.connect(listener.getsockname())
            except TimeoutError:
                break
        yield listener.getsockname()[1]
    for caller in callers:
        caller.close()


def test_a_backend_that_takes_connections_is_up_and_the_connection_is_closed_at_once(listener: socket.socket) -> None:
    assert observe(backend(listener.getsockname()[1])) == Observation(True, "connected")
    peer, _ = listener.accept()
    with peer:
        peer.settimeout(PATIENCE)
        assert peer.recv(1) == b""


def test_a_backend_is_up_though_it_never_accepts(listener: socket.socket) -> None:
    # The kernel completes the handshake; that is what a TCP check can see.
    assert observe(backend(listener.getsockname()[1])).ok


def test_a_port_where_nobody_listens_is_down() -> None:
    assert observe(backend(free_port())) == Observation(False, "connection refused", FailureCause.REFUSED)


def test_a_backend_that_does_not_answer_is_down_after_the_timeout(black_hole: int) -> None:
    assert observe(backend(black_hole), 0.05) == Observation(
        False, "no connection within 0.05 s", FailureCause.TIMED_OUT
    )


def test_a_name_that_cannot_be_resolved_is_down() -> None:
    def unknown(name: str) -> list[HostAddress]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    seen = observe(backend(80, "nowhere.invalid"), resolver=SystemResolver(unknown))
    assert seen == Observation(False, "its name cannot be resolved: Name or service not known", FailureCause.NAME)


def test_a_name_that_takes_too_long_to_resolve_is_down() -> None:
    over = threading.Event()

    def slow(_: str) -> list[HostAddress]:
        over.wait(PATIENCE)
        return []

    seen = observe(backend(80, "slow.invalid"), 0.05, resolver=SystemResolver(slow))
    over.set()
    assert seen == Observation(False, "its name was not resolved within 0.05 s", FailureCause.NAME_SERVER)


def test_one_good_address_of_several_is_enough(listener: socket.socket) -> None:
    seen = observe(backend(listener.getsockname()[1], "several.invalid"), resolver=addresses("127.0.0.2", "127.0.0.1"))
    assert seen == Observation(True, "connected")


def test_the_reason_is_told_when_all_of_several_addresses_refuse() -> None:
    seen = observe(backend(free_port(), "several.invalid"), resolver=addresses("127.0.0.2", "127.0.0.1"))
    assert seen == Observation(False, "connection refused", FailureCause.REFUSED)


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".test", "nul\0.test"])
def test_a_host_that_is_no_name_is_down(host: str) -> None:
    seen = observe(backend(80, host))
    assert not seen.ok
    assert seen.reason


def test_a_port_that_is_none_is_down() -> None:
    seen = observe(backend(70_000))
    assert not seen.ok
    assert "port" in seen.reason


def test_many_probes_at_once_see_each_its_own(listener: socket.socket, black_hole: int) -> None:
    targets = [(listener.getsockname()[1], PATIENCE), (free_port(), PATIENCE), (black_hole, 0.05)]

    async def all_at_once() -> list[Observation]:
        return await asyncio.gather(
            *(Prober()(backend(port), HealthCheck(timeout=timeout)) for port, timeout in targets * 5)
        )

    seen = asyncio.run(all_at_once())
    assert [one.ok for one in seen] == [True, False, False] * 5


test_any_answer_is_one_verdict = property_test("probe")
