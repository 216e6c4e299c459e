"""Who asked, and through whom: behind proxies that are believed, and the name that a request goes by."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devtools.raw_client import RawClient
from tests.conformance.cases import ask
from tests.conformance.servers import Rig, fresh
from tests.support.programmed import ProgrammedBackend


@pytest.fixture
def believing(trusting: Rig) -> Iterator[Rig]:
    yield from fresh(trusting)


def seen(rig: Rig, *fields: bytes, **head: bytes) -> dict[bytes, list[bytes]]:
    """The backend's fields for this request, by name."""
    with rig.connect() as client:
        assert client.ask(ask(*fields, **head)).status == 200
    request = rig.backend.request
    return {name: request.values(name) for name in request.names}


def test_the_chain_of_a_trusted_proxy_grows(believing: Rig) -> None:
    """RFC 7239 §5.2."""
    assert seen(believing, b"X-Forwarded-For: 1.2.3.4, 10.0.0.1")[b"x-forwarded-for"] == [
        b"1.2.3.4, 10.0.0.1, 127.0.0.1"
    ]


def test_a_chain_in_several_lines_becomes_one(believing: Rig) -> None:
    """RFC 7239 §7.1: in order."""
    got = seen(believing, b"X-Forwarded-For: 1.2.3.4", b"X-A: b", b"x-forwarded-for: 5.6.7.8")
    assert got[b"x-forwarded-for"] == [b"1.2.3.4, 5.6.7.8, 127.0.0.1"]


def test_the_origin_from_a_trusted_proxy_is_kept(believing: Rig) -> None:
    """RFC 7239 §5.3, §5.4: scheme, host and port were the client's at the first proxy."""
    got = seen(believing, b"X-Forwarded-Proto: https", b"X-Forwarded-Host: shop.example", b"X-Forwarded-Port: 443")
    assert got[b"x-forwarded-proto"] == [b"https"]
    assert got[b"x-forwarded-host"] == [b"shop.example"]
    assert got[b"x-forwarded-port"] == [b"443"]


def test_what_a_trusted_proxy_leaves_out_is_filled_in(believing: Rig) -> None:
    """RFC 7239 §5."""
    got = seen(believing, b"X-Forwarded-Proto: https")
    assert got[b"x-forwarded-for"] == [b"127.0.0.1"]
    assert got[b"x-forwarded-proto"] == [b"https"]
    assert got[b"x-forwarded-host"] == [b"a"]


def test_other_fields_of_a_trusted_proxy_are_kept(believing: Rig) -> None:
    """RFC 7239 §4."""
    got = seen(believing, b"Forwarded: for=1.2.3.4;proto=https", b"X-Real-IP: 1.2.3.4", b"X-Forwarded-Prefix: /shop")
    assert got[b"forwarded"][0].startswith(b"for=1.2.3.4;proto=https")
    assert got[b"x-real-ip"] == [b"1.2.3.4"]
    assert got[b"x-forwarded-prefix"] == [b"/shop"]


def test_not_even_a_trusted_proxy_can_have_them_removed(believing: Rig) -> None:
    """RFC 9110 §7.6.1."""
    got = seen(believing, b"Connection: X-Forwarded-For, X-Forwarded-Proto", b"X-Forwarded-For: 1.2.3.4")
    assert got[b"x-forwarded-for"] == [b"1.2.3.4, 127.0.0.1"]
    assert got[b"x-forwarded-proto"] == [b"http"]


def test_the_backend_may_get_a_host_of_its_own(believing: Rig) -> None:
    """R20, RFC 9110 §7.2: the client's is then in X-Forwarded-Host."""
    got = seen(believing)
    (host,) = got[b"host"]
    assert host.startswith(b"127.0.0.1:")
    assert got[b"x-forwarded-host"] == [b"a"]


def test_via_may_be_left_out_both_ways(believing: Rig) -> None:
    """RFC 9110 §7.6.3: that of others stays."""
    with believing.connect() as client:
        answer = client.ask(ask(b"Via: 1.1 fred"))
    assert answer.values(b"via") == []
    assert believing.backend.request.values(b"via") == [b"1.1 fred"]


def test_the_port_is_that_of_the_url(rig: Rig) -> None:
    """RFC 9110 §4.2.1: the default one where the Host names none, whatever port the listener has."""
    assert seen(rig)[b"x-forwarded-port"] == [b"80"]


def test_without_a_host_none_is_made_up_for_others(client: RawClient, backend: ProgrammedBackend) -> None:
    """RFC 9112 §3.2: HTTP/1.0 needs none; the backend, which is spoken to in 1.1, gets its own."""
    assert client.ask(b"GET / HTTP/1.0\r\n\r\n").status == 200
    assert backend.request.values(b"host")[0].startswith(b"127.0.0.1:")
    assert backend.request.values(b"x-forwarded-host") == []


@pytest.mark.parametrize("name", [b"", b"a b", b"x" * 129, b"caf\xe9", b"a\tb"])
def test_a_name_that_is_not_fit_for_a_log_is_replaced(
    name: bytes, client: RawClient, backend: ProgrammedBackend
) -> None:
    """G15: names go into logs as they are."""
    assert client.ask(ask(b"X-Request-ID: " + name)).status == 200
    (made,) = backend.request.values(b"x-request-id")
    assert made != name
    assert made.isascii()
    assert made


def test_of_two_names_one_is_left(client: RawClient, backend: ProgrammedBackend) -> None:
    """G15."""
    assert client.ask(ask(b"X-Request-ID: one", b"X-Request-ID: two")).status == 200
    assert len(backend.request.values(b"x-request-id")) == 1


def test_each_request_has_a_name_of_its_own(client: RawClient, backend: ProgrammedBackend) -> None:
    """G15."""
    for _ in range(5):
        client.ask(ask())
    assert len({request.values(b"x-request-id")[0] for request in backend.requests}) == 5
