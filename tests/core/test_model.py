from __future__ import annotations

from dataclasses import fields, replace
from enum import StrEnum
from typing import Any

import pytest

from lbflask.core.model import (
    LEAST_SECRET,
    MOST_WEIGHT,
    NOTHING_KNOWN,
    ActiveHealth,
    Address,
    Backend,
    Candidate,
    Health,
    Mode,
    Override,
    Pool,
    Snapshot,
    StickyCookie,
)
from tests.support.documentation import defaults, page, public_values

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


def test_a_backend_without_a_socket_is_reached_by_host_and_port() -> None:
    assert WEB.address == Address("http", "web.example", 8000) == ("http", "web.example", 8000, "")


@pytest.mark.parametrize("kind", [Health, Mode])
def test_states_have_the_names_that_users_read(kind: type[StrEnum]) -> None:
    assert sorted(kind) == public_values(kind)


def test_limits_are_those_of_the_documentation() -> None:
    assert f"# 0 to {MOST_WEIGHT}; `usual` restores the configured weight" in page("operating.md")
    assert f"of at least {LEAST_SECRET} characters" in page("sessions.md")


@pytest.mark.parametrize(
    ("value", "section", "names"),
    [
        (WEB, "A backend", ["weight", "backup", "slow_start", "max_connections"]),
        (Pool("p", ()), "Top level", ["strategy", "slow_start"]),
        (Pool("p", ()), "`[hash]`", ["load_factor"]),
        (StickyCookie("S"), "`[sticky]`", ["path", "domain", "max_age", "secure", "http_only", "same_site"]),
    ],
)
def test_defaults_are_those_of_the_settings(value: object, section: str, names: list[str]) -> None:
    documented = defaults(section)
    assert {name: getattr(value, name) for name in names} == {name: documented[name] for name in names}


def test_strategies_that_hash_use_the_key_of_the_settings() -> None:
    assert Pool("p", ()).hash_key == defaults("`[hash]`")["key"]


@pytest.mark.parametrize(
    ("value", "known"),
    [
        (ActiveHealth(), {"health": Health.CHECKING}),
        (Override(), {"mode": Mode.SERVING}),
        (NOTHING_KNOWN, {}),
        (Candidate(WEB, 3), {"backend": WEB, "weight": 3}),
        (Pool("p", ()), {"name": "p", "strategy": "round_robin", "hash_key": "client"}),
    ],
)
def test_what_is_not_given_is_empty(value: Any, known: dict[str, object]) -> None:
    assert {one.name: getattr(value, one.name) for one in fields(value) if getattr(value, one.name)} == known


@pytest.mark.parametrize(
    "value", [Snapshot(secret="0123456789abcdef"), StickyCookie("S", secrets=("0123456789abcdef",))]
)
def test_no_secret_is_shown(value: object) -> None:
    assert "0123456789abcdef" not in repr(value)
