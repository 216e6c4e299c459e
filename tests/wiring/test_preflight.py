"""`config check` and what the configuration leads to: files that name backends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lbflask.cli import main
from tests.support.pool_routes import text_with_routes

BACKENDS = 'backends = ["http://a:1"]\n'
TABLES = {"discovery": "", "pools.api.discovery": "pools.api."}
WRONG = {
    "syntax": ('backends = ["http://a:1"\n', "is not TOML"),
    "address": ('# found\nbackends = ["http://a:1", "ftp://b"]\n', "line 2: backends[1]"),
    "value": ('[[backends]]\nurl = "http://a:1"\nweight = -1\n', "line 3: backends[0].weight = -1"),
    "check": (
        '[[backends]]\nurl = "http://a:1"\n[backends.health]\nkind = "tcp"\npath = "/x"\n',
        "backends[0].health",
    ),
    "nothing": ("", "backends"),
    "not text": (b"\xff", "is not UTF-8 text (byte 0)"),
}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in [name for name in os.environ if name.startswith("LBFLASK_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


def check(*options: str, table: str = "discovery", name: str = "found.toml") -> Result:
    """`config check` of a configuration whose backends are in a file too."""
    Path("lb.toml").write_text(text_with_routes(f'{BACKENDS}[{table}]\nsource = "file:{name}"\n'))
    return CliRunner().invoke(main, ["config", "check", *options, "lb.toml"])


@pytest.mark.parametrize("options", [(), ("--checker",)], ids=["worker", "checker"])
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("what", WRONG)
def test_a_file_of_backends_that_is_wrong_is_an_error(
    tmp_path: Path, what: str, table: str, options: tuple[str, ...]
) -> None:
    content, reason = WRONG[what]
    Path("found.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    result = check(*options, table=table)
    place = f"lbflask: lb.toml:3: {table}.source = 'file:{tmp_path}/found.toml': "
    assert result.exit_code == 1
    assert result.output.startswith(place)
    assert reason in result.output
    assert result.output.count("\n") == 1


def test_a_file_of_backends_in_json_is_looked_into_too() -> None:
    Path("found.json").write_text('["http://a:1",\n')
    result = check(name="found.json")
    assert result.exit_code == 1
    assert "is not JSON" in result.output


@pytest.mark.parametrize("name", ["found.toml", "none/found.toml"])
def test_a_file_of_backends_that_is_missing_is_a_warning(tmp_path: Path, name: str) -> None:
    """A checker starts without it, and finds the backends once it is there."""
    result = check(name=name)
    assert result.exit_code == 0
    assert result.stderr == (
        f"lbflask: warning: lb.toml:3: discovery.source = 'file:{tmp_path}/{name}': cannot be read: "
        "No such file or directory; no backends are found until it is there\n"
    )
    assert result.stdout == "the configuration is valid\n"


def test_the_admin_listener_among_the_backends_of_a_file_is_a_warning() -> None:
    Path("found.toml").write_text('backends = ["http://127.0.0.1:8090", "http://b:1"]\n')
    result = check()
    assert result.exit_code == 0
    assert "http://127.0.0.1:8090 is the admin listener, '127.0.0.1:8090', and is ignored" in result.stderr


def test_a_good_file_of_backends_is_valid_and_its_relative_sockets_start_from_its_directory() -> None:
    Path("etc").mkdir()
    Path("etc/found.toml").write_text('backends = ["http://b:1", "unix:run/app.sock"]\n')
    result = check(name="etc/found.toml")
    assert (result.exit_code, result.output) == (0, "the configuration is valid\n")
