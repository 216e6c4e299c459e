"""The systemd units: what they run works, and a reload reports a file that is refused."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from devtools.servers import ROOT, Process, free_port, get, require, runtime_directory, urls
from devtools.wait import PATIENCE, eventually

pytestmark = pytest.mark.e2e

BIN = Path(sys.executable).parent
UNITS = ("lbflask", "lbflask-healthcheck")


@dataclass
class Unit:
    """A unit file with its paths in other directories. A key may be there several times (systemd.syntax(7))."""

    text: str
    values: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for line in self.text.splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                self.values.setdefault(key, []).append(value)

    def environ(self) -> dict[str, str]:
        pairs = shlex.split(" ".join(self.values.get("Environment", ())))
        return dict(pair.split("=", 1) for pair in pairs)

    def reload(self, main: Process, environ: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
        """The commands of ExecReload in turn, until one fails; as `systemctl reload` does."""
        done = subprocess.CompletedProcess[str]([], 0, "", "")
        for command in self.values["ExecReload"]:
            words = [word.replace("$MAINPID", str(main.pid)) for word in shlex.split(command)]
            require(shutil.which(words[0]), words[0])
            done = subprocess.run(
                words, env=environ, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            if done.returncode:
                break
        return done


def unit(name: str, directory: Path) -> Unit:
    text = (ROOT / "deploy" / f"{name}.service").read_text()
    text = text.replace("/opt/lbflask/bin", str(BIN)).replace("/etc/lbflask", str(directory))
    return Unit(text.replace("/run/lbflask-private", str(directory / "run")))


@dataclass(frozen=True)
class Started:
    """A unit whose main process runs in this directory."""

    unit: Unit
    main: Process
    directory: Path
    environ: dict[str, str]

    @property
    def file(self) -> Path:
        return self.directory / "lbflask.toml"

    def reload(self) -> subprocess.CompletedProcess[str]:
        return self.unit.reload(self.main, self.environ, self.directory)


@contextmanager
def changed(file: Path, more: str) -> Iterator[None]:
    """A file with these lines at its end, for the length of a block."""
    before = file.read_text()
    file.write_text(before + more)
    try:
        yield
    finally:
        file.write_text(before)


@contextmanager
def started(name: str) -> Iterator[Started]:
    """The unit's process, in a directory of its own with the files that the unit expects."""
    with runtime_directory() as directory:
        (directory / "run").mkdir(mode=0o700)
        shutil.copy(ROOT / "gunicorn.conf.py", directory)
        found = unit(name, directory)
        clean = {key: value for key, value in os.environ.items() if not key.startswith("LBFLASK_")}
        environ = clean | found.environ()
        (start,) = found.values["ExecStart"]
        (directory / "lbflask.toml").write_text(configuration(free_port(), free_port()))
        with Process(shlex.split(start), environ, directory) as process:
            yield Started(found, process, directory, environ)
            assert process.stop() == 0
            process.assert_no_traceback()


def configuration(public: int, admin: int) -> str:
    listeners = f'bind = "127.0.0.1:{public}"\nadmin_bind = "127.0.0.1:{admin}"\n'
    return f'{listeners}redis_url = "redis://127.0.0.1:9/0"\nbackends = "{urls([9])}"\n'


#: What is wrong → what is added to which file, and the words that the failed reload shows.
WRONG = {
    "unknown key": ("lbflask.toml", "colour = 'red'\n", "lbflask.toml:5: there is no setting 'colour'"),
    "no TOML": ("lbflask.toml", "[", "lbflask.toml: is not TOML"),
    "log": ("lbflask.toml", "access_log = '/nowhere/log'\n", "lbflask.toml:5: access_log = '/nowhere/log'"),
    "hook": ("lbflask.toml", "hooks = 'nowhere:Hook'\n", "lbflask.toml:5: hooks: nowhere:Hook"),
    "gunicorn's": ("gunicorn.conf.py", "1 / 0\n", "ZeroDivisionError"),
    "gunicorn's value": ("gunicorn.conf.py", "workers = 'many'\n", "Invalid value for workers: many"),
}


@pytest.fixture(scope="module")
def balancer() -> Iterator[Started]:
    with started("lbflask") as unit:
        admin = int(re.findall(r"admin_bind = .*:(\d+)", unit.file.read_text())[0])
        unit.main.await_start(lambda: get(admin, "/health"), "it answers")
        assert "no admin listener" not in unit.main.output
        yield unit


@pytest.fixture(scope="module")
def checker() -> Iterator[Started]:
    with started("lbflask-healthcheck") as unit:
        eventually(lambda: unit.main.handles(signal.SIGHUP), "it can be reloaded")
        yield unit


@pytest.mark.thorough
def test_a_reload_takes_over_a_good_file(balancer: Started) -> None:
    with changed(balancer.file, "via = 'other'\n"):
        done = balancer.reload()
        assert (done.returncode, done.stderr) == (0, "")
        eventually(lambda: "in place: via" in balancer.main.output, "it is taken over")


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("name", "more", "words"), WRONG.values(), ids=WRONG)
def test_a_reload_reports_a_bad_file(balancer: Started, name: str, more: str, words: str) -> None:
    signals = balancer.main.output.count("Handling signal: hup")
    with changed(balancer.directory / name, more):
        done = balancer.reload()
        assert done.returncode != 0
        assert words in done.stdout + done.stderr
    assert balancer.main.output.count("Handling signal: hup") == signals


def test_a_reload_of_the_checker_takes_over_a_good_file(checker: Started) -> None:
    # What is the balancer's alone does not keep the checker from reloading.
    with changed(checker.file, "access_log = '/nowhere/log'\nvia = 'other'\n"):
        assert checker.reload().returncode == 0
        eventually(lambda: "via" in checker.main.output, "it is taken over")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("wrong", ["unknown key", "no TOML", "hook"])
def test_a_reload_of_the_checker_reports_a_bad_file(checker: Started, wrong: str) -> None:
    _, more, words = WRONG[wrong]
    with changed(checker.file, more):
        done = checker.reload()
        assert done.returncode != 0
        assert words in done.stderr
    assert "not reloaded" not in checker.main.output


def test_the_balancer_may_write_logs() -> None:
    found = unit("lbflask", Path("/etc/lbflask"))
    assert found.values["ProtectSystem"] == ["strict"]
    assert found.values["LogsDirectory"] == ["lbflask"]


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not installed")
    shutil.copy(ROOT / "gunicorn.conf.py", tmp_path)
    files = []
    for name in UNITS:
        files.append(tmp_path / f"{name}.service")
        files[-1].write_text(unit(name, tmp_path).text.replace(str(tmp_path / "run"), "/run/lbflask-private"))
    command = [analyze, "verify", "--man=no", "--recursive-errors=no", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    told = [line for line in done.stderr.splitlines() if "lbflask" in line]
    assert told == []


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_exposed_to_little(name: str) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not installed")
    command = [analyze, "security", "--offline=true", "--threshold=25", str(ROOT / "deploy" / f"{name}.service")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
