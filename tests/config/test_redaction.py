"""Secrets of settings, by their types: at each door that a configuration is shown at."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from lbflask.cli import main
from lbflask.config.backends import BackendsFileConfig
from lbflask.config.diff import difference
from lbflask.config.load import ConfigError, load
from lbflask.config.redaction import URL, FieldTable, Secret, ServiceURL, _alternatives, setting_type
from lbflask.config.render import effective
from lbflask.config.schema import Config
from lbflask.core.redaction import is_secret
from tests.control.servers import Counter
from tests.support.changes import property_test
from tests.support.pool_routes import text_with_routes
from tests.support.toml import as_toml

HUSH = "hunter2hunter2hunter2"

#: A setting of each kind that holds a secret, as TOML.
SETTINGS = {
    "the store": f'redis_url = "rediss://user:{HUSH}@r/0?db=1"',
    "the store's query": f'redis_url = "redis://r/0?db=1&ssl_password={HUSH}"',
    "an option of the store that nobody knows": f'redis_url = "redis://r/0?x={HUSH}"',
    "sentinels": f'redis_url = "redis+sentinel://a:1,b:2/m?sentinel_password={HUSH}"',
    "the collector": f'[tracing]\nendpoint = "https://user:{HUSH}@c/v1"',
    "the collector's key": f'[tracing]\nendpoint = "https://c/v1?api_key={HUSH}"',
    "a key of the collector's own": f'[tracing]\nendpoint = "https://c/v1?x-honeycomb-team={HUSH}&timeout=3"',
    "a token": f'[admin]\ntokens = ["operator:alice:{HUSH}"]',
    "tokens in one text": f'[admin]\ntokens = "operator:alice:{HUSH},read:bob:{HUSH}"',
    "secrets of sessions": f'[sticky]\ncookie = "c"\nsecrets = ["{HUSH}"]',
    "secrets of sessions in one text": f'[sticky]\ncookie = "c"\nsecrets = "{HUSH},{HUSH}2"',
    "a header of checks": f'[health]\npath = "/"\nheaders = ["Authorization: Bearer {HUSH}"]',
    "credentials in a header of checks": f'[health]\npath = "/"\nheaders = ["X-Up: Basic {HUSH}"]',
    "a header of checks by name": f'[health]\npath = "/"\nheaders = {{ X-Session = "{HUSH}" }}',
    "the path of checks": f'[health]\npath = "/health?t%6fken={HUSH}"',
    "a pool's": f'[pools.api]\nbackends = ["http://b:1"]\nsticky = {{ cookie = "c", secrets = ["{HUSH}"] }}\n'
    f'health = {{ path = "/?sig={HUSH}", headers = ["Cookie: {HUSH}"] }}',
    "a backend's": f'[pools.api]\nbackends = [{{ url = "http://b:1", health = {{ headers = ["Passwd: {HUSH}"] }} }}]',
    "a route's": f'[[routes]]\nname = "r"\npool = "default"\nmatch = {{ headers = {{ Shared-Key = "{HUSH}" }} }}\n'
    f'request_headers = {{ set = {{ Authorization = "{HUSH}" }}, add = {{ Signature = "{HUSH}" }} }}\n'
    f'response_headers = {{ set = {{ Set-Cookie = "{HUSH}", X-Any = "Bearer {HUSH}" }} }}',
    "any header of checks": f'[health]\npath = "/"\nheaders = ["X-My-Thing: {HUSH}"]',
    "any header of checks by name": f'[health]\npath = "/"\nheaders = {{ X-My-Thing = "{HUSH}" }}',
    "any header of a backend's checks": f'[pools.api]\nbackends = [{{ url = "http://b:1", health = {{ headers = '
    f'["X-My-Thing:{HUSH}"] }} }}]',
    "a credential in a harmless header": f'[health]\npath = "/"\nheaders = ["User-Agent: Bearer {HUSH}"]',
    "a parameter in a harmless header": f'[health]\npath = "/"\nheaders = ["User-Agent: a/1 token={HUSH}"]',
    "any header of routes": f'[[routes]]\nname = "r"\npool = "default"\nmatch = {{ headers = {{ X-My = "{HUSH}" }} }}\n'
    f'request_headers = {{ set = {{ X-A = "{HUSH}" }}, add = {{ X-B = "{HUSH}" }} }}\n'
    f'response_headers = {{ set = {{ X-C = "{HUSH}" }}, add = {{ X-D = "{HUSH}" }} }}',
    "the query of checks": f'[health]\npath = "/health?x={HUSH}&{HUSH};y={HUSH}"',
    "a parameter of the path of checks": f'[health]\npath = "/health;x={HUSH}/b"',
    "a pair in the path of checks": f'[health]\npath = "/health/token={HUSH}"',
    "the path of the collector": f'[tracing]\nendpoint = "https://c/receiver/v1/otlp/{HUSH}/v1/traces"',
    "the user of the collector": f'[tracing]\nendpoint = "https://{HUSH}:x@c/v1/traces"',
    "a name alone in the query of the collector": f'[tracing]\nendpoint = "https://c/v1?{HUSH}"',
    "a fragment of the collector": f'[tracing]\nendpoint = "https://c/v1#{HUSH}"',
    "the query of the collector's own": f'[tracing]\nendpoint = "https://c/v1/traces?x=/{HUSH}"',
    "a name alone in the query of the store": f'redis_url = "redis://r/0?{HUSH}"',
    "a redirection": f'[[routes]]\nname = "r"\nredirect = {{ to = "https://user:{HUSH}@h/?code={HUSH}" }}',
}
BACKENDS = 'backends = ["http://a:1"]\n'
ROUTE = BACKENDS + '[[routes]]\nname = "r"\n'


@pytest.fixture(params=SETTINGS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = tmp_path / "lbflask.toml"
    file.write_text(text_with_routes(BACKENDS + SETTINGS[request.param]))
    return file


def test_a_configuration_that_is_shown_shows_no_secret(written: Path) -> None:
    config = load({"LBFLASK_CONFIG": str(written)})
    shown = {
        "show": as_toml(config),
        "API": json.dumps(effective(config)),
        "repr": repr(config),
        "str": str(config),
        "format": f"{config}",
        "dump": str(config.model_dump()),
        "JSON": config.model_dump_json(),
        "difference": str(difference(load({"LBFLASK_BACKENDS": "http://a:1", "LBFLASK_CONFIG": os.devnull}), config)),
    }
    assert {door for door, text in shown.items() if HUSH in text} == set()
    assert "***" in shown["show"]


def test_the_command_line_shows_none(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LBFLASK_CONFIG", str(written))
    done = CliRunner().invoke(main, ["config", "show"])
    assert done.exit_code == 0, done.output
    assert HUSH not in done.output
    assert "***" in done.output


def test_the_api_shows_none(written: Path) -> None:
    config = load({"LBFLASK_CONFIG": str(written)})
    counter = Counter(admin={"tokens": [f"read:x:{HUSH}"]})
    counter.running = type(counter.running).from_config(config)
    answer = counter.ask("GET", "/config", HUSH)
    assert answer.status_code == 200
    assert HUSH not in answer.text


#: What is put beside, or in place of, a good setting, so that the configuration is refused.
WRONG = [
    BACKENDS + f'redis_url = ["redis://user:{HUSH}@r"]',
    BACKENDS + f'redis_url = "http://user:{HUSH}@r"',
    BACKENDS + f'redis_url = "redis+sentinel://user:{HUSH}/x@r/m"',
    BACKENDS + f'redis_url = "redis+cluster://r/?{HUSH}={HUSH}&x={HUSH}#"\nx = 1',
    BACKENDS + f'redis_pasword = "{HUSH}"\nredis_password = "{HUSH}"',
    BACKENDS + f'tracing = "https://user:{HUSH}@c"',
    BACKENDS + f'[tracing]\nendpoint = "ftp://c?k={HUSH}"',
    BACKENDS + f'[tracing]\nendpoint = ["https://c?api_key={HUSH}"]',
    BACKENDS + f'[tracing]\nheaders = {{ Authorization = "{HUSH}" }}',
    BACKENDS + f'admin = "operator:alice:{HUSH}"',
    BACKENDS + f'admin = ["operator:alice:{HUSH}"]',
    BACKENDS + f'[admin]\ntokens = [["operator:alice:{HUSH}"]]',
    BACKENDS + f'[admin]\ntokens = {{ alice = "{HUSH}" }}',
    BACKENDS + f'[admin]\ntokns = ["operator:alice:{HUSH}"]',
    BACKENDS + f'sticky = "{HUSH}"',
    BACKENDS + f'sticky = ["{HUSH}"]',
    BACKENDS + f'[sticky]\nsecrets = ["short", "{HUSH}"]',
    BACKENDS + f'[sticky]\nsecrets = {{ a = "{HUSH}" }}',
    BACKENDS + f'[sticky]\nsecrts = ["{HUSH}"]',
    BACKENDS + f'[sticky]\nsecrets = [["{HUSH}"]]',
    BACKENDS + f'[health]\npath = "health?token={HUSH}"',
    BACKENDS + f'[health]\npath = "health?x={HUSH}"',
    BACKENDS + f'[health]\npath = ["/health?x={HUSH}"]',
    BACKENDS + f'[health]\nheaders = ["X-My-Thing: {HUSH}\\u0001"]',
    BACKENDS + f'[health]\nheaders = ["{HUSH}"]',
    BACKENDS + f'[health]\nheaders = "X-My-Thing: a,{HUSH}"',
    BACKENDS + f'[health]\nheader = {{ X-My-Thing = "{HUSH}" }}',
    BACKENDS + f'[health]\nheader = "X-My-Thing: {HUSH}"',
    BACKENDS + f'[health]\nheader = ["X-My-Thing: {HUSH}"]',
    BACKENDS + f'health = "X-My-Thing: a,{HUSH}"',
    BACKENDS + f'headers = ["X-My-Thing: {HUSH}"]',
    BACKENDS + f'headers = {{ X-My-Thing = "{HUSH}" }}',
    BACKENDS + f'[tracing]\nheaders = "x-my-thing={HUSH}"',
    BACKENDS + f'[tracing]\nheaders = {{ X-My-Thing = "{HUSH}" }}',
    BACKENDS + f'[tracing]\nendpoint = "c/{HUSH}"',
    BACKENDS + f'[tracing]\nendpoint = ["https://c/{HUSH}"]',
    BACKENDS + f'tracing = "https://c/?x={HUSH}"',
    BACKENDS + f'redis_uri = "redis://r/0?x={HUSH}"',
    ROUTE + f'pool = "default"\nmatch = {{ headers = {{ X-My-Thing = ["{HUSH}"] }} }}',
    ROUTE + f'pool = "default"\nmatch = {{ header = {{ X-My-Thing = "{HUSH}" }} }}',
    ROUTE + f'pool = "default"\nheaders = {{ X-My-Thing = "{HUSH}" }}',
    ROUTE + f'pool = "default"\nrequest_headers = {{ set = {{ X-My-Thing = "{HUSH} " }} }}',
    ROUTE + f'pool = "default"\nrequest_headers = {{ add = "X-My-Thing: {HUSH}" }}',
    ROUTE + f'pool = "default"\nrequest_headers = {{ X-My-Thing = "{HUSH}" }}',
    ROUTE + f'pool = "default"\nrequest_headers = "X-My-Thing: {HUSH}"',
    f'backends = [{{ url = "http://a:1/?x={HUSH}" }}]',
    f'backends = "http://a:1,http://b:1/?x={HUSH}"',
    f'discovery = {{ source = "dns://name?x={HUSH}" }}',
    BACKENDS + f'[health]\nheaders = ["Authorization: {HUSH}\\u0001"]',
    BACKENDS + f'[health]\nheader = {{ Authorization = "{HUSH}" }}',
    BACKENDS + f'[[routes]]\npool = "x"\nrequest_headers = {{ set = {{ Authorization = "{HUSH}" }} }}',
    ROUTE + f'pool = "default"\nrequest_headers = {{ set = {{ Authorization = "{HUSH} " }} }}',
    ROUTE + f'pool = "default"\nrequest_headers = {{ set = "Authorization: {HUSH}" }}',
    ROUTE + f'pool = "default"\nrequest_headers = "Authorization: {HUSH}"',
    ROUTE + f'pool = "default"\nrequest_headers = {{ sett = {{ Authorization = "{HUSH}" }} }}',
    ROUTE + f'pool = "default"\nmatch = {{ headers = {{ X-Token = ["{HUSH}"] }} }}',
    ROUTE + f'redirect = {{ to = "ftp://user:{HUSH}@h" }}',
    ROUTE + f'redirect = "ftp://user:{HUSH}@h"',
    ROUTE + f'pool = "default"\nmatch = {{ headers = {{ X-Token = {{ regex = "({HUSH}" }} }} }}',
    ROUTE + f'pool = "default"\nmatch = {{ not = {{ cookies = {{ token = ["{HUSH}"] }} }} }}',
    ROUTE + f'pool = "default"\nmatch = {{ query = {{ token = {{ regexp = "{HUSH}" }} }} }}',
    BACKENDS + f'routes = ["https://user:{HUSH}@h"]',
    f'backends = ["http://user:{HUSH}@a:1"]',
    f'backends = [{{ url = "http://a:1/?token={HUSH}" }}]',
    f'backends = "http://a:1,http://user:{HUSH}@b:1"',
    f'backends = [{{ url = "http://a:1", health = {{ headers = ["Cookie: {HUSH}\\u0001"] }} }}]',
    f'discovery = {{ source = "dns://user:{HUSH}@name" }}',
    f'discovery = {{ source = "dns://{HUSH}@name" }}',
    f'discovery = {{ source = "srv://user:{HUSH}@_x._tcp.name" }}',
    BACKENDS + f'bind = "http://user:{HUSH}@h"',
    BACKENDS + f'pools = {{ api = "{HUSH}" }}',
    BACKENDS + f'pools = ["{HUSH}"]',
]  # fmt: skip


@pytest.mark.parametrize("content", WRONG)
def test_no_error_shows_one(content: str, tmp_path: Path) -> None:
    file = tmp_path / "lbflask.toml"
    file.write_text(content)
    with pytest.raises(ConfigError) as refused:
        load({"LBFLASK_CONFIG": str(file)})
    message = str(refused.value)
    assert HUSH not in message
    assert HUSH[:12] not in message, "cut in the middle"
    assert message.startswith(str(file))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LBFLASK_REDIS_URL", f"http://user:{HUSH}@r"),
        ("LBFLASK_TRACING__ENDPOINT", f"c?api_key={HUSH}"),
        ("LBFLASK_STICKY__SECRETS", f"{HUSH},short"),
        ("LBFLASK_STICKY", HUSH),
        ("LBFLASK_ADMIN__TOKENS", HUSH),
        ("LBFLASK_HEALTH__HEADERS", f"Authorization: {HUSH},X"),
        ("LBFLASK_BACKENDS", f"http://user:{HUSH}@a:1"),
        ("LBFLASK_ROUTES", f"Authorization: {HUSH}"),
    ],
)
def test_no_error_about_a_variable_shows_one(variable: str, value: str) -> None:
    environ = {"LBFLASK_CONFIG": os.devnull, "LBFLASK_BACKENDS": "http://a:1", variable: value}
    with pytest.raises(ConfigError) as refused:
        load(environ)
    assert str(refused.value).startswith(variable)
    assert HUSH not in str(refused.value)


def test_what_is_no_secret_is_still_shown(tmp_path: Path) -> None:
    file = tmp_path / "lbflask.toml"
    file.write_text(
        BACKENDS + '[tracing]\nendpoint = "https://c:4318/v1/traces?timeout=3"\n[health]\n'
        'headers = ["User-Agent: shown/1 (x; y)"]\n'
        '[[routes]]\nname = "r"\nredirect = { to = "https://h/{path}?lang=de" }'
    )
    shown = as_toml(load({"LBFLASK_CONFIG": str(file)}))
    for text in ("https://c:4318/v1/traces?timeout=3", "User-Agent: shown/1 (x; y)", "https://h/{path}?lang=de"):
        assert text in shown


# The types themselves


def models(kind: Any = Config, known: tuple[Any, ...] = ()) -> Iterator[type[BaseModel]]:
    """Every table that there is, once."""
    for one in _alternatives(kind):
        if isinstance(one, type) and issubclass(one, BaseModel) and one not in known:
            yield one
            known = (*known, one)
            for field in one.model_fields.values():
                found = [*models(setting_type(field), known)]
                known = (*known, *found)
                yield from found
        elif get_origin(one) is not None:
            for inner in get_args(one):
                found = [*models(inner, known)]
                known = (*known, *found)
                yield from found


def leaves(kind: Any) -> Iterator[Any]:
    for one in _alternatives(kind):
        if get_origin(one) is None:
            yield one
        for inner in get_args(one):
            yield from leaves(inner)


#: Settings whose names suggest a secret, and what they are instead.
NO_SECRETS = {
    "AdminConfig.token_file": "a path",
    "StickyConfig.secret_file": "a path",
    "StickyConfig.cookie": "the name of a cookie",
    "TLSConfig.key": "a path",
    "AcmeConfig.key_file": "a path",
    "CertificateConfig.key": "a path",
    "BackendTLSConfig.key": "a path",
    "TrafficBackendTLSConfig.key": "a path",
    "HashConfig.key": "where a key stands in a request",
    "RateLimitConfig.key": "where a key stands in a request",
}
#: Settings that are texts, and are shown. A setting that is new is one of these, or of a type that is masked.
SHOWN = {
    "BasicAuthConfig": {"file", "realm", "user_field"},
    "ForwardAuthConfig": {"ca_file", "cache_by", "fields"},
    "TokenAuthConfig": {"algorithms", "audience", "ca_file", "fields", "issuer"},
    "BufferingConfig": {"directory"},
    "BackendConfig": {"name"},
    "TrafficBackendTLSConfig": {"ca_file", "certificate", "key", "server_name"},
    "BackendTLSConfig": {"ca_file", "certificate", "key", "server_name"},
    "StaticFilesConfig": {"cache_control", "dot_files", "fallback", "index", "root", "types"},
    "AcmeConfig": {
        "domains",
        "directory",
        "dns_hook",
        "email",
        "challenge",
        "ca",
        "key_file",
        "on_demand",
        "on_demand_ask",
        "storage",
    },
    "TLSConfig": {"certificate", "ciphers", "key", "minimum"},
    "CertificateConfig": {"cert", "key"},
    "ListenerConfig": {"bind", "client_ca", "client_crl", "name", "redirect", "sni", "socket_mode", "tcp"},
    "AdminConfig": {"socket_mode", "token_file"},
    "HealthCheckConfig": {"expect_body", "expect_status", "host", "method"},
    "Config": {
        "access_log",
        "access_log_format",
        "admin_bind",
        "bind",
        "health_path",
        "instance",
        "hooks",
        "keep_forwarded",
    }
    | {"live_path", "namespace", "via"},
    "TrafficConfig": {"error_pages", "error_pages_for", "host", "internal_files"},
    "TrafficAccessConfig": {"allow", "deny"},
    "TrafficCompressionConfig": {"encodings", "types"},
    "TrafficCorsConfig": {"expose", "headers", "methods", "origins"},
    "DiscoveryConfig": {"nameservers"},
    "HashConfig": {"key"},
    "HeaderEditsConfig": {"remove"},
    "ResponseEditsConfig": {"remove"},
    "ConditionalEditsConfig": {"absent", "on", "present", "remove"},
    "ConditionsConfig": {"client", "exact", "host", "listener", "methods", "path", "regex", "scheme", "suffix"},
    "MatchConfig": {"client", "exact", "host", "listener", "methods", "path", "regex", "scheme", "suffix"},
    "LogFieldsConfig": {"request", "response"},
    "LogFilterConfig": {"except_path", "path", "status"},
    "MirrorConfig": {"pool"},
    "RateLimitConfig": {"key", "rate"},
    "RespondConfig": {"body", "content_type", "file"},
    "RewriteConfig": {"regex", "to"},
    "RouteConfig": {"name", "pool", "rate_limit", "replace_prefix", "split", "split_by"},
    "StickyConfig": {"cookie", "domain", "header", "path", "secret_file"},
    "TracingConfig": {"service"},
}
#: Names of settings that are URLs or hold header fields.
URLS = {"url", "redis_url", "endpoint", "source", "to"}
FIELDS = {"headers", "set", "add", "default"}


def settings() -> Iterator[tuple[str, str, list[Any]]]:
    for model in {*models(), *models(BackendsFileConfig)}:
        for name, field in model.model_fields.items():
            yield f"{model.__name__}.{name}", name, list(leaves(setting_type(field)))


def is_masked(kind: Any) -> bool:
    return kind is FieldTable or (isinstance(kind, type) and issubclass(kind, Secret))


def test_all_tables_are_seen() -> None:
    assert len({place.partition(".")[0] for place, _, _ in settings()}) > 20


def test_a_setting_whose_name_suggests_a_secret_has_a_type_that_is_masked() -> None:
    plain = {
        place
        for place, name, kinds in settings()
        if is_secret(name) and str in kinds and not any(map(is_masked, kinds))
    }
    assert plain == NO_SECRETS.keys()


def test_a_setting_that_is_a_url_or_has_header_fields_has_a_type_that_is_masked() -> None:
    for place, name, kinds in settings():
        if (name in URLS and place != "RewriteConfig.to") or name.endswith(("_url", "_uri", "endpoint")):
            assert any(isinstance(kind, type) and issubclass(kind, URL) for kind in kinds), place
        if name in FIELDS and "Cors" not in place:  # these have the names of fields only
            assert any(map(is_masked, kinds)), place


def test_a_text_is_masked_unless_it_is_known_to_hold_no_secret() -> None:
    for model in {*models(), *models(BackendsFileConfig)}:
        shown = set[str]().union(*(SHOWN.get(kind.__name__, set()) for kind in model.__mro__))
        for name, field in model.model_fields.items():
            kinds = list(leaves(setting_type(field)))
            if str in kinds and not any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds):
                assert name in shown, f"{model.__name__}.{name}: mask it by its type, or name it here"


@pytest.mark.parametrize("value", ["true", "30", "0.5", "optional"])
def test_options_of_services_are_shown(value: str) -> None:
    assert (
        ServiceURL.shown(f"redis://r/0?x={value}&ssl_ca_certs=/a.pem") == f"redis://r/0?x={value}&ssl_ca_certs=/a.pem"
    )


def test_a_secret_shows_itself_to_nobody_but_by_name() -> None:
    secret = Secret(HUSH)
    assert {str(secret), f"{secret}", f"{secret!s:>3}", "%s" % secret} == {"***"}  # noqa: UP031
    assert repr(secret) == "'***'"
    assert (secret.reveal(), type(secret.reveal())) == (HUSH, str)
    assert secret == HUSH


test_any_value_is_accepted_twice_or_rejected = property_test("setting")
