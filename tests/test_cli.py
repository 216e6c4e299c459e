from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import lbflask
from lbflask.build import build
from lbflask.cli import main

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in an empty directory, with no setting in the environment but those given."""
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("LBFLASK_")]:
        monkeypatch.delenv(variable)
    return lambda *arguments, **environ: CliRunner().invoke(main, arguments, env=environ)


def test_the_version_is_told(run: Run) -> None:
    result = run("--version")
    assert (result.exit_code, result.output) == (0, f"lbflask, version {lbflask.__version__} ({build()})\n")


@pytest.mark.parametrize("arguments", [("--help",), ("config", "--help"), ("demo", "--help"), ("explain", "--help")])
def test_every_command_explains_itself(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")


def test_a_good_configuration_is_valid(run: Run) -> None:
    Path("good.toml").write_text('backends = ["http://a:1"]')
    result = run("config", "check", "good.toml")
    assert (result.exit_code, result.output) == (0, "the configuration is valid\n")


def test_a_bad_configuration_is_told_in_one_line(run: Run) -> None:
    Path("bad.toml").write_text('backends = ["http://a:1"]\n[health]\nrise = 0\n')
    result = run("config", "check", "bad.toml")
    assert result.exit_code == 1
    assert result.output == "lbflask: bad.toml:3: health.rise = 0: input should be greater than or equal to 1\n"


def test_the_file_of_the_directory_is_checked_when_none_is_named(run: Run) -> None:
    assert run("config", "check").exit_code == 1
    Path("lbflask.toml").write_text('backends = ["http://a:1"]')
    assert run("config", "check").exit_code == 0


def test_a_named_file_comes_before_the_one_in_the_environment(run: Run) -> None:
    Path("good.toml").write_text('backends = ["http://a:1"]')
    assert run("config", "check", LBFLASK_CONFIG="missing.toml").exit_code == 1
    assert run("config", "check", "good.toml", LBFLASK_CONFIG="missing.toml").exit_code == 0


def test_the_environment_is_checked_with_the_file(run: Run) -> None:
    Path("good.toml").write_text('backends = ["http://a:1"]')
    result = run("config", "check", "good.toml", LBFLASK_HEALTH__RISE="0")
    assert result.exit_code == 1
    assert result.output.startswith("lbflask: LBFLASK_HEALTH__RISE: health.rise = '0'")


def test_what_is_in_effect_is_shown_as_toml_without_passwords(run: Run) -> None:
    Path("good.toml").write_text('backends = ["http://a:1"]\nredis_url = "redis://:hunter2@r"\nvia = "file"\n')
    result = run("config", "show", "good.toml", LBFLASK_VIA="environment")
    assert result.exit_code == 0
    assert "hunter2" not in result.output
    shown = tomllib.loads(result.output)
    assert (shown["via"], shown["redis_url"]) == ("environment", "redis://:***@r")


def test_what_is_shown_is_valid(run: Run) -> None:
    shown = run("config", "show", LBFLASK_BACKENDS="http://a:1,http://b:2")
    Path("shown.toml").write_text(shown.output)
    assert run("config", "check", "shown.toml").exit_code == 0


def test_a_bad_configuration_is_not_shown(run: Run) -> None:
    result = run("config", "show", LBFLASK_BACKENDS="")
    assert result.exit_code == 1
    assert result.output.startswith("lbflask: LBFLASK_BACKENDS: ")


ROUTED = """
backends = [
  "http://a:1",
  { url = "http://b:1", name = "big", weight = 3, backup = true },
  { url = "http://c:1", weight = 0 },
]
redis_url = "redis://127.0.0.1:1/0"
[[routes]]
name = "old"
match = { host = "*.example", path = "/old" }
redirect = { to = "https://{host}{path}" }
[[routes]]
name = "api"
match = { path = "/api", headers = { X-Beta = true } }
pool = "default"
strip_prefix = true
"""


@pytest.fixture
def explain(run: Run) -> Run:
    Path("lbflask.toml").write_text(ROUTED)
    return lambda *arguments: run("explain", *arguments)


def test_where_a_request_would_go_is_explained(explain: Run) -> None:
    result = explain("POST", "http://shop.example/api/x?y", "--header", "X-Beta: 1", "--client", "192.0.2.1")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "POST /api/x?y, Host shop.example, from 192.0.2.1",
        "route       api",
        "match       path /api, header x-beta",
        "target      /x?y",
        "pool        default",
        "strategy    round_robin",
        "candidates  a:1, weight 1",
        "            big http://b:1, weight 3, backup",
        "left out    c:1: its weight is 0",
        "order       a:1, big",
        "then        a:1, big",
        "then        a:1, big",
    ]
    assert result.stderr.startswith("the store is unreachable, so the health of backends and the bans are unknown: ")


def test_an_answer_without_a_backend_is_explained(explain: Run) -> None:
    result = explain("GET", "/old/x", "--header", "Host: Shop.example:80")
    assert result.stdout.splitlines()[1:] == [
        "route       old",
        "match       host *.example, path /old",
        "answer      308 to https://shop.example/old/x; no backend is used",
    ]


def test_the_checks_of_a_request_are_explained(run: Run) -> None:
    Path("lbflask.toml").write_text(
        'backends = ["http://a:1"]\nlimits = { per_client = 9 }\naccess = { deny = ["192.0.2.0/24"] }\n'
    )
    assert run("explain", "GET", "/", "--client", "192.0.2.7").stdout.splitlines()[1:] == [
        "route       (none)",
        "checks      client limit: 429 if 192.0.2.7 has 9 requests in flight at the same worker",
        "            access: refuses, 403: 192.0.2.7 is not admitted",
        "answer      403: 192.0.2.7 is not admitted; no backend is used",
    ]
    lines = run("explain", "GET", "/").stdout.splitlines()
    assert lines[3:5] == ["            access: passes, 127.0.0.1 is admitted", "pool        default"]


def test_an_explanation_shows_no_secret_of_a_redirection(run: Run) -> None:
    redirect = (
        'backends = ["http://a:1"]\n[[routes]]\nname = "r"\nredirect = { to = "https://u:5ecret@h/x?sig=5ecret&a=b" }'
    )
    Path("lbflask.toml").write_text(redirect)
    for more in ((), ("--json",)):
        shown = run("explain", "GET", "/", *more).stdout
        assert "5ecret" not in shown
        assert "h/x?sig=***&a=b" in shown


def test_an_explanation_may_be_json(explain: Run) -> None:
    told = json.loads(explain("GET", "/x", "--json").stdout)
    assert (told["route"], told["pools"][0]["pool"]) == ("", "default")
    assert "refused" in told["store_error"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("GET", "x"), "'x': the request target fits no form"),
        (("GET", "shop.example/x"), "; write http://shop.example/x or a path that begins with /"),
        (("CONNECT", "a:1"), "CONNECT is not supported"),
        (("GET", "/", "--client", "me"), "'me' is not an address"),
        (("GET", "/", "--listener", ":80"), "there is no listener ':80'; there are 0.0.0.0:8080"),
        (("GET", "/", "--header", "X-Beta"), "'X-Beta' is not `Name: value`"),
    ],
)
def test_what_is_no_request_is_not_explained(explain: Run, arguments: tuple[str, ...], told: str) -> None:
    result = explain(*arguments)
    assert result.exit_code == 2
    assert told in result.output


@pytest.mark.parametrize("workers", ["0", "65", "many"])
def test_the_demo_refuses_a_strange_number_of_workers(run: Run, workers: str) -> None:
    assert run("demo", "--workers", workers).exit_code == 2


def test_the_module_is_the_command_and_complains_on_standard_error(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LBFLASK_")}
    done = subprocess.run(
        [sys.executable, "-m", "lbflask", "config", "check"],
        cwd=tmp_path,
        env={**environ, "LBFLASK_CONFIG": "missing.toml"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "lbflask: missing.toml: cannot be read: No such file or directory\n"


def test_a_directory_is_no_configuration_and_one_line_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["config", "check", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output.splitlines() == [f"lbflask: {tmp_path}: cannot be read: Is a directory"]


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket .*family=1,")  # of httpcore
def test_a_reload_without_an_instance_is_an_error(run: Run) -> None:
    result = run("reload", "--url", "http://127.0.0.1:1")
    assert result.exit_code == 3
    assert result.output.startswith("lbflask: no answer from http://127.0.0.1:1: connection refused")
    result = run("reload", "--url", "unix:/nowhere/admin.sock")
    assert result.exit_code == 3
    assert result.output.startswith("lbflask: no answer from unix:/nowhere/admin.sock: ")


def test_a_reload_asks_where_the_configuration_says_even_if_it_has_an_error(run: Run) -> None:
    Path("lbflask.toml").write_text('backends = ["http://a:1"]\nadmin_bind = "127.0.0.1:2"\n')
    assert "from http://127.0.0.1:2:" in run("reload").output
    Path("lbflask.toml").write_text("backends = what\n")
    assert "from http://127.0.0.1:2:" in run("reload", LBFLASK_ADMIN_BIND="127.0.0.1:2").output


def test_an_instance_without_admin_listener_is_reloaded_by_a_signal(run: Run) -> None:
    Path("lbflask.toml").write_text('backends = ["http://a:1"]\nadmin_bind = ""\n')
    result = run("reload")
    assert result.exit_code == 3
    assert "SIGHUP" in result.output


def test_a_configuration_is_written_once_and_is_valid(run: Run) -> None:
    result = run("init")
    assert result.exit_code == 0
    assert "lbflask.toml is written" in result.output
    assert run("config", "check").output == "the configuration is valid\n"
    Path("lbflask.toml").write_text("mine")
    assert (run("init").exit_code, run("init").output) == (1, "lbflask: lbflask.toml exists; --force overwrites it\n")
    assert Path("lbflask.toml").read_text() == "mine"
    assert run("init", "--force").exit_code == 0
    assert Path("lbflask.toml").read_text() != "mine"


def test_a_configuration_may_have_another_name(run: Run) -> None:
    assert run("init", "other.toml").exit_code == 0
    assert run("config", "check", "other.toml").exit_code == 0
    assert run("init", "absent/other.toml").output == "lbflask: absent/other.toml: No such file or directory\n"


def test_the_origin_of_settings_is_printed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "lbflask.toml").write_text('backends = ["http://a:1"]\n[timeouts]\nconnect = 1.5\n')
    shown = run("config", "show", "--explain")
    assert shown.exit_code == 0, shown.output
    assert "timeouts.connect = 1.5  # top level\n" in shown.stdout
    assert "timeouts.first_byte = 60.0  # default\n" in shown.stdout
    document, listener = json.loads(run("config", "show", "--explain", "--json").stdout)
    assert listener["listener"] == "0.0.0.0:8080"
    assert {"key": "timeouts.connect", "value": 1.5, "origin": "top level"} in document["settings"]


@pytest.mark.parametrize(
    "options",
    [
        ("-c", "site.toml"),
        ("--workers", "2", "--", "--config", "site.toml"),
        ("site.toml",),
        ("--workers", "2", "site.toml"),
        ("--preload", "site.toml"),
    ],
)
def test_settings_given_as_a_file_of_gunicorn_are_refused(run: Run, options: tuple[str, ...]) -> None:
    """gunicorn runs that file as Python, and shows a traceback."""
    result = run("serve", *options)
    assert result.exit_code == 2
    assert "write --config site.toml" in result.stderr
