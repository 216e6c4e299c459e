"""Settings of rules that ban clients."""

from __future__ import annotations

import tomllib
from ipaddress import ip_network

import pytest

from lbflask.config.diff import difference
from lbflask.config.load import load
from lbflask.config.render import effective, toml_of
from lbflask.config.schema import Config

BACKENDS = {"backends": ["http://127.0.0.1:1"]}


def config(**rule: object) -> Config:
    return Config.model_validate({**BACKENDS, "bans": {"login": {"statuses": [401], **rule}}})


def test_a_rule_has_usual_values_and_times_with_units() -> None:
    rule = config().bans["login"].to_model("login", [])
    assert (rule.name, rule.statuses, rule.count, rule.within, rule.duration) == ("login", {401}, 20, 60.0, 3600)
    other = config(within="10m", **{"for": "2d"}).bans["login"].to_model("login", [])
    assert (other.within, other.duration) == (600.0, 172_800)


def test_exempt_networks_and_proxies_are_not_banned() -> None:
    rule = config(exempt=["10.0.0.0/8"]).bans["login"].to_model("login", [ip_network("192.0.2.0/24")])
    assert [rule.exempt.admits(one) for one in ("10.1.1.1", "192.0.2.9", "203.0.113.1")] == [True, True, False]
    assert not config().bans["login"].to_model("login", []).exempt.admits("203.0.113.1")


def test_the_effective_configuration_can_be_loaded_again() -> None:
    again = tomllib.loads(toml_of(effective(config(**{"for": 90}))))
    assert Config.model_validate(again).bans["login"].for_ == 90.0


def test_a_changed_rule_is_named_by_its_key_and_applied_in_place() -> None:
    found = difference(config(), config(**{"for": "2h"}))
    assert (found.in_place, found.by_new_workers) == (("bans.login.for",), ())


@pytest.mark.parametrize("text", ["60", "1m"])
def test_the_environment_has_rules_too(text: str) -> None:
    environ = {"LBFLASK_CONFIG": "/dev/null", "LBFLASK_BACKENDS": "http://127.0.0.1:1"}
    environ |= {"LBFLASK_BANS__LOGIN__STATUSES": "401, 403", "LBFLASK_BANS__LOGIN__FOR": text}
    rule = load(environ).bans["login"]
    assert (rule.statuses, rule.for_) == ((401, 403), 60.0)
