from __future__ import annotations

import os
from pathlib import Path

import pytest

from lbflask.config.acme import LETS_ENCRYPT
from lbflask.config.load import ConfigError, load
from lbflask.config.schema import Config

#: By which no listener without TLS is needed.
USUAL = {"challenge": "tls-alpn-01"}
KEY = "a key of the operator's, for tests only"


def loaded(**settings: str) -> Config:
    variables = {f"LBFLASK_TLS__ACME__{key}".upper(): value for key, value in {**USUAL, **settings}.items()}
    return load({"LBFLASK_CONFIG": os.devnull, "LBFLASK_BACKENDS": "http://a", **variables})


def refusal(**settings: str) -> str:
    with pytest.raises(ConfigError) as refused:
        loaded(**settings)
    message = str(refused.value)
    assert message.isprintable(), "one line"
    return message


def test_names_are_all_that_is_needed_on_one_machine() -> None:
    acme = loaded(domains="Shop.Example, api.shop.example").tls.acme
    assert acme.domains == ("shop.example", "api.shop.example")
    assert (acme.directory, acme.challenge, acme.every_key()) == (LETS_ENCRYPT, "tls-alpn-01", ())


@pytest.mark.parametrize(
    ("domains", "reason"),
    [
        ("example", "must be a name such as shop.example"),
        ("127.0.0.1", "no addresses"),
        ("größe.example", "xn-- form"),
        ("*.shop.example", "list the names"),
        ("a.example,b.example,a.example", "'a.example' is there twice"),
        (",".join(f"{number}.example" for number in range(201)), "has 201 names; 200 are possible"),
    ],
)
def test_what_is_no_list_of_names(domains: str, reason: str) -> None:
    assert reason in refusal(domains=domains)


@pytest.mark.parametrize("url", ["http://ca.example/dir", "ca.example/dir", "https://", "https://u:p@ca.example/"])
def test_the_directory_is_a_url_with_https(url: str) -> None:
    assert "https:// URL of an authority's ACME directory" in refusal(domains="a.example", directory=url)


@pytest.mark.parametrize("email", ["ops", "a@b,c@d", "a b@c", "a@b?x"])
def test_the_address_is_one(email: str) -> None:
    assert "one mail address" in refusal(domains="a.example", email=email)


def test_a_shared_store_needs_a_key() -> None:
    variables = {
        "LBFLASK_CONFIG": os.devnull, "LBFLASK_BACKENDS": "http://a", "LBFLASK_REDIS_URL": "redis://store:6379/0",
        "LBFLASK_TLS__ACME__DOMAINS": "a.example", "LBFLASK_TLS__ACME__CHALLENGE": "tls-alpn-01",
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"tls\.acme\.key_file.*openssl rand -base64 32"):
        load(variables)
    assert load({**variables, "LBFLASK_TLS__ACME__KEY": KEY}).tls.acme.every_key() == (KEY,)


class TestKeys:
    def test_a_file_has_one_or_several(self, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        file.write_text(f"{KEY}\n\n  {KEY}, the old one\n")
        assert loaded(domains="a.example", key_file=str(file)).tls.acme.every_key() == (KEY, f"{KEY}, the old one")

    @pytest.mark.parametrize(
        ("content", "reason"), [("", "no key"), ("short\n", "less than 32 characters"), (None, "cannot be read")]
    )
    def test_another_file_is_refused(self, tmp_path: Path, content: str | None, reason: str) -> None:
        file = tmp_path / "keys"
        if content is not None:
            file.write_text(content)
        assert reason in refusal(domains="a.example", key_file=str(file))

    def test_there_is_one_place_for_it(self, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        file.write_text(KEY)
        assert "tls.acme.key already" in refusal(domains="a.example", key=KEY, key_file=str(file))

    def test_it_is_not_shown(self) -> None:
        assert "guess" not in refusal(domains="a.example", key="guess")
        assert KEY not in repr(loaded(domains="a.example", key=KEY))


class TestValidationInTheDns:
    HOOK = "/etc/lbflask/dns-hook,--zone,shop.example"

    def test_it_allows_wildcards(self) -> None:
        acme = loaded(domains="shop.example,*.Shop.example", challenge="dns-01", dns_hook=self.HOOK).tls.acme
        assert acme.domains == ("shop.example", "*.shop.example")
        assert acme.dns_hook == ("/etc/lbflask/dns-hook", "--zone", "shop.example")
        assert not acme.needs_plain_listener

    @pytest.mark.parametrize("domains", ["*.example", "a.*.example", "*", "*shop.example"])
    def test_other_patterns_are_refused(self, domains: str) -> None:
        assert "must be a name" in refusal(domains=domains, challenge="dns-01", dns_hook=self.HOOK)

    def test_it_needs_a_command(self) -> None:
        assert "tls.acme.dns_hook: is missing" in refusal(domains="a.example", challenge="dns-01")
        relative = refusal(domains="a.example", challenge="dns-01", dns_hook="dns-hook")
        assert "'dns-hook' must be the absolute path" in relative

    @pytest.mark.parametrize(("key", "value"), [("dns_hook", HOOK), ("dns_hook_timeout", "5s"), ("dns_delay", "1s")])
    def test_other_challenges_have_no_command(self, key: str, value: str) -> None:
        assert f"tls.acme.{key}: is only for tls.acme.challenge = 'dns-01'" in refusal(
            domains="a.example", **{key: value}
        )

    @pytest.mark.parametrize(
        ("key", "value"), [("dns_hook_timeout", "0"), ("dns_hook_timeout", "601"), ("dns_delay", "-1")]
    )
    def test_times_are_bounded(self, key: str, value: str) -> None:
        settings = {"domains": "a.example", "challenge": "dns-01", "dns_hook": self.HOOK, key: value}
        assert f"tls.acme.{key}" in refusal(**settings)


class TestOnDemand:
    def test_names_are_allowed_by_patterns_a_service_or_both(self) -> None:
        acme = loaded(domains="a.example", on_demand="*.Tenants.example, other.example").tls.acme
        assert acme.demand is not None
        assert acme.demand.matches("x.tenants.example")
        assert not acme.demand.matches("a.example")
        assert acme.demand.per_hour == 20
        any_name = loaded(domains="a.example", on_demand_ask="http://10.0.0.1/allowed").tls.acme.demand
        assert any_name is not None
        assert any_name.matches("any.example")
        assert loaded(domains="a.example").tls.acme.demand is None

    @pytest.mark.parametrize("pattern", ["*", "*.example", "a.*.example", "**.a.example", "10.0.0.1"])
    def test_other_patterns_are_refused(self, pattern: str) -> None:
        assert "tls.acme.on_demand" in refusal(domains="a.example", on_demand=pattern)

    @pytest.mark.parametrize(
        "url",
        [
            "allowed",
            "ftp://a/",
            "http://",
            "http://u:p@a/",
            "http://a/#x",
            "http://a/ b",
            "http://a:99999/",
            "http://a:x/",
            "http://[::1/",
            "http://a..b/\0",
        ],
    )
    def test_the_service_is_a_url(self, url: str) -> None:
        message = refusal(domains="a.example", on_demand_ask=url)
        assert "tls.acme.on_demand_ask = " in message
        assert "must be a" in message

    def test_a_rate_needs_names(self) -> None:
        assert "no use without tls.acme.on_demand" in refusal(domains="a.example", on_demand_per_hour="5")


def test_without_names_nothing_else_has_a_meaning() -> None:
    assert "no automatic certificates without tls.acme.domains" in refusal(email="ops@a.example")


def test_validation_by_http_needs_a_listener_without_tls(tmp_path: Path) -> None:
    message = refusal(domains="a.example", challenge="http-01")
    assert "needs a listener without TLS" in message
    assert 'redirect = "https"' in message
    file = tmp_path / "lbflask.toml"
    file.write_text(
        """
        backends = ["http://a"]
        [[listeners]]
        bind = "0.0.0.0:80"
        redirect = "https"
        [[listeners]]
        bind = "0.0.0.0:443"
        tls = true
        [tls.acme]
        domains = ["a.example"]
        """
    )
    assert [one.tls for one in load({"LBFLASK_CONFIG": str(file)}).every_listener()] == [False, True]
