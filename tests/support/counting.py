"""What a worker of a real gunicorn holds: its descriptors, as the system counts them, and its greenlets."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from devtools.servers import ROOT, Gunicorn
from devtools.wait import eventually

#: gunicorn's settings of lbflask, with a worker that writes the number of its greenlets to a file at SIGWINCH.
_SETTINGS = """
import gc
import os
import signal

import gevent

exec(compile(open({conf!r}).read(), {conf!r}, "exec"))
_usual = post_worker_init


def _count(_signal, _frame):
    alive = [one for one in gc.get_objects() if isinstance(one, gevent.Greenlet) and one]
    with open({file!r} + ".new", "w") as file:
        file.write(str(len(alive)))
    os.replace({file!r} + ".new", {file!r})


def post_worker_init(worker):
    _usual(worker)
    signal.signal(signal.SIGWINCH, _count)
"""


class Counted:
    """A gunicorn with one worker that can be counted. Pass `arguments` to Gunicorn."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "greenlets"
        settings = directory / "counted.conf.py"
        settings.write_text(_SETTINGS.format(conf=str(ROOT / "gunicorn.conf.py"), file=str(self._file)))
        self.arguments = ("-c", str(settings))

    def greenlets(self, balancer: Gunicorn) -> int:
        """Greenlets of the worker that have begun and not ended, without those of gevent's pool of threads."""
        self._file.unlink(missing_ok=True)
        (worker,) = balancer.workers()
        os.kill(worker, signal.SIGWINCH)
        eventually(self._file.exists, "the worker has counted its greenlets")
        return int(self._file.read_text())

    @staticmethod
    def descriptors(balancer: Gunicorn, store: str) -> int:
        """Open files and sockets of the worker, without connections to the store, which are opened as need be."""
        (worker,) = balancer.workers()
        port = f":{urlsplit(store).port:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        uncounted = {f"socket:[{row[9]}]" for row in rows if row[2].endswith(port)}
        opened = 0
        for descriptor in Path(f"/proc/{worker}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                opened += str(descriptor.readlink()) not in uncounted
        return opened
