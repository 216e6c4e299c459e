"""Real servers: Valkey, demo backends, the checker and gunicorn, each a process that ends with its `with` block."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import pytest

from devtools.environment import HOST, ROOT
from devtools.ports import free_port
from devtools.wait import PATIENCE, eventually
from lbflask.store.embedded import NoServer, find_binary

#: Whether processes of this run are measured (devtools/coverage.py): one that is killed loses its figures. Seconds that
#: it has then to end by a signal.
MEASURED, MEASURED_END = "COVERAGE_PROCESS_CONFIG" in os.environ, 5.0


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def require(program: object, name: str) -> None:
    """Skip the test, or in CI fail it, if a program that it needs is missing."""
    if not program:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing")
        pytest.skip(f"{name} is missing")


class Process:
    """A child process with its output in a file, or at the descriptors `stdout` and `stderr`. It is killed at the end
    of the `with` block.
    """

    def __init__(
        self,
        command: list[str],
        environ: dict[str, str] | None = None,
        cwd: Path = ROOT,
        stdout: int | None = None,
        stderr: int | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        self.output_file = tempfile.NamedTemporaryFile(prefix="lbflask-test-", suffix=".log")  # noqa: SIM115
        clean = {key: value for key, value in os.environ.items() if not key.startswith("LBFLASK_")}
        clean.pop("WEB_CONCURRENCY", None)
        self.popen = subprocess.Popen(
            command,
            env={**clean, "PYTHONUNBUFFERED": "1", **(environ or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=self.output_file if stdout is None else stdout,
            stderr=self.output_file if stderr is None else stderr,
            start_new_session=True,
            pass_fds=pass_fds,
        )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def output(self) -> str:
        """The output so far."""
        return Path(self.output_file.name).read_text("utf-8", "replace")

    def assert_no_traceback(self) -> None:
        """Fail with the first traceback of the output."""
        _, head, rest = self.output.partition("Traceback")
        if head:
            pytest.fail(head + rest[:5000])

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if MEASURED:
            self._end_by_signal()
        self.kill()

    def _end_by_signal(self) -> None:
        """Let the process end within some seconds, so that it writes what was measured in it."""
        if self.running:
            self.popen.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(MEASURED_END)

    def await_start(self, condition: Callable[[], object], expected: str, within: float = PATIENCE) -> None:
        """Wait until the condition holds. If it does not, or the process ends, kill the process and fail."""
        try:
            eventually(lambda: not self.running or condition(), expected, within)
            assert self.running, f"exit code {self.popen.returncode}"
        except AssertionError as error:
            message = f"{error}; its output:\n{self.output}"
            self.kill()
            raise AssertionError(message) from None

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def handles(self, number: signal.Signals) -> bool:
        """Whether the process has a handler for the signal (proc_pid_status(5))."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (caught,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
        return bool(int(caught, 16) >> (number - 1) & 1)

    def wait(self, within: float = PATIENCE) -> int:
        """Wait for the end of the process; returns its exit code."""
        try:
            return self.popen.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within:g} s; its output:\n{self.output}") from None

    def stop(self, within: float = PATIENCE) -> int:
        """Send SIGTERM and wait; returns the exit code."""
        if self.running:
            self.popen.terminate()
        return self.wait(within)

    def descendants(self) -> list[int]:
        """The pids of its children, their children and so on."""
        pids: list[int] = []
        queue = [self.pid]
        while queue:
            pid = queue.pop()
            with suppress(OSError):
                queue += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            pids.append(pid)
        return pids[1:]

    def kill(self) -> None:
        """Send SIGKILL to the process and to its session, such as gunicorn's workers."""
        if self.output_file.closed:
            return
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait(PATIENCE)
        self.output_file.close()


def start_valkey(*options: str, port: int) -> Process:
    """Start an empty Valkey or Redis on loopback that writes nothing to disk."""
    try:
        binary = find_binary()
    except NoServer:
        require(False, "Valkey or Redis")
        raise
    process = Process([str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", "", *options])
    process.await_start(lambda: listens(port), f"Valkey listens on {port}")
    return process


@contextmanager
def valkey(*options: str, port: int | None = None) -> Iterator[str]:
    """Run the same for the length of a block; yields its URL."""
    port = port or free_port()
    process = start_valkey(*options, port=port)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()


def start_demo(*ports: int, module: str = "lbflask.demo.backend") -> Process:
    """Demo backends (`lbflask/demo/backend.py`) in one process; one port for a backend that can be killed alone."""
    process = Process([sys.executable, "-m", module, *map(str, ports)])
    process.await_start(lambda: all(listens(port) for port in ports), f"demo backends on {ports}")
    return process


class Gunicorn(Process):
    """gunicorn with lbflask, ready for requests.

    `settings` are LBFLASK_ variables without their prefix, None for one that is not set; `environ` is what else to set
    in the environment. `command` starts it in another way, and gets the number of workers by WEB_CONCURRENCY.
    """

    def __init__(
        self,
        *arguments: str,
        workers: int = 2,
        wait: bool = True,
        cwd: Path = ROOT,
        environ: dict[str, str] | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        command: list[str] | None = None,
        pass_fds: tuple[int, ...] = (),
        **settings: object,
    ) -> None:
        self.port, self.admin_port = free_port(), free_port()
        settings = {
            "config": os.devnull,
            "bind": f"127.0.0.1:{self.port}",
            "admin_bind": f"127.0.0.1:{self.admin_port}",
            **settings,
        }
        variables = {f"LBFLASK_{key.upper()}": str(value) for key, value in settings.items() if value is not None}
        environ = {**(environ or {}), **variables}
        usual = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "--workers", str(workers)]
        environ |= {"WEB_CONCURRENCY": str(workers)} if command else {}
        super().__init__(command or [*usual, *arguments, "lbflask.wsgi"], environ, cwd, stdout, stderr, pass_fds)
        self.master = self.pid  #: the process that `workers` and `signal` are about: after an upgrade another one
        self.count = workers  #: of its workers, once all have started
        if wait:
            self.await_ready()

    def await_ready(self) -> None:
        """Wait until all workers have started: one after another, and the first one answers at once."""
        self.await_start(lambda: self.health()[0] and len(self.workers()) >= self.count, "gunicorn answers")

    def health(self, port: int | None = None) -> tuple[int, dict[str, Any]]:
        """Status and document of GET /health on the admin listener, or on another port."""
        response = get(port or self.admin_port, "/health")
        return response.status, json.loads(response.body)

    def healths(self) -> dict[str, str]:
        """The health of each backend as one worker knows it; any worker may answer."""
        states = self.health()[1]["pools"]["default"]["states"]
        return {backend: state["health"] for backend, state in states.items()}

    def documents(self) -> dict[int, dict[str, Any]]:
        """The /health document of each worker, by pid. Connections stay open until each worker has one; after 40 of
        them a worker may be missing.
        """
        found: dict[int, dict[str, Any]] = {}
        opened = []
        try:
            for _ in range(40):
                connection = http.client.HTTPConnection(HOST, self.admin_port, timeout=5)
                opened.append(connection)
                connection.request("GET", "/health")
                document = json.loads(connection.getresponse().read())
                found[document["worker"]["pid"]] = document
                if found.keys() >= set(self.workers()):
                    break
        finally:
            for connection in opened:
                connection.close()
        return found

    def workers(self) -> list[int]:
        """The pids of the workers."""
        return self._children(self.master)

    def signal(self, number: int) -> None:
        """Send a signal to the master."""
        os.kill(self.master, number)

    def upgrade(self) -> int:
        """Start another master at the same listeners (SIGUSR2), and wait until all of its workers answer.

        Returns the pid of the old master, which is to be ended.
        """
        old, before = self.master, self.workers()
        self.signal(signal.SIGUSR2)

        def masters() -> list[int]:
            """A master has children; other children of the old one check something, and end."""
            return [child for child in self._children(old) if child not in before and self._children(child)]

        self.master = eventually(masters, "another master")[0]
        self.await_workers()
        return old

    def await_workers(self, without: Iterable[int] = ()) -> None:
        """Wait until there are as many workers as at the start, none of these among them, and each has answered."""
        answered: set[int] = set()

        def answer() -> bool:
            answered.add(self.health()[1]["worker"]["pid"])
            workers = self.workers()
            return len(workers) == self.count and answered.issuperset(workers) and not {*without} & {*workers}

        eventually(answer, "all workers answer")

    @staticmethod
    def _children(pid: int) -> list[int]:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children if b"gunicorn" in Path(f"/proc/{child}/cmdline").read_bytes()]


def urls(ports: Iterable[int]) -> str:
    """LBFLASK_BACKENDS for backends on these ports."""
    return ",".join(f"http://127.0.0.1:{port}" for port in ports)


def start_checker(environ: dict[str, str] | None = None, **settings: object) -> Process:
    """`python -m lbflask.healthcheck`; `settings` and `environ` as for Gunicorn."""
    variables = {f"LBFLASK_{key.upper()}": str(value) for key, value in settings.items()}
    environ = {**(environ or {}), "LBFLASK_CONFIG": os.devnull, **variables}
    return Process([sys.executable, "-m", "lbflask.healthcheck"], environ)


class HttpResponse:
    """A response with its body."""

    def __init__(self, status: int, fields: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.fields, self.body = status, fields, body

    def field(self, name: str) -> str | None:
        return next((value for key, value in self.fields if key.lower() == name.lower()), None)


def get(
    port: int, path: str = "/", method: str = "GET", headers: dict[str, str] | None = None, body: Any = None
) -> HttpResponse:
    """Send one request over a new connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return HttpResponse(response.status, response.getheaders(), response.read())
    finally:
        connection.close()


@contextmanager
def runtime_directory() -> Iterator[Path]:
    """A short private directory for XDG_RUNTIME_DIR: unix socket paths have little room."""
    directory = Path(tempfile.mkdtemp(prefix="lbf-", dir="/tmp"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def black_hole(port: int) -> Iterator[None]:
    """Accept connections and send nothing."""
    with socket.create_server((HOST, port), backlog=128) as listener:
        accepted: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    accepted.append(listener.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in accepted:
                connection.close()
