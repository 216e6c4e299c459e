from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lbflask.cli import main


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("LBFLASK_")]:
        monkeypatch.delenv(variable)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["import", *arguments])


GOOD = "server { listen 80; location / { proxy_pass http://127.0.0.1:8000; } }"


def test_the_result_passes_the_check(tmp_path: Path) -> None:
    Path("nginx.conf").write_text(GOOD)
    result = run("nginx", "nginx.conf", "-o", "lbflask.toml")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "# nginx.conf:1 location /\n[[routes]]" in Path("lbflask.toml").read_text()
    checked = CliRunner().invoke(main, ["config", "check", "lbflask.toml"])
    assert checked.output == "the configuration is valid\n"


def test_what_is_not_translated_is_on_standard_error_and_in_the_result() -> None:
    Path("nginx.conf").write_text(GOOD.replace("listen 80;", "listen 80; gopher on;"))
    result = run("nginx", "nginx.conf")
    assert result.exit_code == 1
    line = "nginx.conf:1: not translated: gopher on: no equal is known; look for it in docs/configuration.md"
    assert line in result.stderr.splitlines()
    assert f"# {line}" in result.stdout.splitlines()


def test_a_file_is_overwritten_by_force_only() -> None:
    Path("nginx.conf").write_text(GOOD)
    Path("lbflask.toml").write_text("mine")
    refused = run("nginx", "nginx.conf", "-o", "lbflask.toml")
    assert (refused.exit_code, refused.stderr) == (2, "lbflask: lbflask.toml exists; --force overwrites it\n")
    assert Path("lbflask.toml").read_text() == "mine"
    assert run("nginx", "nginx.conf", "-o", "lbflask.toml", "--force").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nginx", "none.conf"), "lbflask: none.conf: does not exist"),
        (("nginx", "nginx.conf", "-o", "no/such.toml"), "lbflask: no/such.toml: No such file or directory"),
        (("apache", "nginx.conf"), "'apache' is not"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    Path("nginx.conf").write_text(GOOD)
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_result_that_does_not_load_here_is_stated() -> None:
    Path("nginx.conf").write_text("server { listen 80; root /no/such/directory; }")
    result = run("nginx", "nginx.conf", "-o", "lbflask.toml")
    assert result.exit_code == 0
    assert "lbflask: the result does not load here: " in result.stderr
    assert "'/no/such/directory' does not exist" in result.stderr


USERS = """:80 {
 basic_auth {
  alice $2a$04$HWuorwIrdTCzq59jANsm3OAUF2IUeBnCcxuuElfKgcgXy0l8G4gTC
 }
 reverse_proxy 127.0.0.1:8000
}
"""


def test_users_are_written_beside_the_result_for_its_owner_alone() -> None:
    Path("Caddyfile").write_text(USERS)
    Path("out").mkdir()
    result = run("caddy", "Caddyfile", "-o", "out/lbflask.toml")
    assert (result.exit_code, result.stderr) == (0, "")
    users = Path("out/users.htpasswd")
    assert users.read_text().startswith("alice:$2a$04$")
    assert users.stat().st_mode & 0o777 == 0o600


def test_nothing_is_written_where_a_file_of_users_exists() -> None:
    Path("Caddyfile").write_text(USERS)
    Path("users.htpasswd").write_text("mine")
    result = run("caddy", "Caddyfile", "-o", "lbflask.toml")
    assert (result.exit_code, result.stderr) == (2, "lbflask: users.htpasswd exists; --force overwrites it\n")
    assert not Path("lbflask.toml").exists()
    assert Path("users.htpasswd").read_text() == "mine"


def test_files_of_users_are_named_where_the_result_is_printed() -> None:
    Path("Caddyfile").write_text(USERS)
    result = run("caddy", "Caddyfile")
    assert result.stderr == "lbflask: the result names users.htpasswd, which is written beside it with --output\n"
    assert "$2a$" not in result.stdout
