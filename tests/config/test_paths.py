"""Relative paths: those of a file start from its directory, those of the environment from the working directory."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from devtools.certificates import Authority
from lbflask.cli import main
from lbflask.config.load import load, read_backends
from lbflask.config.paths import Anchor, type_of
from lbflask.config.schema import Config
from tests.support.changes import property_test
from tests.support.pool_routes import text_with_routes

BACKENDS = 'backends = ["http://a:1"]\n'
TLS_STORE = "rediss://h:1/0?ssl_ca_certs={0}/ca.pem&ssl_certfile={0}/c.pem&ssl_keyfile={0}/k.pem&db=2"
#: What stands in a file, with `{}` for the directory of its paths, and the key and the shown value of the setting.
FILE_MEMBERS = [
    ('access_log = "{}/access.log"', "access_log", "{}/access.log"),
    ('bind = "unix:{}/p.sock"', "bind", ["unix:{}/p.sock"]),
    ('bind = "127.0.0.1:1,unix:{}/p.sock"', "bind", ["127.0.0.1:1", "unix:{}/p.sock"]),
    ('bind = ["unix:{}/p.sock", "unix:{}/q.sock"]', "bind", ["unix:{}/p.sock", "unix:{}/q.sock"]),
    ('bind = ["unix://{}/p.sock"]', "bind", ["unix:{}/p.sock"]),
    ('admin_bind = "unix:{}/a.sock"', "admin_bind", "unix:{}/a.sock"),
    ('redis_url = "unix://{}/r.sock?db=3"', "redis_url", "unix://{}/r.sock?db=3"),
    ('redis_url = "unix://me@{}/r.sock"', "redis_url", "unix://***@{}/r.sock"),
    (f'redis_url = "{TLS_STORE.format("{}")}"', "redis_url", TLS_STORE.format("{}")),
    (
        'redis_url = "rediss+sentinel://h/s?ssl_ca_path={}/ca"',
        "redis_url",
        "rediss+sentinel://h/s?ssl_ca_path={}/ca",
    ),
    ('error_pages = {{ 502 = "{}/page.html" }}', "error_pages.502", "{}/page.html"),
    ('error_pages = "502={}/page.html,503={}/page.html"', "error_pages.503", "{}/page.html"),
    ('internal_files = {{ "/x/" = "{}/public" }}', "internal_files./x/", "{}/public"),
    ('internal_files = "/x/={}/public"', "internal_files./x/", "{}/public"),
    ('[tls]\ncertificate = "{}/t.crt"\nkey = "{}/t.key"', "tls.certificate", "{}/t.crt"),
    ('[tls]\ncertificate = "{}/t.crt"\nkey = "{}/t.key"', "tls.key", "{}/t.key"),
    ('[[listeners]]\nbind = "unix:{}/p.sock"', "listeners.0.bind", "unix:{}/p.sock"),
    ('[tls]\ncertificates = [{{ cert = "{}/t.crt", key = "{}/t.key" }}]', "tls.certificates.0.cert", "{}/t.crt"),
    ('[[tls.certificates]]\ncert = "{}/t.crt"\nkey = "{}/t.key"', "tls.certificates.0.key", "{}/t.key"),
    ('[backend_tls]\nca_file = "{}/ca.pem"', "backend_tls.ca_file", "{}/ca.pem"),
    ('[backend_tls]\ncertificate = "{}/t.crt"\nkey = "{}/t.key"', "backend_tls.certificate", "{}/t.crt"),
    ('[backend_tls]\ncertificate = "{}/t.crt"\nkey = "{}/t.key"', "backend_tls.key", "{}/t.key"),
    ('[admin]\ntoken_file = "{}/tokens"', "admin.token_file", "{}/tokens"),
    ('[sticky]\ncookie = "c"\nsecret_file = "{}/secrets"', "sticky.secret_file", "{}/secrets"),
    (
        '[pools.api]\nbackends = ["http://b:1"]\nerror_pages = {{ 502 = "{}/page.html" }}',
        "pools.api.error_pages.502",
        "{}/page.html",
    ),
    (
        '[pools.api]\nbackends = ["http://b:1"]\n[pools.api.sticky]\ncookie = "c"\nsecret_file = "{}/secrets"',
        "pools.api.sticky.secret_file",
        "{}/secrets",
    ),
    ('backends = ["unix:{}/a.sock"]', "backends.0.url", "unix:{}/a.sock"),
    ('backends = ["uwsgi:{}/a.sock"]', "backends.0.url", "uwsgi:{}/a.sock"),
    ('backends = ["http://a:1", {{ url = "unix:{}/a.sock", weight = 2 }}]', "backends.1.url", "unix:{}/a.sock"),
    ('backends = "http://a:1,unix:{}/a.sock"', "backends.1.url", "unix:{}/a.sock"),
    ('[[backends]]\nurl = "unix:{}/a.sock"', "backends.0.url", "unix:{}/a.sock"),
    ('[pools.api]\nbackends = ["unix:{}/a.sock"]', "pools.api.backends.0.url", "unix:{}/a.sock"),
    ('[discovery]\nsource = "file:{}/b.toml"', "discovery.source", "file:{}/b.toml"),
    ('discovery = {{ source = "file:{}/b.toml" }}', "discovery.source", "file:{}/b.toml"),
    ('[pools.api.discovery]\nsource = "file:{}/b.toml"', "pools.api.discovery.source", "file:{}/b.toml"),
    ('[[routes]]\nname = "r"\nrespond = {{ file = "{}/page.html" }}', "routes.0.respond.file", "{}/page.html"),
    ('[[routes]]\nname = "r"\nfiles = {{ root = "{}/public" }}', "routes.0.files.root", "{}/public"),
    ('[[routes]]\nname = "r"\nfiles = "{}/public"', "routes.0.files.root", "{}/public"),
]
VARIABLES = [
    ({"ACCESS_LOG": "{}/access.log"}, "access_log", "{}/access.log"),
    ({"BIND": "127.0.0.1:1,unix:{}/p.sock"}, "bind", ["127.0.0.1:1", "unix:{}/p.sock"]),
    ({"ADMIN_BIND": "unix:{}/a.sock"}, "admin_bind", "unix:{}/a.sock"),
    ({"REDIS_URL": "unix://{}/r.sock"}, "redis_url", "unix://{}/r.sock"),
    ({"ERROR_PAGES": "502={}/page.html"}, "error_pages.502", "{}/page.html"),
    ({"INTERNAL_FILES": "/x/={}/public"}, "internal_files./x/", "{}/public"),
    ({"POOLS__API__BACKENDS": "http://b:1", "POOLS__API__ERROR_PAGES": "502={}/page.html"}, "pools.api.error_pages.502",
     "{}/page.html"),
    ({"TLS__CERTIFICATE": "{}/t.crt", "TLS__KEY": "{}/t.key"}, "tls.key", "{}/t.key"),
    ({"BACKEND_TLS__CA_FILE": "{}/ca.pem"}, "backend_tls.ca_file", "{}/ca.pem"),
    ({"BACKENDS": "http://a:1,unix:{}/a.sock"}, "backends.1.url", "unix:{}/a.sock"),
    ({"POOLS__API__BACKENDS": "unix:{}/a.sock"}, "pools.api.backends.0.url", "unix:{}/a.sock"),
    ({"DISCOVERY__SOURCE": "file:{}/b.toml"}, "discovery.source", "file:{}/b.toml"),
    ({"POOLS__API__BACKENDS": "http://b:1", "POOLS__API__DISCOVERY__SOURCE": "file:{}/b.toml"},
     "pools.api.discovery.source", "file:{}/b.toml"),
    ({"ADMIN__TOKEN_FILE": "{}/tokens"}, "admin.token_file", "{}/tokens"),
    ({"STICKY__COOKIE": "c", "STICKY__SECRET_FILE": "{}/secrets"}, "sticky.secret_file", "{}/secrets"),
]  # fmt: skip


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The directory of the configuration file, and the working directory: both have `files`, with all that is named."""
    for name in ("etc", "work"):
        files = tmp_path / name / "files"
        files.mkdir(parents=True)
        authority = Authority(files, "ca")
        pair = authority.pair("localhost")
        Path(pair.certificate).rename(files / "t.crt")
        Path(pair.key).rename(files / "t.key")
        (files / "public").mkdir()
        (files / "page.html").write_text("<p>sorry")
        (files / "tokens").write_text("operator:alice:0123456789abcdef\n")
        (files / "secrets").write_text("0123456789abcdef\n")
    monkeypatch.chdir(tmp_path / "work")
    for variable in [name for name in os.environ if name.startswith("LBFLASK_")]:
        monkeypatch.delenv(variable)
    return tmp_path / "etc", tmp_path / "work"


def shown(keys: str, *arguments: str, **environ: str) -> Any:
    """The value of a setting as `config show` has it."""
    result = CliRunner().invoke(main, ["config", "show", *arguments], env=environ)
    assert result.exit_code == 0, result.output
    value: Any = tomllib.loads(result.stdout)
    for key in keys.split("."):
        value = value[int(key) if isinstance(value, list) else key]
    return value


def beside(text: str) -> str:
    """A backend, for a file without one at the top level."""
    return "" if text.lstrip("[").startswith("backends") else BACKENDS


def filled(value: Any, directory: str) -> Any:
    """The expectation with the directory in its place."""
    return [filled(item, directory) for item in value] if isinstance(value, list) else value.replace("{}", directory)


@pytest.mark.parametrize("named", ["absolute", "relative"])
@pytest.mark.parametrize(("text", "keys", "expected"), FILE_MEMBERS)
def test_a_path_of_a_file_starts_from_the_directory_of_the_file(
    places: tuple[Path, Path], text: str, keys: str, expected: Any, named: str
) -> None:
    etc, _ = places
    (etc / "lb.toml").write_text(text_with_routes(beside(text) + text.format(*["files"] * 3)))
    file = str(etc / "lb.toml") if named == "absolute" else "../etc/lb.toml"
    assert shown(keys, file) == filled(expected, f"{etc}/files")
    assert shown(keys, LBFLASK_CONFIG=file) == filled(expected, f"{etc}/files")


@pytest.mark.parametrize(("text", "keys", "expected"), FILE_MEMBERS)
def test_an_absolute_path_of_a_file_stays_as_it_is(
    places: tuple[Path, Path], text: str, keys: str, expected: Any
) -> None:
    etc, work = places
    (etc / "lb.toml").write_text(text_with_routes(beside(text) + text.format(*[f"{work}/files"] * 3)))
    assert shown(keys, str(etc / "lb.toml")) == filled(expected, f"{work}/files")


@pytest.mark.parametrize(("environ", "keys", "expected"), VARIABLES)
def test_a_path_of_the_environment_starts_from_the_working_directory(
    places: tuple[Path, Path], environ: dict[str, str], keys: str, expected: Any
) -> None:
    etc, work = places
    has_pool = any(name.startswith("POOLS__API__") for name in environ)
    (etc / "lb.toml").write_text(BACKENDS + '[[routes]]\npool = "api"\n' * has_pool)
    variables = {f"LBFLASK_{name}": value.format("files") for name, value in environ.items()}
    assert shown(keys, str(etc / "lb.toml"), **variables) == filled(expected, f"{work}/files")


def test_a_directory_that_is_a_link_is_not_followed(places: tuple[Path, Path]) -> None:
    """What the link leads to may be exchanged while an instance runs."""
    etc, _ = places
    (etc / "lb.toml").write_text(f'{BACKENDS}[admin]\ntoken_file = "files/tokens"\n')
    (etc.parent / "current").symlink_to(etc)
    file = etc.parent / "current" / "lb.toml"
    assert shown("admin.token_file", str(file)) == f"{etc.parent}/current/files/tokens"


@pytest.mark.parametrize("value", ["-", ""])
def test_what_is_no_path_stays_as_it_is(places: tuple[Path, Path], value: str) -> None:
    etc, _ = places
    (etc / "lb.toml").write_text(f'access_log = "{value}"\nadmin_bind = ""\n{BACKENDS}')
    assert shown("access_log", str(etc / "lb.toml")) == value
    assert shown("admin_bind", str(etc / "lb.toml")) == ""
    assert shown("tls.certificate", str(etc / "lb.toml")) == ""
    assert shown("access_log", str(etc / "lb.toml"), LBFLASK_ACCESS_LOG=value) == value


def test_a_file_that_is_missing_is_named_with_the_directory_it_was_looked_for_in(places: tuple[Path, Path]) -> None:
    etc, _ = places
    (etc / "lb.toml").write_text(f'{BACKENDS}[tls]\ncertificate = "gone.crt"\nkey = "gone.key"\n')
    result = CliRunner().invoke(main, ["config", "check", str(etc / "lb.toml")])
    assert result.exit_code == 1
    assert f"tls.certificate: '{etc}/gone.crt' cannot be read" in result.output
    assert len(result.output.splitlines()) == 1


def test_a_socket_whose_path_becomes_too_long_is_refused_with_its_key(places: tuple[Path, Path]) -> None:
    etc, _ = places
    (etc / "lb.toml").write_text(f'bind = "unix:{"x" * 100}"\n{BACKENDS}')
    result = CliRunner().invoke(main, ["config", "check", str(etc / "lb.toml")])
    assert result.exit_code == 1
    assert "bind[0] = " in result.output
    assert "longer than 107 bytes" in result.output


def _texts(kind: Any, name: str = "") -> Iterator[tuple[str, bool]]:
    """Every setting that is a text, with whether it is a path, by its type."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for key, field in kind.model_fields.items():
            yield from _texts(type_of(field), f"{name}.{key}" if name else key)
    elif kind is str:
        yield name, False
    else:
        parts = get_args(kind)
        marked = any(isinstance(part, Anchor) for part in parts)
        for part in parts:
            for key, is_path in _texts(part, name):
                yield key, is_path or marked


def test_every_setting_that_names_a_file_is_a_path_by_its_type() -> None:
    found: dict[str, bool] = {}
    for key, is_path in _texts(Config):
        found[key] = found.get(key, False) or is_path
    words = {"file", "root", "certificate", "key", "access_log", "directory", "error_pages", "bind", "admin_bind"}
    words |= {
        "client_ca",
        "client_crl",
        "allow",
        "deny",
        "internal_files",
        "redis_url",
        "listener",
        "cert",
        "ca",
        "storage",
    }
    no_paths = ("hash.key", "rate_limits.key", "acme.directory")
    named = {key for key in found if key.rpartition(".")[2] in words or key.endswith("_file")}
    assert {key for key, is_path in found.items() if is_path} == {key for key in named if not key.endswith(no_paths)}


@pytest.mark.parametrize("slashes", ["/", "///", "////", "/////"])
def test_slashes_before_a_socket_make_no_relative_path(places: tuple[Path, Path], slashes: str) -> None:
    etc, _ = places
    (etc / "lb.toml").write_text(f'bind = "unix:{slashes}run/p.sock"\n{BACKENDS}')
    assert load({"LBFLASK_CONFIG": str(etc / "lb.toml")}).bind == ("unix:/run/p.sock",)


def test_a_backend_at_a_relative_socket_is_known_by_its_absolute_path(places: tuple[Path, Path]) -> None:
    """Instances compare what they have stored by it, wherever each of them was started."""
    etc, _ = places
    (etc / "lb.toml").write_text(
        text_with_routes('backends = ["unix:run/app.sock"]\n[pools.api]\nbackends = "unix:./api.sock"\n')
    )
    pools = load({"LBFLASK_CONFIG": "../etc/lb.toml"}).every_pool()
    assert [backend.to_model().url for backend in pools["default"].backends] == [f"unix:{etc}/run/app.sock"]
    assert [backend.to_model().path for backend in pools["api"].backends] == [f"{etc}/api.sock"]


def test_one_socket_in_two_spellings_is_one_backend(places: tuple[Path, Path]) -> None:
    etc, _ = places
    (etc / "lb.toml").write_text(f'backends = ["unix:app.sock", {{ url = "unix:{etc}/app.sock", name = "b" }}]\n')
    result = CliRunner().invoke(main, ["config", "check", str(etc / "lb.toml")])
    assert result.exit_code == 1
    assert f"duplicate backend 'unix:{etc}/app.sock'" in result.output


def test_the_sockets_in_a_file_of_backends_start_from_its_directory(places: tuple[Path, Path]) -> None:
    etc, _ = places
    for name, text in (("b.toml", 'backends = ["unix:run/a.sock"]'), ("b.json", '["unix:run/a.sock"]')):
        (etc / name).write_text(text)
        (found,) = read_backends(Path("../etc", name))
        assert found.to_model().url == f"unix:{etc}/run/a.sock"


test_any_value_is_accepted_twice_or_rejected = property_test("setting")
