"""A command line with an admin API to ask: the API of a worker over a store in memory, at a port of its own."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from devtools.servers import ROOT
from devtools.wait import PATIENCE
from tests.control.servers import Counter


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:  # type: ignore[override]
        """Say nothing."""


@contextmanager
def served(counter: Counter) -> Iterator[str]:
    """The URL at which the counter's API answers."""

    def through_the_admin_listener(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["lbflask.admin"] = True
        return counter.app(environ, start_response)

    server = make_server("127.0.0.1", 0, through_the_admin_listener, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(PATIENCE)
        server.server_close()


def _environ(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LBFLASK_") and name != "COLUMNS"}
    return {**clean, "TERM": "xterm-256color", **more}


def piped(*arguments: str, **environ: str) -> tuple[int, str]:
    """Exit code and standard output of a command whose output is a pipe."""
    done = subprocess.run(
        [sys.executable, "-m", "lbflask", *arguments],
        cwd=ROOT, env=_environ(**environ), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def on_terminal(*arguments: str, columns: int, **environ: str) -> str:
    """What a terminal of so many columns gets from a command, without the codes for colours and the cursor."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "lbflask", *arguments],
        cwd=ROOT, env=_environ(**environ), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while piece := _read(ours):
            shown += piece
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    """What comes next; nothing when the last process has closed the terminal."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""
