from __future__ import annotations

from dataclasses import replace

import pytest

from lbflask.core.model import Address, Backend, Snapshot

WEB = Backend("web", "web.example", 8000, "http://web.example:8000")


@pytest.mark.parametrize(
    ("changes", "authority"),
    [
        ({}, "web.example:8000"),
        ({"port": 80}, "web.example"),
        ({"port": 443}, "web.example:443"),
        ({"port": 443, "scheme": "https"}, "web.example"),
        ({"host": "2001:db8::1"}, "[2001:db8::1]:8000"),
        ({"host": "localhost", "port": 0, "scheme": "unix", "path": "/run/web"}, "localhost"),
    ],
)
def test_a_backend_is_asked_for_without_the_port_that_its_scheme_implies(
    changes: dict[str, str | int], authority: str
) -> None:
    """RFC 9110 §4.2.3."""
    backend = replace(WEB, **changes)
    assert backend.authority == authority
    assert backend.address == Address(backend.scheme, backend.host, backend.port, backend.path)


def test_snapshots_of_the_same_facts_are_equal_whenever_they_were_read() -> None:
    assert Snapshot(1, now=1.0) == Snapshot(1, now=2.0) != Snapshot(2, now=1.0)
