"""A configuration with an error: one line that names the place, the key and the value, and nothing is started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from devtools.servers import ROOT, Gunicorn, free_port, get, urls
from devtools.traffic import traffic
from devtools.wait import eventually
from lbflask import cli

pytestmark = pytest.mark.e2e

GOOD = 'backends = ["http://127.0.0.1:9"]\n'

#: What is wrong → the file, and the words that its message has to hold besides the file's name.
BAD = {
    "unknown key": (GOOD + "colour = 'red'\n", ["'colour'", "'red'"]),
    "unknown key in a section": (GOOD + "[health]\nintervall = 5\n", ["'health.intervall'", "5"]),
    "malformed TOML": (GOOD + "bind = \n", [":2: is not TOML"]),
    "no backends": ("bind = '127.0.0.1:0'\n", ["backends"]),
    "empty backend list": ("backends = []\n", ["backends", "there are none"]),
    "bad URL": ("backends = ['http://']\n", ["backends[0]", "'http://'"]),
    "unknown scheme": ("backends = ['ftp://127.0.0.1:9']\n", ["backends[0]", "'ftp://127.0.0.1:9'", "scheme"]),
    "duplicate backend": ("backends = ['http://a:9', 'http://a:9']\n", ["backends", "duplicate", "'a:9'"]),
    "port 70000": ("backends = ['http://127.0.0.1:70000']\n", ["backends[0]", "70000", "port"]),
    "negative interval": (GOOD + "[health]\ninterval = -1\n", ["health.interval", "-1"]),
    "rise = 0": (GOOD + "[health]\nrise = 0\n", ["health.rise", "0"]),
    "weight -1": ("backends = [{ url = 'http://a:9', weight = -1 }]\n", ["backends[0].weight", "-1"]),
    "a word for a number": (GOOD + "[timeouts]\nconnect = 'soon'\n", ["timeouts.connect", "'soon'"]),
    "no certificate there": (
        GOOD + "[tls]\ncertificate = '/no.crt'\nkey = '/no.key'\n",
        ["tls.certificate", "'/no.crt'"],
    ),
    "socket without a path": ("backends = ['unix:']\n", ["backends[0]", "'unix:'", "absolute"]),
    "not text": (GOOD.encode() + b"\xff", ["UTF-8"]),
    "unreadable file": (None, ["cannot be read"]),
}


_starts = pytest.mark.parametrize(
    "start",
    [["gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "lbflask.wsgi"], ["lbflask.healthcheck"]],
    ids=["gunicorn", "checker"],
)


def _write(directory: Path, text: str | bytes | None) -> Path:
    """The file with this text; None is one that is not there, which even a superuser can't read."""
    file = directory / "balancer.toml"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def _run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LBFLASK_")}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        env=clean | environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _is_clear(line: str, file: str, words: list[str]) -> None:
    assert line.startswith("lbflask: ")
    assert [word for word in [file, *words] if word not in line] == [], line


def _ends_with_one_clear_line(run: subprocess.CompletedProcess[str], file: str, words: list[str]) -> None:
    assert run.returncode != 0
    assert "Traceback" not in run.stdout + run.stderr
    (line,) = run.stderr.splitlines()
    _is_clear(line, file, words)


@pytest.mark.parametrize("what", BAD)
def test_the_check_names_what_is_wrong(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("LBFLASK_")]:
        monkeypatch.delenv(variable)
    text, words = BAD[what]
    file = str(_write(tmp_path, text))
    with pytest.raises(SystemExit) as ended:
        cli.main(["config", "check", file])
    # An exit code that is a text is printed on standard error, and becomes 1.
    (line,) = str(ended.value.code).splitlines()
    _is_clear(line, file, words)


def test_the_check_as_a_process_says_it_on_standard_error(tmp_path: Path) -> None:
    text, words = BAD["weight -1"]
    file = _write(tmp_path, text)
    run = _run("lbflask", "config", "check", str(file))
    _ends_with_one_clear_line(run, str(file), words)
    assert (run.returncode, run.stdout) == (1, "")


@pytest.mark.long
def test_the_check_accepts_what_is_right(tmp_path: Path) -> None:
    run = _run("lbflask", "config", "check", str(_write(tmp_path, GOOD)))
    assert (run.returncode, run.stdout, run.stderr) == (0, "the configuration is valid\n", "")


@_starts
@pytest.mark.parametrize("what", ["unknown key", "malformed TOML", "empty backend list", "rise = 0", "unreadable file"])
@pytest.mark.sampled(5, 3)
def test_nothing_starts_with_an_error(start: list[str], what: str, tmp_path: Path) -> None:
    text, words = BAD[what]
    file = _write(tmp_path, text)
    _ends_with_one_clear_line(_run(*start, LBFLASK_CONFIG=str(file)), str(file), words)


@_starts
@pytest.mark.parametrize("named", ["configuration", "tokens"])
@pytest.mark.sampled(4, 2)
@pytest.mark.long
def test_nothing_waits_for_a_fifo_in_place_of_a_file(start: list[str], named: str, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    file = fifo if named == "configuration" else _write(tmp_path, GOOD + f"[admin]\ntoken_file = '{fifo}'\n")
    run = _run(*start, LBFLASK_CONFIG=str(file))
    _ends_with_one_clear_line(run, str(file), [str(fifo), "it is a FIFO"])


@pytest.mark.long
def test_a_reload_does_not_wait_for_a_fifo(store: str, demos: list[int], tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("operator:alice:0123456789abcdef\n")
    file = _write(tmp_path, f"backends = '{urls(demos)}'\n[admin]\ntoken_file = 'tokens'\n")
    with Gunicorn(redis_url=store, config=file, workers=1) as balancer:
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "fifo").rename(tokens)
        balancer.signal(signal.SIGHUP)
        lines = eventually(
            lambda: [line for line in balancer.output.splitlines() if "not reloaded" in line], "it is logged"
        )
        assert f"admin.token_file: '{tokens}' cannot be read: it is a FIFO" in lines[0]
        assert get(balancer.port).status == 200


@pytest.mark.long
def test_an_error_in_the_environment_names_the_variable() -> None:
    run = _run("lbflask", "config", "check", LBFLASK_BACKENDS="http://127.0.0.1:9", LBFLASK_HEALTH__RISE="0")
    _ends_with_one_clear_line(run, "LBFLASK_HEALTH__RISE", ["health.rise", "0"])


def test_a_reload_with_an_error_changes_nothing_until_it_is_mended(
    store: str, demos: list[int], tmp_path: Path
) -> None:
    file = _write(tmp_path, f"backends = '{urls(demos)}'\n")
    with Gunicorn(redis_url=store, config=file) as balancer:
        old = set(balancer.workers())
        with traffic(balancer.port, clients=8, rate=200) as load:
            eventually(lambda: len(load.outcomes) > 50, "traffic flows")
            file.write_text(f"backends = '{urls([free_port()])}'\n[health]\nrise = 0\n")
            balancer.signal(signal.SIGHUP)
            told = eventually(
                lambda: [line for line in balancer.output.splitlines() if "not reloaded" in line], "it is logged"
            )
            assert "health.rise" in told[0]
            until = len(load.outcomes) + 200
            eventually(lambda: len(load.outcomes) > until, "traffic flows still")
        assert load.failures == []
        assert set(load.shares()) == set(demos)
        assert set(balancer.workers()) == old
        file.write_text(f"backends = '{urls(demos[:1])}'\n")
        balancer.signal(signal.SIGHUP)
        only = [f"hello from backend {demos[0]}\n".encode()] * 9
        eventually(lambda: [get(balancer.port).body for _ in range(9)] == only, "the mended file is in effect")
        balancer.assert_no_traceback()
        assert balancer.stop() == 0
