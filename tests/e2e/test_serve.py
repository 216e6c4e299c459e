"""`lbflask serve`: gunicorn with lbflask's settings from any directory, with or without the checker beside it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from devtools.environment import ROOT
from devtools.servers import Process, free_port, get, urls
from devtools.wait import eventually
from tests.support.wheel import assert_installed, wheel_of_checkout

pytestmark = [pytest.mark.e2e, pytest.mark.early]


class Served(Process):
    """`lbflask serve` in a directory with an lbflask.toml."""

    def __init__(self, directory: Path, store: str, demos: list[int], *options: str, python: str = sys.executable):
        self.port, self.admin_port = free_port(), free_port()
        self.file = directory / "lbflask.toml"
        self.settings = f'bind = "127.0.0.1:{self.port}"\nadmin_bind = "127.0.0.1:{self.admin_port}"\n'
        self.settings += (
            f'redis_url = "{store}"\nnamespace = "serve-{self.port}"\nbackends = {json.dumps(urls(demos))}\n'
        )
        self.file.write_text(self.settings)
        super().__init__([python, "-m", "lbflask", "serve", *options], cwd=directory)

    def checkers(self) -> list[int]:
        """The pids of its checkers, of which there should be one."""
        return [pid for pid in self.descendants() if is_checker(pid)]


def is_checker(pid: int) -> bool:
    """Whether the process itself is a checker; the one that runs it has the command among its arguments."""
    with suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_text()
        return "lbflask.healthcheck" in command and "lbflask.server.companion" not in command
    return False


def status(port: int, path: str = "/") -> int:
    try:
        return get(port, path).status
    except OSError:
        return 0


def instance(served: Served) -> dict[str, Any]:
    """Its view in the state."""
    (found,) = json.loads(get(served.admin_port, "/api/v1/instances").body)["instances"]
    return dict(found)


@contextmanager
def serving(*arguments: object) -> Iterator[Served]:
    """A server that answers; at the end no process is left."""
    with Served(*arguments) as served:  # type: ignore[arg-type]
        served.await_start(lambda: status(served.port) == 200, "it answers")
        pids = served.descendants()
        try:
            yield served
        finally:
            pids += served.descendants() if served.running else []
            if served.running:
                served.stop()
            eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "no child is left")


def test_it_becomes_gunicorn_with_the_options_and_signals_of_gunicorn(
    store: str, demos: list[int], tmp_path: Path
) -> None:
    with serving(
        tmp_path, store, demos, "--workers", "2", "--", "--pid", "pid", "--config", "python:lbflask.gunicorn_conf"
    ) as served:
        eventually((tmp_path / "pid").exists, "gunicorn's pid file is there")
        assert int((tmp_path / "pid").read_text()) == served.pid
        eventually(lambda: len(served.descendants()) == 2, "two workers")
        served.signal(signal.SIGTTIN)
        eventually(lambda: len(served.descendants()) == 3, "three workers")
        served.file.write_text(served.settings + "[limits]\nline = 300\n")
        served.signal(signal.SIGHUP)
        eventually(lambda: status(served.port, "/" + "x" * 400) == 414, "the new limit holds")
        assert served.stop() == 0
        served.assert_no_traceback()


@pytest.mark.thorough
def test_a_configuration_file_of_gunicorn_may_extend_the_settings(store: str, demos: list[int], tmp_path: Path) -> None:
    shutil.copy(ROOT / "gunicorn.conf.py", tmp_path)
    with (tmp_path / "gunicorn.conf.py").open("a") as file:
        file.write("workers = 3\n")
    with serving(tmp_path, store, demos, "-c", "gunicorn.conf.py") as served:
        eventually(lambda: len(served.descendants()) == 3, "three workers")


@pytest.mark.thorough
def test_it_is_upgraded_without_a_restart(store: str, demos: list[int], tmp_path: Path) -> None:
    with serving(tmp_path, store, demos, "--pid", "pid") as served:
        served.signal(signal.SIGUSR2)
        eventually((tmp_path / "pid.2").exists, "the new gunicorn runs")
        new = int((tmp_path / "pid.2").read_text())
        eventually(lambda: served.output.count("request heads are parsed") == 2, "it is ready")
        eventually(lambda: instance(served)["masters"] == [served.pid, new], "workers of both serve")
        assert len({worker["lineage"] for worker in instance(served)["workers"]}) == 1, "no other of the same name"
        assert served.stop() == 0
        assert status(served.port) == 200
        os.kill(new, signal.SIGTERM)
        eventually(lambda: not Path(f"/proc/{new}").exists(), "it ends")
        served.assert_no_traceback()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.sampled(2)
def test_the_checker_ends_with_the_balancer(
    store: str, demos: list[int], tmp_path: Path, number: signal.Signals
) -> None:
    with serving(tmp_path, store, demos, "--with-checker", "--workers", "1") as served:
        eventually(lambda: all_are_up(served), "the checker checks")
        served.signal(number)
        assert served.wait() == 0
        served.assert_no_traceback()


@pytest.mark.thorough
def test_signals_reach_gunicorn_and_the_checker(store: str, demos: list[int], tmp_path: Path) -> None:
    with serving(tmp_path, store, demos, "--workers", "1", "--with-checker") as served:
        eventually(lambda: all_are_up(served), "the checker checks")
        checker, before = served.checkers(), len(served.descendants())
        served.signal(signal.SIGTTIN)
        eventually(lambda: len(served.descendants()) == before + 1, "two workers")
        served.file.write_text(served.settings + "[health]\ninterval = 3\n")
        served.signal(signal.SIGHUP)
        eventually(lambda: served.output.count("health.interval") >= 2, "both have reloaded")
        assert served.checkers() == checker
        os.killpg(served.pid, signal.SIGINT)  # as Ctrl-C on a terminal
        assert served.wait() == 0
        assert not is_checker(checker[0]), "it ends before the balancer does"


@pytest.mark.thorough
def test_an_upgraded_balancer_keeps_the_checker(store: str, demos: list[int], tmp_path: Path) -> None:
    with serving(tmp_path, store, demos, "--workers", "1", "--with-checker", "--pid", "pid") as served:
        eventually(lambda: all_are_up(served), "the checker checks")
        (checker,) = served.checkers()
        served.signal(signal.SIGUSR2)
        eventually((tmp_path / "pid.2").exists, "the new gunicorn runs")
        new = int((tmp_path / "pid.2").read_text())
        try:
            eventually(lambda: served.output.count("request heads are parsed") == 2, "it is ready")
            assert served.stop() == 0
            assert status(served.port) == 200
            assert is_checker(checker)
        finally:
            os.kill(new, signal.SIGTERM)
        eventually(lambda: not Path(f"/proc/{new}").exists() and not is_checker(checker), "both end")


@pytest.mark.thorough
def test_a_checker_that_dies_is_started_again(store: str, demos: list[int], tmp_path: Path) -> None:
    with serving(tmp_path, store, demos, "--with-checker") as served:
        eventually(served.checkers, "the checker runs")
        first = served.checkers()
        os.kill(first[0], signal.SIGKILL)
        eventually(lambda: served.checkers() not in ([], first), "a new checker runs")
        assert "lbflask: the checker ended by signal 9; it starts again in 1 s" in served.output
        assert served.stop() == 0


@pytest.mark.thorough
def test_the_checker_ends_with_a_balancer_that_dies(store: str, demos: list[int], tmp_path: Path) -> None:
    with serving(tmp_path, store, demos, "--with-checker") as served:
        eventually(served.checkers, "the checker runs")
        served.signal(signal.SIGKILL)
        assert served.wait() == -signal.SIGKILL  # `serving` waits for the end of all others


@pytest.mark.parametrize("option", [(), ("--with-checker",)])
@pytest.mark.sampled(2, 1)
def test_an_error_in_the_configuration_is_one_line_and_exit_code_4(tmp_path: Path, option: tuple[str, ...]) -> None:
    (tmp_path / "other.toml").write_text("backends = ['nothing']\n")
    with Process([sys.executable, "-m", "lbflask", "serve", *option, "--config", "other.toml"], cwd=tmp_path) as served:
        assert served.wait() == 4
        (line,) = served.output.splitlines()
        assert "other.toml" in line
        assert "nothing" in line


def all_are_up(served: Served) -> bool:
    states = json.loads(get(served.admin_port, "/health").body)["pools"]["default"]["states"]
    return all(backend["health"] == "up" for backend in states.values())


@pytest.mark.timeout(400)  # downloads the dependencies
@pytest.mark.thorough
def test_from_an_empty_directory_to_the_first_answer(
    store: str, demos: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The wheel in a virtual environment of its own, `lbflask init`, and `lbflask serve --with-checker`."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("LBFLASK_", "PYTHON"))}

    def run(*command: object, cwd: Path = tmp_path) -> None:
        done = subprocess.run([*map(str, command)], cwd=cwd, env=environ, capture_output=True, text=True, check=False)
        assert_installed(done)

    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", venv)
    run(venv / "bin" / "pip", "install", "--disable-pip-version-check", wheel_of_checkout(tmp_path))
    work = tmp_path / "work"
    work.mkdir()
    run(venv / "bin" / "lbflask", "init", cwd=work)
    port, admin = free_port(), free_port()
    text = (work / "lbflask.toml").read_text()
    for old, new in (
        ('["http://127.0.0.1:8081", "http://127.0.0.1:8082"]', json.dumps(urls(demos[:2]))),
        ('"0.0.0.0:8080"', f'"127.0.0.1:{port}"'),
        ('# admin_bind = "127.0.0.1:8090"', f'admin_bind = "127.0.0.1:{admin}"'),
        ('# redis_url = "redis://10.0.0.5:6379/0"', f'redis_url = "{store}"'),
    ):
        assert old in text
        text = text.replace(old, new)
    (work / "lbflask.toml").write_text(text)
    run(venv / "bin" / "lbflask", "config", "check", cwd=work)
    begun = time.monotonic()
    with Process([str(venv / "bin" / "lbflask"), "serve", "--with-checker"], cwd=work) as served:
        served.await_start(lambda: status(port) == 200, "it answers")
        seconds = time.monotonic() - begun
        assert served.stop() == 0
        served.assert_no_traceback()
    with capsys.disabled():
        sys.stdout.write(f"\nthe first answer came {seconds:.2f} s after `lbflask serve --with-checker`\n")
