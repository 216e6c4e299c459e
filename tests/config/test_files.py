"""Files that the configuration names and that are none: an error of one line, no wait and no endless read."""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from devtools.certificates import Authority
from devtools.wait import PATIENCE
from lbflask.cli import main
from lbflask.config import files
from lbflask.config.paths import Anchor, type_of
from lbflask.config.schema import Config
from tests.support.changes import property_test
from tests.support.pool_routes import text_with_routes

BACKENDS = 'backends = ["http://a:1"]\n'
#: A setting of each kind that is read → the key in the message, and a file with `{}` for the path; `{good}` is a
#: directory with a usable pair.
READ = {
    "auth.basic.file": ("auth.basic.file", 'auth = {{ basic = "{}" }}'),
    "auth.forward.ca_file": ("auth.forward.ca_file", 'auth = {{ forward = {{ url = "http://a/", ca_file = "{}" }} }}'),
    "auth.jwt.ca_file": ("auth.jwt.ca_file", 'auth = {{ jwt = {{ jwks = "https://a/", ca_file = "{}" }} }}'),
    "auth.jwt.jwks": ("auth.jwt.jwks", 'auth = {{ jwt = {{ jwks = "file:{}" }} }}'),
    "routes.auth.forward.ca_file": (
        "routes[0].auth.forward.ca_file",
        '[[routes]]\nname = "r"\npool = "default"\nauth = {{ forward = {{ url = "http://a/", ca_file = "{}" }} }}',
    ),
    "routes.auth.jwt.ca_file": (
        "routes[0].auth.jwt.ca_file",
        '[[routes]]\nname = "r"\npool = "default"\nauth = {{ jwt = {{ jwks = "https://a/", ca_file = "{}" }} }}',
    ),
    "routes.auth.jwt.jwks": (
        "routes[0].auth.jwt.jwks",
        '[[routes]]\nname = "r"\npool = "default"\nauth = {{ jwt = {{ jwks = "file:{}" }} }}',
    ),
    "routes.auth.basic.file": (
        "routes[0].auth.basic.file",
        '[[routes]]\nname = "r"\npool = "default"\nauth = {{ basic = {{ file = "{}" }} }}',
    ),
    "error_pages": ("error_pages.502", 'error_pages = {{ 502 = "{}" }}'),
    "sticky.secret_file": ("sticky.secret_file", '[sticky]\ncookie = "c"\nsecret_file = "{}"'),
    "admin.token_file": ("admin.token_file", '[admin]\ntoken_file = "{}"'),
    **{
        f"listeners.{key}": (
            f"listeners[0].{key}",
            '[tls]\ncertificate = "{good}/t.crt"\nkey = "{good}/t.key"\n[[listeners]]\nbind = "h:443"\ntls = true\n'
            'client_certificates = "required"\n' + lines,
        )
        for key, lines in (
            ("client_ca", 'client_ca = "{}"'),
            ("client_crl", 'client_ca = "{good}/t.crt"\nclient_crl = "{}"'),
        )
    },
    "tls.certificate": ("tls.certificate", '[tls]\ncertificate = "{}"\nkey = "{good}/t.key"'),
    "tls.key": ("tls.key", '[tls]\ncertificate = "{good}/t.crt"\nkey = "{}"'),
    "tls.certificates.cert": (
        "tls.certificates[0].cert",
        '[tls]\ncertificates = [{{ cert = "{}", key = "{good}/t.key" }}]',
    ),
    "tls.certificates.key": (
        "tls.certificates[0].key",
        '[tls]\ncertificates = [{{ cert = "{good}/t.crt", key = "{}" }}]',
    ),
    "tls.acme.key_file": (
        "tls.acme.key_file",
        '[[listeners]]\nbind = "h:80"\n[[listeners]]\nbind = "h:443"\ntls = true\n'
        '[tls.acme]\ndomains = ["a.example"]\nkey_file = "{}"',
    ),
    "backend_tls.ca_file": ("backend_tls.ca_file", '[backend_tls]\nca_file = "{}"'),
    "backend_tls.certificate": (
        "backend_tls.certificate",
        '[backend_tls]\ncertificate = "{}"\nkey = "{good}/t.key"',
    ),
    "backend_tls.key": ("backend_tls.key", '[backend_tls]\ncertificate = "{good}/t.crt"\nkey = "{}"'),
    "redis_url": ("redis_url", 'redis_url = "rediss://h:1/0?ssl_ca_certs={}"'),
    "access.allow": ("access.allow", '[access]\nallow = ["file:{}"]'),
    "pools.access.allow": (
        "pools.api.access.allow",
        '[pools.api]\nbackends = ["http://b:1"]\naccess = {{ allow = ["file:{}"] }}',
    ),
    "routes.access.allow": (
        "routes[0].access.allow",
        '[[routes]]\nname = "r"\npool = "default"\naccess = {{ allow = ["file:{}"] }}',
    ),
    "access.deny": ("access.deny", '[access]\ndeny = ["file:{}"]'),
    "pools.access.deny": (
        "pools.api.access.deny",
        '[pools.api]\nbackends = ["http://b:1"]\naccess = {{ deny = ["file:{}"] }}',
    ),
    "routes.access.deny": (
        "routes[0].access.deny",
        '[[routes]]\nname = "r"\npool = "default"\naccess = {{ deny = ["file:{}"] }}',
    ),
    "discovery.source": ("discovery.source", '[discovery]\nsource = "file:{}"'),
    "routes.respond.file": ("routes[0].respond.file", '[[routes]]\nname = "r"\nrespond = {{ file = "{}" }}'),
    "pools.error_pages": (
        "pools.api.error_pages.502",
        '[pools.api]\nbackends = ["http://b:1"]\nerror_pages = {{ 502 = "{}" }}',
    ),
    "routes.error_pages": (
        "routes[0].error_pages.502",
        '[[routes]]\nname = "r"\npool = "default"\nerror_pages = {{ 502 = "{}" }}',
    ),
    "pools.backend_tls.ca_file": (
        "pools.api.backend_tls.ca_file",
        '[pools.api]\nbackends = ["http://b:1"]\nbackend_tls = {{ ca_file = "{}" }}',
    ),
    "pools.backend_tls.certificate": (
        "pools.api.backend_tls.certificate",
        '[pools.api]\nbackends = ["http://b:1"]\nbackend_tls = {{ certificate = "{}", key = "{good}/t.key" }}',
    ),
    "pools.backend_tls.key": (
        "pools.api.backend_tls.key",
        '[pools.api]\nbackends = ["http://b:1"]\nbackend_tls = {{ certificate = "{good}/t.crt", key = "{}" }}',
    ),
    "pools.sticky.secret_file": (
        "pools.api.sticky.secret_file",
        '[pools.api]\nbackends = ["http://b:1"]\n[pools.api.sticky]\ncookie = "c"\nsecret_file = "{}"',
    ),
    "pools.discovery.source": ("pools.api.discovery.source", '[pools.api.discovery]\nsource = "file:{}"'),
}
#: Settings that name directories, and what is written to, listened at or connected to.
NOT_READ = {
    "access_log",
    "routes.files.root",
    "buffering.directory",
    "internal_files",
    "pools.internal_files",
    "routes.internal_files",
    "bind",
    "admin_bind",
    "listeners.bind",
    "tls.acme.ca",
    "tls.acme.storage",
    "backends.url",
    "pools.backends.url",
    "routes.match.listener",
    "routes.match.not_.listener",
}
#: Those whose files may hold any bytes, or are read by others.
NOT_TEXT = {name for name in READ if "error_pages" in name or name in ("routes.respond.file", "redis_url")}
KINDS = {
    "fifo": "it is a FIFO",
    "device": "it is a device",
    "socket": "it is a socket",
    "directory": "Is a directory",
    "link to a fifo": "it is a FIFO",
    "huge": "has more than",
}


@pytest.fixture(autouse=True)
def _bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A read that does not end breaks off, by its memory or by the time; nothing is set in the environment."""

    def late(*_: object) -> None:
        raise AssertionError("the read has not ended")

    for variable in [name for name in os.environ if name.startswith("LBFLASK_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(int(PATIENCE))
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a certificate and its key."""
    directory = tmp_path_factory.mktemp("good")
    pair = Authority(directory, "ca").pair("localhost")
    Path(pair.certificate).rename(directory / "t.crt")
    Path(pair.key).rename(directory / "t.key")
    return directory


def made(kind: str, path: Path) -> Path:
    """Something of this kind at the path."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)  # the working directory's: its whole path may be too long for a socket
    elif kind == "directory":
        path.mkdir()
    elif kind == "link to a fifo":
        os.mkfifo(path.with_name("target"))
        path.symlink_to("target")
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(files.MOST_BYTES + 1)
    elif kind == "not text":
        path.write_bytes(b"\xff\xfe")
    return path


def checked(*arguments: str, code: int = 1, **environ: str) -> str:
    """What `config check` prints, which is one line."""
    result = CliRunner().invoke(main, ["config", "check", *arguments], env=environ)
    assert result.exit_code == code, result.output
    assert result.output.count("\n") == 1
    return result.output


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", READ)
def test_what_is_no_file_is_refused_with_key_value_and_reason(
    tmp_path: Path, good: Path, setting: str, kind: str
) -> None:
    key, text = READ[setting]
    path = made(kind, tmp_path / "named.html")
    (tmp_path / "lb.toml").write_text(text_with_routes(BACKENDS + text.format(path, good=good)))
    line = checked(str(tmp_path / "lb.toml"))
    assert [word for word in ("lb.toml:", key, str(path), KINDS[kind]) if word not in line] == [], line


@pytest.mark.parametrize("setting", [name for name in READ if name not in NOT_TEXT])
def test_what_is_not_text_is_refused_with_key_value_and_reason(tmp_path: Path, good: Path, setting: str) -> None:
    key, text = READ[setting]
    path = made("not text", tmp_path / "named.toml")
    (tmp_path / "lb.toml").write_text(text_with_routes(BACKENDS + text.format(path, good=good)))
    line = checked(str(tmp_path / "lb.toml"))
    assert [word for word in ("lb.toml:", key, str(path)) if word not in line] == [], line


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["argument", "variable", "default"])
def test_the_configuration_itself_must_be_a_file(tmp_path: Path, kind: str, way: str) -> None:
    path = made(kind, tmp_path / "lbflask.toml")
    line = checked(
        *([str(path)] if way == "argument" else []), **({"LBFLASK_CONFIG": str(path)} if way == "variable" else {})
    )
    assert line.startswith(f"lbflask: {'lbflask.toml' if way == 'default' else path}: ")
    assert KINDS[kind] in line


@pytest.mark.parametrize("kind", KINDS)
def test_the_token_of_a_command_must_be_in_a_file(tmp_path: Path, kind: str) -> None:
    path = made(kind, tmp_path / "token")
    result = CliRunner().invoke(main, ["status", "--url", "http://127.0.0.1:1", "--token-file", str(path)])
    assert result.exit_code == 1
    assert result.output.startswith(f"lbflask: the token could not be read: {path}: ")
    assert KINDS[kind] in result.output


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "1" * 5000], ids=["nesting", "digits"])
def test_what_the_parser_gives_up_on_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "lb.toml").write_text(text)
    assert checked("lb.toml").startswith("lbflask: lb.toml: is n")


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_an_inherited_pipe_counts_as_the_configuration(name: str) -> None:
    reading, writing = os.pipe()
    os.write(writing, BACKENDS.encode())
    os.close(writing)
    try:
        assert checked(name.format(reading), code=0) == "the configuration is valid\n"
    finally:
        os.close(reading)


def test_an_inherited_pipe_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PIPE_WITHIN", 0.1)
    reading, writing = os.pipe()
    try:
        os.write(writing, BACKENDS.encode())
        assert "cannot be read: the pipe has not ended within 0.1 s" in checked(f"/dev/fd/{reading}")
    finally:
        os.close(reading)
        os.close(writing)


def test_the_null_device_is_an_empty_configuration() -> None:
    assert "backends: none are configured" in checked("/dev/null")
    assert checked("/dev/null", code=0, LBFLASK_BACKENDS="http://a:1") == "the configuration is valid\n"


def test_a_link_to_a_file_is_a_file(tmp_path: Path) -> None:
    """Secrets of an orchestrator are links into a directory that is exchanged as a whole."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "tokens").write_text("operator:alice:0123456789abcdef\n")
    (tmp_path / "tokens").symlink_to("..data/tokens")
    (tmp_path / "lb.toml").write_text(f'{BACKENDS}[admin]\ntoken_file = "tokens"\n')
    assert checked("lb.toml", code=0) == "the configuration is valid\n"


def _paths(kind: Any, name: str = "") -> Iterator[str]:
    """Every setting that is a path by its type."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for key, field in kind.model_fields.items():
            yield from _paths(type_of(field), f"{name}.{key}" if name else key)
        return
    if get_origin(kind) is Annotated and any(isinstance(mark, Anchor) for mark in get_args(kind)):
        yield name
    for part in get_args(kind):
        yield from _paths(part, name)


def test_every_setting_that_is_a_path_is_tried_here() -> None:
    assert set(_paths(Config)) == READ.keys() | NOT_READ


test_any_file_is_a_configuration_or_rejected_in_one_line = property_test("configuration")
