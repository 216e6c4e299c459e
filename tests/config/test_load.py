from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lbflask.config import load as loading
from lbflask.config.load import ConfigError, load
from lbflask.config.schema import Config
from tests.support.changes import property_test

FILE = "FILE"  # stands for the path of the configuration file in what a message must begin with
BACKENDS = 'backends = ["http://a:1"]\n'
HASHED = BACKENDS + 'strategy = "consistent_hash"\n[hash]\n'

Written = Callable[[str | bytes], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes a configuration file."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "balancer.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def loaded(path: Path, **environ: str) -> Config:
    return load({"LBFLASK_CONFIG": str(path), **environ})


def refusal(environ: dict[str, str]) -> str:
    """The message, which must be one line."""
    with pytest.raises(ConfigError) as refused:
        load(environ)
    message = str(refused.value)
    assert message.isprintable(), "one line, and nothing that moves a cursor"
    return message


# Where a value comes from


def test_a_file_sets_what_it_names_and_the_rest_keeps_its_default(written: Written) -> None:
    config = loaded(
        written('backends = ["http://a:1", { url = "http://b:2", name = "b", weight = 3 }]\n[health]\nrise = 5\n')
    )
    assert [(one.url, one.name, one.weight) for one in config.backends] == [
        ("http://a:1", None, 1),
        ("http://b:2", "b", 3),
    ]
    assert (config.health.rise, config.health.fall) == (5, 3)


def test_the_environment_beats_the_file(written: Written) -> None:
    path = written(BACKENDS + 'namespace = "file"\nvia = "file"\n[health]\ninterval = 5\nrise = 4\n')
    config = loaded(
        path, LBFLASK_NAMESPACE="environment", LBFLASK_HEALTH__INTERVAL="7.5", LBFLASK_BACKENDS="http://z:9"
    )
    assert (config.namespace, config.via) == ("environment", "file")
    assert (config.health.interval, config.health.rise) == (7.5, 4)
    assert [one.url for one in config.backends] == ["http://z:9"]


def test_the_environment_alone_is_enough() -> None:
    config = load({"LBFLASK_CONFIG": os.devnull, "LBFLASK_BACKENDS": "http://a:1", "LBFLASK_RETRIES__ATTEMPTS": "0"})
    assert config.to_model("default").backends[0].id == "a:1"
    assert config.retries.attempts == 0


def test_lists_of_the_environment_have_commas() -> None:
    config = load(
        {
            "LBFLASK_CONFIG": os.devnull,
            "LBFLASK_BACKENDS": " http://a:1 ,http://b:2,, http://c:3,",
            "LBFLASK_BIND": "127.0.0.1:1,unix:/run/a.sock",
            "LBFLASK_TRUSTED_PROXIES": "10.0.0.0/8, fd00::/8",
        }
    )
    assert [one.id for one in config.to_model("default").backends] == ["a:1", "b:2", "c:3"]
    assert config.bind == ("127.0.0.1:1", "unix:/run/a.sock")
    assert [str(network) for network in config.trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]


def test_an_empty_redis_url_of_the_environment_takes_that_of_the_file_away(written: Written) -> None:
    path = written(BACKENDS + 'redis_url = "redis://r"\n')
    assert loaded(path).redis_url == "redis://r"
    assert loaded(path, LBFLASK_REDIS_URL="").redis_url is None


def test_other_variables_are_nobodys_business(written: Written) -> None:
    loaded(written(BACKENDS), BIND="nonsense", lbflask_bind="nonsense", XLBFLASK_BIND="nonsense")


def test_the_file_of_the_working_directory_is_read_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lbflask.toml").write_text('backends = ["http://here:1"]')
    Path("other.toml").write_text('backends = ["http://other:1"]')
    assert load({}).backends[0].url == "http://here:1"
    assert load({"LBFLASK_CONFIG": ""}).backends[0].url == "http://here:1"
    assert load({"LBFLASK_CONFIG": "other.toml"}).backends[0].url == "http://other:1"


def test_without_a_file_the_missing_backends_are_told_with_both_remedies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refusal({})
    assert message.startswith("backends: none are configured")
    assert "lbflask.toml" in message
    assert "LBFLASK_BACKENDS=" in message


# What is refused: content of the file, environment, how the message begins, what else is in it


@pytest.mark.parametrize(
    ("content", "environ", "source", "parts"),
    [
        # unknown keys
        (BACKENDS + "bnid = 1", {}, FILE, ["'bnid'", "1"]),
        (BACKENDS + "[health]\nintervall = 5", {}, FILE, ["'health.intervall'", "5"]),
        (BACKENDS + "[heath]\ninterval = 5", {}, FILE, ["'heath'", "5"]),
        ('backends = [{ url = "http://a:1", wieght = 3 }]', {}, FILE, ["'backends[0].wieght'", "3"]),
        (BACKENDS + '"a[b" = 1', {}, FILE, ["'a[b'"]),
        (BACKENDS + '"a\\nb" = "c\\nd"', {}, FILE, [r"'a\nb'", r"'c\nd'"]),
        (BACKENDS, {"LBFLASK_BNID": "x"}, "LBFLASK_BNID", ["'bnid'"]),
        (BACKENDS, {"LBFLASK_HEALTH__INTERVALL": "5"}, "LBFLASK_HEALTH__INTERVALL", ["'health.intervall'"]),
        (BACKENDS, {"LBFLASK_HEATH__INTERVAL": "5"}, "LBFLASK_HEATH__INTERVAL", ["'heath.interval'"]),
        (BACKENDS, {"LBFLASK_HEALTH__": "5"}, "LBFLASK_HEALTH__", ["'health.'"]),
        (BACKENDS, {"LBFLASK_HEALTH__A__B": "5"}, "LBFLASK_HEALTH__A__B", ["'health.a.b'"]),
        (BACKENDS, {"LBFLASK_BIND__X": "5"}, "LBFLASK_BIND__X", ["'bind.x'"]),
        (BACKENDS, {"LBFLASK_": "5"}, "LBFLASK_", ["''"]),
        (BACKENDS, {"LBFLASK_A\nB": "5"}, "LBFLASK_A?B", [r"'a\nb'"]),
        (BACKENDS, {"LBFLASK_VIA": "\udcff"}, "LBFLASK_VIA", ["is not UTF-8"]),
        # not TOML
        (BACKENDS + "\nbind = = 1\n", {}, FILE, [":3: is not TOML"]),
        ("bind = 'a'\nbind = 'b'\n", {}, FILE, [":2: is not TOML"]),
        ("[health\n", {}, FILE, [":1: is not TOML"]),
        # not UTF-8
        (b"# \xff\n", {}, FILE, ["is not UTF-8", "byte 2"]),
        # no backends
        ("backends = []", {}, FILE, ["backends: there are none"]),
        (BACKENDS, {"LBFLASK_BACKENDS": ""}, "LBFLASK_BACKENDS", ["backends: there are none"]),
        (BACKENDS, {"LBFLASK_BACKENDS": " , "}, "LBFLASK_BACKENDS", ["backends: there are none"]),
        ('via = "x"', {}, "backends: none are configured", [FILE, "LBFLASK_BACKENDS"]),
        # backends that cannot be found
        ('[discovery]\nscheme = "https"', {}, FILE, ["backends: there are none, and no `discovery.source`"]),
        ('[discovery]\nsource = "dns:a"', {}, FILE, ["discovery.source", "'dns:a'", "dns://name:port"]),
        (BACKENDS, {"LBFLASK_DISCOVERY__SOURCE": "file:b/"}, "LBFLASK_DISCOVERY__SOURCE", ["absolute path"]),
        (BACKENDS + "[discovery]\nweight = 3", {}, FILE, ["discovery.weight: without a `source`"]),
        (BACKENDS + '[discovery]\nsource = "dns://a"\nweight = 1000', {}, FILE, ["discovery.weight", "1000", "256"]),
        (BACKENDS + '[discovery]\nsource = "dns://a"\nscheme = "ftp"', {}, FILE, ["discovery.scheme", "'ftp'"]),
        (BACKENDS + '[discovery]\nsource = "dns://a"\nfamily = "ipv5"', {}, FILE, ["discovery.family", "'ipv5'"]),
        (BACKENDS + '[discovery]\nsource = "dns://a"\ntimeout = 0', {}, FILE, ["discovery.timeout", "0"]),
        (BACKENDS + '[discovery]\nsource = "dns://a"\nmin_ttl = 0', {}, FILE, ["discovery.min_ttl", "0"]),
        (BACKENDS + '[discovery]\nsource = "dns://a"\nmax_ttl = 1e6', {}, FILE, ["discovery.max_ttl", "1000000"]),
        (BACKENDS + '[discovery]\nsource = "dns://a"\nnameservers = "ns"', {}, FILE, ["discovery.nameservers", "'ns'"]),
        ('[pools.p.discovery]\nsource = "x"', {}, FILE, ["pools.p.discovery.source", "'x'"]),
        (
            '[pools.p.discovery]\nsource = "srv://a"\nweight = 2',
            {},
            FILE,
            ["pools.p.discovery.weight: a source of kind"],
        ),
        # backends that can't be ones
        ('backends = ["a:1"]', {}, FILE, ["backends[0]", "'a:1'", "http"]),
        ('backends = ["http://a:1", "ftp://b:2"]', {}, FILE, ["backends[1]", "'ftp://b:2'", "scheme"]),
        ('backends = ["httpx://a:1"]', {}, FILE, ["backends[0]", "'httpx://a:1'", "scheme"]),
        ('backends = ["https://a:0"]', {}, FILE, ["backends[0]", "'https://a:0'", "port"]),
        ('backends = ["https://a:1/path"]', {}, FILE, ["backends[0]", "'https://a:1/path'"]),
        ('backends = ["unix:"]', {}, FILE, ["backends[0]", "'unix:'", "absolute path"]),
        ('backends = ["unix:app/"]', {}, FILE, ["backends[0]", "'unix:app/'", "absolute path"]),
        ('backends = ["unix:/run/"]', {}, FILE, ["backends[0]", "'unix:/run/'", "absolute path"]),
        ('backends = ["unix://host/run/a"]', {}, FILE, ["backends[0]", "'unix://host/run/a'", "absolute path"]),
        ('backends = ["unix:/run/a\\u0000"]', {}, FILE, ["backends[0]", "absolute path"]),
        ('backends = ["unix:/run/a b"]', {}, FILE, ["backends[0]", "'unix:/run/a b'", "`name`"]),
        ('backends = ["http://a:70000"]', {}, FILE, ["backends[0]", "'http://a:70000'", "port"]),
        ('backends = ["http://a:0"]', {}, FILE, ["backends[0]", "'http://a:0'", "port"]),
        ('backends = ["http://a:x"]', {}, FILE, ["backends[0]", "'http://a:x'", "port"]),
        ('backends = ["http://:1"]', {}, FILE, ["backends[0]", "'http://:1'", "host is missing"]),
        ('backends = ["http://a b:1"]', {}, FILE, ["backends[0]", "'http://a b:1'", "host"]),
        ('backends = ["http://[::1"]', {}, FILE, ["backends[0]", "'http://[::1'"]),
        ('backends = ["http://a:1/path"]', {}, FILE, ["backends[0]", "'http://a:1/path'"]),
        ('backends = ["http://a:1?q"]', {}, FILE, ["backends[0]", "'http://a:1?***'"]),
        ('backends = [{ url = "nonsense" }]', {}, FILE, ["backends[0]", "'nonsense'"]),
        ("backends = [3]", {}, FILE, ["backends[0] = 3", "must be a table"]),
        ("backends = 3", {}, FILE, ["backends[0] = 3", "must be a table"]),
        ('backends = [{ name = "a" }]', {}, FILE, ["backends[0].url", "is missing"]),
        ('backends = [{ url = "http://a:1", name = "a b" }]', {}, FILE, ["backends[0].name = 'a b'"]),
        ('backends = [{ url = "http://a:1", weight = -1 }]', {}, FILE, ["backends[0].weight = -1"]),
        ('backends = [{ url = "http://a:1", weight = 257 }]', {}, FILE, ["backends[0].weight = 257"]),
        (BACKENDS, {"LBFLASK_BACKENDS": "http://a:1\n2"}, "LBFLASK_BACKENDS", ["backends[0]", "line break"]),
        (BACKENDS + '\naccess_log_format = "{a\\nb}"', {}, FILE, ["access_log_format", "there is no {a?b}"]),
        (BACKENDS + '\n[pools."a\\nb"]\nweight = 1', {}, FILE, ["pools.a?b"]),
        (BACKENDS, {"LBFLASK_BACKENDS": "http://a:1,b"}, "LBFLASK_BACKENDS", ["backends[1]", "'b'"]),
        # the same backend twice
        ('backends = ["http://a:1", "http://a:1/"]', {}, FILE, ["backends", "duplicate", "'a:1'"]),
        ('backends = ["http://A", "http://a:80"]', {}, FILE, ["backends", "duplicate", "'a:80'"]),
        (
            'backends = [{ url = "http://a:1", name = "x" }, { url = "http://b:1", name = "x" }]',
            {},
            FILE,
            ["backends", "duplicate", "'x'"],
        ),
        (
            'backends = ["http://a:1", { url = "http://a:1", name = "x" }]',
            {},
            FILE,
            ["backends", "duplicate", "'http://a:1'"],
        ),
        ('backends = ["unix:/a/x", "unix:/b/x"]', {}, FILE, ["backends", "duplicate", "'x'"]),
        ('backends = ["https://a", "https://a:443"]', {}, FILE, ["backends", "duplicate", "'a:443'"]),
        (
            BACKENDS,
            {"LBFLASK_BACKENDS": "http://a:1,http://a:1"},
            "LBFLASK_BACKENDS",
            ["backends", "duplicate", "'a:1'"],
        ),
        # numbers out of bounds, and what is none
        (BACKENDS + "[health]\ninterval = -1", {}, FILE, ["health.interval = -1"]),
        (BACKENDS + "[health]\ninterval = 0", {}, FILE, ["health.interval = 0"]),
        (BACKENDS + "[health]\ninterval = inf", {}, FILE, ["health.interval = inf"]),
        (BACKENDS + "[health]\njitter = nan", {}, FILE, ["health.jitter = nan"]),
        (BACKENDS + "[health]\nrise = 0", {}, FILE, ["health.rise = 0"]),
        (BACKENDS + "[health]\nfall = 0", {}, FILE, ["health.fall = 0"]),
        (BACKENDS + "[health]\nfall = 1.5", {}, FILE, ["health.fall = 1.5"]),
        (BACKENDS + "[retries]\nattempts = -1", {}, FILE, ["retries.attempts = -1"]),
        (BACKENDS + "[timeouts]\nrequest = -1", {}, FILE, ["timeouts.request = -1"]),
        (BACKENDS + "[timeouts]\nrequest = 'x'", {}, FILE, ["timeouts.request = 'x'"]),
        (BACKENDS + "[timeouts]\ntunnel_idle = 0", {}, FILE, ["timeouts.tunnel_idle = 0"]),
        (BACKENDS + "[limits]\ntunnels = -1", {}, FILE, ["limits.tunnels = -1"]),
        (BACKENDS + "[tls]\ncert = 'x'", {}, FILE, ["'tls.cert'"]),
        (BACKENDS + "forwarded = 'maybe'", {}, FILE, ["forwarded = 'maybe'"]),
        (BACKENDS + "keep_forwarded = ['X-User']", {}, FILE, ["keep_forwarded[0] = 'X-User'", "not among"]),
        (BACKENDS + "keep_forwarded = ['x-forwarded-for']", {}, FILE, ["keep_forwarded[0]", "trusted_proxies"]),
        (BACKENDS + "keep_forwarded = ['X-Forwarded-A b']", {}, FILE, ["keep_forwarded[0]", "name of a header"]),
        (BACKENDS + "keep_forwarded = ['X_Forwarded_A']", {}, FILE, ["keep_forwarded[0]", "name of a header"]),
        (BACKENDS, {"LBFLASK_KEEP_FORWARDED": "Client-IP,Host"}, "LBFLASK_KEEP_FORWARDED", ["keep_forwarded[1]"]),
        (BACKENDS + "[backend_tls]\nverify = 'maybe'", {}, FILE, ["backend_tls.verify = 'maybe'"]),
        (BACKENDS + "[limits]\nline = 100000", {}, FILE, ["limits.line = 100000"]),
        (BACKENDS, {"LBFLASK_HEALTH__RISE": "0"}, "LBFLASK_HEALTH__RISE", ["health.rise = '0'"]),
        (BACKENDS, {"LBFLASK_HEALTH__RISE": "two"}, "LBFLASK_HEALTH__RISE", ["health.rise = 'two'"]),
        # a section that is no table
        (BACKENDS + "health = 3", {}, FILE, ["health = 3", "must be a table"]),
        (BACKENDS, {"LBFLASK_HEALTH": "3"}, "LBFLASK_HEALTH", ["health = '3'", "must be a table"]),
        (BACKENDS + "health = 3", {"LBFLASK_HEALTH__RISE": "1"}, FILE, ["health = 3", "must be a table"]),
        (
            BACKENDS,
            {"LBFLASK_HEALTH": "3", "LBFLASK_HEALTH__RISE": "1"},
            "LBFLASK_HEALTH",
            ["health = '3'", "must be a table"],
        ),
        ('[backends]\nurl = "http://a:1"', {}, FILE, ["backends = {'url': 'http://a:1'}"]),
        # addresses, words and choices
        (BACKENDS + "bind = []", {}, FILE, ["bind = []", "at least 1"]),
        (BACKENDS + 'bind = "8080"', {}, FILE, ["bind[0] = '8080'", "host:port"]),
        (BACKENDS + 'bind = ["a:1", "0.0.0.0:70000"]', {}, FILE, ["bind[1] = '0.0.0.0:70000'", "port '70000'"]),
        (BACKENDS + 'bind = "http://0.0.0.0:80"', {}, FILE, ["bind[0] = 'http://0.0.0.0:80'", "host:port"]),
        (BACKENDS + 'bind = "unix:"', {}, FILE, ["bind[0]", "'unix:'", "path"]),
        (BACKENDS + 'admin_bind = "0.0.0.0:8090"', {}, FILE, ["admin_bind", "'0.0.0.0:8090'", "loopback"]),
        (BACKENDS, {"LBFLASK_ADMIN_BIND": "0.0.0.0:8090"}, "LBFLASK_ADMIN_BIND", ["admin_bind", "'0.0.0.0:8090'"]),
        (
            BACKENDS + 'bind = "127.0.0.1:1"\nadmin_bind = "127.0.0.1:1"',
            {},
            FILE,
            ["admin_bind", "'127.0.0.1:1'", "public"],
        ),
        (BACKENDS + 'redis_url = "http://r"', {}, FILE, ["redis_url = 'http://r'", "redis://"]),
        (BACKENDS + 'namespace = "a:b"', {}, FILE, ["namespace = 'a:b'"]),
        (BACKENDS + 'namespace = ""', {}, FILE, ["namespace = ''"]),
        (BACKENDS + 'health_path = "health"', {}, FILE, ["health_path = 'health'"]),
        (BACKENDS + 'live_path = "live"', {}, FILE, ["live_path = 'live'"]),
        (BACKENDS + 'live_path = "/health"', {}, FILE, ["live_path", "'/health'", "health_path"]),
        (BACKENDS + 'via = "two words"', {}, FILE, ["via = 'two words'"]),
        (BACKENDS + 'via = "é"', {}, FILE, ["via = 'é'"]),
        (BACKENDS + 'tickets = "some"', {}, FILE, ["tickets = 'some'", "strict"]),
        (BACKENDS + 'strategy = "some"', {}, FILE, ["strategy = 'some'", "round_robin"]),
        (HASHED + 'key = "path"', {}, FILE, ["hash.key = 'path'", "cookie:NAME"]),
        (HASHED + 'key = "cookie:a b"', {}, FILE, ["hash.key", "'a b'", "cookie"]),
        (HASHED + 'key = ["client", "path"]', {}, FILE, ["hash.key", "must be client, uri"]),
        (HASHED + 'key = ["uri", "uri"]', {}, FILE, ["hash.key", "twice"]),
        (BACKENDS + "[ejection]\nstatuses = [200]", {}, FILE, ["ejection.statuses[0] = 200", "400"]),
        (BACKENDS + "backend_max_age = 0", {}, FILE, ["backend_max_age = 0"]),
        (BACKENDS + "backend_max_requests = -1", {}, FILE, ["backend_max_requests = -1"]),
        (BACKENDS + '[retries]\nhedge = "p50"', {}, FILE, ["retries.hedge = 'p50'", "p95"]),
        (HASHED, {"LBFLASK_HASH__KEY": "header:"}, "LBFLASK_HASH__KEY", ["hash.key", "'header:'", "''"]),
        (HASHED + "load_factor = 0.9", {}, FILE, ["hash.load_factor = 0.9", "1"]),
        (HASHED + "load_factor = inf", {}, FILE, ["hash.load_factor = inf", "finite"]),
        (BACKENDS + '[hash]\nkey = "uri"', {}, FILE, ["hash.key", "'round_robin' does not use"]),
        (BACKENDS, {"LBFLASK_HASH__LOAD_FACTOR": "2"}, "LBFLASK_HASH__LOAD_FACTOR", ["hash.load_factor", "not use"]),
        ('backends = [{ url = "http://a:1", backup = "x" }]', {}, FILE, ["backends[0].backup = 'x'"]),
        (BACKENDS + 'trusted_proxies = ["10.0.0.0/8", "x"]', {}, FILE, ["trusted_proxies[1]", "'x'"]),
        (
            BACKENDS + 'trusted_proxies = "10.0.0.1/8"',
            {},
            FILE,
            ["trusted_proxies[0] = '10.0.0.1/8'", "write 10.0.0.0/8"],
        ),
        (BACKENDS + 'trusted_proxies = "::1/129"', {}, FILE, ["trusted_proxies[0]", "'::1/129'", "IPv6"]),
        (BACKENDS, {"LBFLASK_PRESERVE_HOST": "maybe"}, "LBFLASK_PRESERVE_HOST", ["preserve_host = 'maybe'"]),
    ],
)
def test_a_mistake_is_told_in_one_line_with_its_source_key_and_value(
    written: Written, content: str | bytes, environ: dict[str, str], source: str, parts: list[str]
) -> None:
    path = str(written(content))
    message = refusal({"LBFLASK_CONFIG": path, **environ})
    if source == FILE:
        assert re.match(re.escape(path) + r"(:[1-9]\d*)?: ", message), message
    else:
        assert message.startswith(source if source.startswith("backends:") else source + ": "), message
    for part in parts:
        assert part.replace(FILE, path) in message, message


def test_the_line_is_told_where_there_is_one(written: Written) -> None:
    path = written(BACKENDS + "[health]\n\nrise = 0\n")
    assert refusal({"LBFLASK_CONFIG": str(path)}).startswith(f"{path}:4: health.rise = 0: ")
    assert refusal({"LBFLASK_CONFIG": str(path), "LBFLASK_HEALTH__RISE": "0"}).startswith("LBFLASK_HEALTH__RISE: ")
    path = written('via = "x"\n' + BACKENDS.replace("]", ', "http://a:1"]'))
    assert refusal({"LBFLASK_CONFIG": str(path)}).startswith(f"{path}:2: backends: duplicate ")


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    assert refusal({"LBFLASK_CONFIG": str(tmp_path)}) == f"{tmp_path}: cannot be read: Is a directory"


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert refusal({"LBFLASK_CONFIG": str(missing)}) == f"{missing}: cannot be read: No such file or directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(written: Written) -> None:
    path = written(BACKENDS)
    path.chmod(0)
    assert refusal({"LBFLASK_CONFIG": str(path)}) == f"{path}: cannot be read: Permission denied"


def test_a_long_value_is_cut() -> None:
    message = refusal({"LBFLASK_CONFIG": os.devnull, "LBFLASK_BACKENDS": "http://a:1", "LBFLASK_TICKETS": "x" * 10_000})
    assert len(message) < 300
    message = refusal(
        {"LBFLASK_CONFIG": os.devnull, "LBFLASK_BACKENDS": "http://a:1", "LBFLASK_NAMESPACE": " " * 10_000}
    )
    assert len(message) < 300


@pytest.mark.parametrize(
    "content",
    [
        'backends = ["http://user:hunter2@a:1"]',
        BACKENDS + 'redis_url = "http://:hunter2@r"',
        BACKENDS + 'redis_url = "http://user:hunter2@r"',
        BACKENDS + 'redis_url = "http://user:h@hunter2@r"',  # the last @ ends it
        BACKENDS + 'redis_url = "http://user:h/hunter2@r"',
        BACKENDS + 'redis_url = "http://user:h\'hunter2@r"',
        BACKENDS + 'redis_url = "http://user:h hunter2@r"',
        BACKENDS + f'redis_url = "http://user:hunter2{"x" * 100}@r"',  # the @ is cut off with the rest
        BACKENDS + 'redis_url = "http://hunter2@r"',
        BACKENDS + 'redis_url = "http://r/0?db=1&password=hunter2"',
        BACKENDS + 'redis_ulr = "redis://user:hunter2@r"',
        BACKENDS + 'redis_url = ["redis://user:hunter2@r"]',
    ],
)
def test_no_password_of_a_url_is_in_a_message(written: Written, content: str) -> None:
    message = refusal({"LBFLASK_CONFIG": str(written(content))})
    assert "hunter2" not in message
    assert "***" in message


@pytest.mark.parametrize("other", ['weight = "x"', "wieght = 1"])
def test_no_url_is_in_a_message_about_another_key(written: Written, other: str) -> None:
    path = written(f'backends = [{{ url = "http://user:hunter2@a:1", {other} }}]')
    assert "hunter2" not in refusal({"LBFLASK_CONFIG": str(path)})


def test_no_password_of_the_environment_is_in_a_message(written: Written) -> None:
    for variable in ("LBFLASK_BACKENDS", "LBFLASK_REDIS_URL", "LBFLASK_BIND"):
        message = refusal({"LBFLASK_CONFIG": str(written(BACKENDS)), variable: "http://user:hunter2@a:1"})
        assert message.startswith(variable)
        assert "hunter2" not in message


# The configuration of this process


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch, written: Written) -> Path:
    """A process that has not read its configuration yet."""
    path = written(BACKENDS)
    for variable in [name for name in os.environ if name.startswith("LBFLASK_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("LBFLASK_CONFIG", str(path))
    monkeypatch.setattr(loading, "_current", None)
    return path


def test_the_configuration_of_a_process_is_read_once(own_environment: Path) -> None:
    first = loading.current()
    own_environment.write_text('backends = ["http://b:2"]')
    assert loading.current() is first


def test_a_reload_reads_it_anew(own_environment: Path) -> None:
    loading.current()
    own_environment.write_text('backends = ["http://b:2"]')
    assert loading.reload().backends[0].url == "http://b:2"
    assert loading.current().backends[0].url == "http://b:2"


def test_a_reload_with_an_error_changes_nothing(own_environment: Path) -> None:
    before = loading.current()
    own_environment.write_text("backends = []")
    with pytest.raises(ConfigError):
        loading.reload()
    assert loading.current() is before


SECRET = "hunter2-hunter2-hunter2"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"LBFLASK_ADMIN__TOKENS": f"operator:alice:{SECRET},admin:bob:{SECRET}"}, "admin.tokens[1]"),
        ({"LBFLASK_ADMIN__TOKENS": f"operator:alice:{SECRET}€"}, "admin.tokens[0]"),
        ({"LBFLASK_ADMIN__TOKENS": SECRET}, "admin.tokens[0]"),
        ({"LBFLASK_ADMIN": SECRET}, "admin"),
        ({"LBFLASK_ADMIN__TOKEN_FILE": "/missing"}, "admin.token_file"),
    ],
)
def test_what_is_wrong_with_a_token_is_told_without_it(settings: dict[str, str], told: str) -> None:
    message = refusal({"LBFLASK_CONFIG": os.devnull, "LBFLASK_BACKENDS": "http://a:1", **settings})
    assert message.startswith(f"{next(iter(settings))}: {told}"), message
    assert "hunter" not in message


def test_an_unknown_key_beside_the_tokens_is_told_without_its_value(written: Written) -> None:
    path = written(BACKENDS + f"[admin]\ntoken = '{SECRET}'")
    message = refusal({"LBFLASK_CONFIG": str(path)})
    assert message == f"{path}:3: there is no setting 'admin.token' (its value is ***); is it 'tokens'?"


def test_a_line_of_the_file_of_tokens_is_told_by_its_number(written: Written, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"operator:alice:{SECRET}\nreader:bob:{SECRET}\n")
    path = written(BACKENDS + f"[admin]\ntoken_file = '{tokens}'")
    message = refusal({"LBFLASK_CONFIG": str(path)})
    assert message.startswith(f"{path}:3: admin.token_file: {str(tokens)!r} line 2: a token must be")
    assert "hunter" not in message


def test_what_the_command_line_reads_is_no_setting() -> None:
    environ = {"LBFLASK_ADMIN_URL": "http://x", "LBFLASK_ADMIN_TOKEN": "x", "LBFLASK_ADMIN_TOKEN_FILE": "x"}
    environ |= {"LBFLASK_COMPILE": "1"}
    load({"LBFLASK_CONFIG": os.devnull, "LBFLASK_BACKENDS": "http://a:1", **environ})


test_any_file_is_a_configuration_or_rejected_in_one_line = property_test("configuration")
test_any_variable_is_a_setting_or_rejected_in_one_line = property_test("variable")
test_any_file_of_backends_is_read_or_rejected_in_one_line = property_test("backends_file")


@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        ("LBFLASK_POOLS", "is the name of several tables; LBFLASK_POOLS__NAME__KEY sets a key of one"),
        ("LBFLASK_RATE_LIMITS", "is the name of several tables; LBFLASK_RATE_LIMITS__NAME__KEY sets a key of one"),
        ("LBFLASK_ERROR_PAGES__503", "there is no setting 'error_pages.503': 'error_pages' can only be set as a whole"),
        ("LBFLASK_ROUTES__0__POOL", "there is no setting 'routes.0.pool': 'routes' can only be set as a whole"),
        ("LBFLASK_TIMEOUT__CONNECT", "there is no setting 'timeout.connect'; is it 'timeouts'?"),
        ("LBFLASK_CONNECT", "there is no setting 'connect'; is it timeouts.connect?"),
    ],
)
def test_a_variable_for_what_variables_cannot_set_is_named(variable: str, reason: str) -> None:
    with pytest.raises(ConfigError) as error:
        load({"LBFLASK_CONFIG": os.devnull, "LBFLASK_BACKENDS": "http://a:1", variable: "x"})
    assert str(error.value) == f"{variable}: {reason}"
