"""Which instance is asked, and whose configuration is shown: always said, and never guessed."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from devtools.servers import free_port
from lbflask.cli import main
from lbflask.core.model import ActiveHealth, Health
from tests.cli.servers import served
from tests.control.servers import GRAFANA, TOKENS, UP, Counter

TOKEN = {"LBFLASK_ADMIN_TOKEN": GRAFANA}

VERBS = [
    ("status",),
    ("backends",),
    ("top",),
    ("events",),
    ("events", "--follow"),
    ("doctor",),
    ("drain", "web1"),
    ("drain", "web1", "--pool", "default", "--wait"),
    ("enable", "web1"),
    ("off", "web1"),
    ("uneject", "web1"),
    ("weight", "web1", "3"),
    ("add", "http://a:1"),
    ("remove", "web1"),
    ("reload",),
    ("config", "show", "--running"),
    ("explain", "GET", "/", "--running"),
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty directory, and no setting in the environment."""
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("LBFLASK_")]:
        monkeypatch.delenv(variable)


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environ)


class TestNoListener:
    @pytest.mark.parametrize("configured", [True, False], ids=["good file", "no backends"])
    @pytest.mark.parametrize("place", ["environment", "file"])
    @pytest.mark.parametrize("verb", VERBS, ids=" ".join)
    def test_an_empty_admin_bind_is_one_line_that_says_what_to_set(
        self, verb: tuple[str, ...], place: str, configured: bool
    ) -> None:
        text = f'backends = ["http://a:1"]\nredis_url = "redis://127.0.0.1:{free_port()}"\n' if configured else ""
        Path("lbflask.toml").write_text(text + ('admin_bind = ""\n' if place == "file" else ""))
        environ = {"LBFLASK_ADMIN_BIND": ""} if place == "environment" else {}
        result = run(*verb, **environ)
        assert result.exit_code == 3
        source = "LBFLASK_ADMIN_BIND" if place == "environment" else "lbflask.toml"
        lines = result.output.splitlines()
        assert f"`admin_bind` is empty in {source}" in lines[0]
        assert "give --url" in (lines[1] if verb == ("doctor",) else lines[0])
        assert "8090:" not in result.output, "the default is not asked"
        assert "lbflask doctor" not in result.output
        assert verb == ("doctor",) or len(lines) == 1

    @pytest.mark.parametrize("verb", VERBS, ids=" ".join)
    @pytest.mark.parametrize("url", ["nonsense", "ftp://a:1", "http://:1", "http://a:x"])
    def test_a_url_that_is_none_is_one_line(self, verb: tuple[str, ...], url: str) -> None:
        result = run(*verb, "--url", url)
        assert result.exit_code == 3
        assert f"'{url}' is no URL" in result.output
        assert "Traceback" not in result.output

    def test_the_listener_is_found_whatever_else_is_wrong_in_the_file(self) -> None:
        Path("lbflask.toml").write_text('backends = ["nonsense"]\nadmin_bind = "127.0.0.1:2"\n')
        assert "from http://127.0.0.1:2:" in run("status").output
        assert "from http://127.0.0.1:3:" in run("status", LBFLASK_ADMIN_BIND="127.0.0.1:3").output

    @pytest.mark.parametrize("content", [None, b"\xff\xfe"])
    @pytest.mark.parametrize("verb", VERBS, ids=" ".join)
    def test_a_token_that_cannot_be_read_is_one_line(self, verb: tuple[str, ...], content: bytes | None) -> None:
        if content is not None:
            Path("token").write_bytes(content)
        result = run(*verb, "--token-file", "token", "--url", "http://127.0.0.1:1")
        assert result.exit_code == 1
        assert result.output.startswith("lbflask: the token could not be read: token: ")
        assert len(result.output.splitlines()) == 1


@pytest.fixture
def instance() -> Iterator[tuple[Counter, str]]:
    counter = Counter(via="theirs", live_path="", timeouts={"connect": 7}, admin={"tokens": TOKENS})
    counter.check(**{"10.0.0.1_80": UP, "two": UP})
    with served(counter) as url:
        yield counter, url


HERE = 'backends = ["http://here:1"]\nvia = "here"\nredis_url = "redis://127.0.0.1:1/0"\n'


class TestWhoseConfiguration:
    def test_without_running_it_is_that_of_the_command_and_it_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "lbflask.toml").write_text(HERE)
        result = run("config", "show", LBFLASK_NAMESPACE="n")
        first, rest = result.stdout.split("\n", 1)
        assert first.startswith(f"# by {tmp_path}/lbflask.toml and LBFLASK_NAMESPACE, read by this command")
        assert "--running" in first
        assert tomllib.loads(result.stdout) == tomllib.loads(rest)
        assert tomllib.loads(rest)["via"] == "here"
        told = run("explain", "GET", "/", LBFLASK_NAMESPACE="n")
        assert f"by {tmp_path}/lbflask.toml and LBFLASK_NAMESPACE, read by this command" in told.stderr
        assert "here:1" in told.stdout

    def test_a_named_file_is_the_one_that_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "other.toml").write_text(HERE)
        first = run("config", "show", "other.toml").stdout.partition("\n")[0]
        assert f"{tmp_path}/other.toml, read" in first

    def test_the_environment_alone_is_said(self) -> None:
        first = run("config", "show", LBFLASK_BACKENDS="http://a:1").stdout.partition("\n")[0]
        assert first.startswith("# by LBFLASK_BACKENDS, read by this command")

    def test_with_running_it_is_that_of_the_instance_and_it_says_which(self, instance: tuple[Counter, str]) -> None:
        _, url = instance
        Path("lbflask.toml").write_text(HERE)
        result = run("config", "show", "--running", "--url", url, **TOKEN)
        first, _ = result.stdout.split("\n", 1)
        assert first == f"# in effect at one, by {url}"
        settings = tomllib.loads(result.stdout)
        assert settings["via"] == "theirs"
        assert [one["url"] for one in settings["backends"]] == ["http://10.0.0.1:80", "http://10.0.0.2:80"]
        assert settings["admin"]["tokens"] == ["operator:alice:***", "operator:bob:***", "read:grafana:***"]

    @pytest.mark.parametrize("running", [True, False])
    def test_json_is_clean(self, instance: tuple[Counter, str], running: bool) -> None:
        _, url = instance
        Path("lbflask.toml").write_text(HERE)
        more = ("--running",) if running else ()
        environ = {**TOKEN, "LBFLASK_ADMIN_URL": url}
        shown = run("config", "show", "--json", *more, **environ)
        assert json.loads(shown.stdout)["via"] == ("theirs" if running else "here")
        assert (url in shown.stderr) is running
        told = run("explain", "GET", "/", "--json", *more, **environ)
        assert json.loads(told.stdout)["pools"][0]["pool"] == "default"
        assert (url in told.stderr) is running

    def test_the_origins_of_the_settings_of_an_instance_are_printed(self, instance: tuple[Counter, str]) -> None:
        _, url = instance
        Path("lbflask.toml").write_text(HERE)
        environ = {**TOKEN, "LBFLASK_ADMIN_URL": url}
        lines = run("config", "show", "--explain", "--running", **environ)
        assert "timeouts.connect = 7.0  # top level\n" in lines.stdout
        assert f"in effect at one, by {url}" in lines.stderr
        found = json.loads(run("config", "show", "--explain", "--running", "--json", **environ).stdout)
        document, *listeners = found
        assert (document["pool"], document["route"]) == ("default", "")
        assert {"key": "timeouts.connect", "value": 7.0, "origin": "top level"} in document["settings"]
        assert listeners
        assert all(one["listener"] for one in listeners)

    def test_an_explanation_is_by_what_the_instance_runs_and_knows(self, instance: tuple[Counter, str]) -> None:
        counter, url = instance
        counter.check(**{"10.0.0.1_80": UP, "two": ActiveHealth(Health.DOWN, reason="refused")})
        result = run("explain", "GET", "http://shop.example/x", "--running", "--url", url, **TOKEN)
        assert result.exit_code == 0
        assert result.stdout.splitlines() == [
            "GET /x, Host shop.example, from 127.0.0.1",
            "route       (none)",
            "pool        default",
            "strategy    round_robin",
            "candidates  10.0.0.1:80, weight 1",
            "left out    two: down: refused",
            "order       10.0.0.1:80",
            "then        10.0.0.1:80",
            "then        10.0.0.1:80",
        ]
        assert result.stderr == f"by the configuration in effect at {url}\n"
        assert counter.facts.take_tickets("default", 1) == 0, "no turn was taken"

    def test_an_instance_without_its_store_explains_by_what_it_knew(self, instance: tuple[Counter, str]) -> None:
        counter, url = instance
        counter.store.lose("gone")
        result = run("explain", "GET", "/", "--running", "--url", url, **TOKEN)
        assert result.exit_code == 0
        assert result.stderr.startswith("the store is unreachable, so health is the last known one: ")

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("config", "show", "x.toml", "--running"), "give FILE or --running"),
            (("config", "show", "--url", "http://a:1"), "--url needs --running"),
            (("explain", "GET", "/", "--url", "http://a:1"), "--url needs --running"),
            (("explain", "GET", "/", "--token-file", "t"), "--token-file needs --running"),
            (("explain", "GET", "x", "--running", "--url", "http://a:1"), "'x': the request target fits no form"),
        ],
    )
    def test_options_that_contradict_each_other_are_refused(self, arguments: tuple[str, ...], told: str) -> None:
        Path("lbflask.toml").write_text(HERE)
        result = run(*arguments)
        assert result.exit_code == 2
        assert told in result.output

    def test_without_a_token_it_is_refused(self, instance: tuple[Counter, str]) -> None:
        _, url = instance
        for verb in (("config", "show"), ("explain", "GET", "/")):
            assert run(*verb, "--running", "--url", url).exit_code == 4
