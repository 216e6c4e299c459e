"""The listener of a connection, by the address of its end here."""

from __future__ import annotations

import pytest

from lbflask.config.schema import Config
from lbflask.wiring.listeners import listener_of


def config(*listeners: dict[str, str]) -> Config:
    return Config.model_validate({"backends": ["http://a:1"], "listeners": listeners})


@pytest.mark.parametrize(
    ("local", "label"),
    [
        (("127.0.0.1", 80), "one"),
        (("127.0.0.2", 80), ""),
        (("10.1.2.3", 81), "all"),
        (("127.0.0.3", 82), "127.0.0.3:82"),
        (("127.0.0.1", 83), "named"),
        ("/run/p.sock", "unix:/run/p.sock"),
        ("/run/q.sock", ""),
        (None, ""),
    ],
)
def test_it_is_found_by_address_or_by_port(local: object, label: str) -> None:
    found = listener_of(
        config(
            {"bind": "127.0.0.1:80", "name": "one"},
            {"bind": "0.0.0.0:81", "name": "all"},
            {"bind": "127.0.0.3:82"},
            {"bind": "localhost:83", "name": "named"},
            {"bind": "no.such.host.invalid:84"},
            {"bind": "unix:/run/p.sock"},
        )
    )
    assert found(local) == label


def test_the_short_form_has_addresses_as_labels() -> None:
    found = listener_of(Config.model_validate({"backends": ["http://a:1"], "bind": ["0.0.0.0:80", "127.0.0.1:81"]}))
    assert [found(("127.0.0.1", port)) for port in (80, 81, 82)] == ["0.0.0.0:80", "127.0.0.1:81", ""]
