"""The access log: one line a request. Lines are gathered and written in batches, so no request waits for the log."""

from __future__ import annotations

import os
import re
import select
import stat
import threading
import time
from collections import deque
from functools import lru_cache
from pathlib import Path

from lbflask.telemetry.events import AttemptEvent, RequestEvent

#: How long a line may wait for company, in seconds. Requests stand still while lines are written, so not for long.
FLUSH_EVERY = 0.05
#: Events are dropped, and counted, beyond this: a log that can't be written must not eat the memory.
MAX_PENDING = 50_000
#: Lines made and written in one go, while requests stand still.
PORTION = 128

_NOTHING_TO_ESCAPE = re.compile(r"[ !#-\[\]-~]*").fullmatch
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x22, 0x5C, *range(0x7F, 0x100))}


def line(event: RequestEvent, now: float) -> str:
    """The event, told at `now` (seconds since the epoch): what everybody looks for first, then `key=value`."""
    attempts = event.attempts
    last = attempts[-1] if attempts else None
    served = last is not None and last.fault is None
    backend = last.backend if last is not None and served else "-"
    upstream = f"{last.seconds * 1000:.1f}ms" if last is not None and served else "-"
    tail = "" if not attempts or (served and len(attempts) == 1) else f" tried={','.join(map(_tried, attempts))}"
    if event.cut:
        tail += f' cut="{_escaped(event.cut)}"'
    return (
        f"{_to_the_second(int(now))}.{int(now % 1 * 1000):03d}Z {event.client} "
        f'"{event.method} {_escaped(event.target)} {event.protocol}" {event.status} {event.sent} '
        f"backend={backend} upstream={upstream} total={event.seconds * 1000:.1f}ms attempts={len(attempts)} "
        f"id={event.request_id}{tail}\n"
    )


def _escaped(text: str) -> str:
    return text if _NOTHING_TO_ESCAPE(text) else text.translate(_ESCAPES)


@lru_cache(maxsize=2)
def _to_the_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _tried(attempt: AttemptEvent) -> str:
    if attempt.fault is None:
        return f"{attempt.backend}:ok"
    return f"{attempt.backend}:{getattr(attempt.fault, 'stage', 'fault')}"


class AccessLog:
    """Writes request events to a file, or to standard output when `path` is `-`.

    Each write is whole lines; into a pipe, at most PIPE_BUF bytes of them, which the kernel keeps together
    (pipe(7)), so lines of several workers never mix; a line too long for that loses its middle. `reopen` follows a
    rotated file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._pending: deque[tuple[RequestEvent, float]] = deque()
        self._dropped = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._fd = -1

    def start(self) -> None:
        """Open the log and begin to write it. Raises OSError when it can't be opened."""
        self.reopen()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def __call__(self, event: RequestEvent) -> None:
        """Note the event; never blocks."""
        if len(self._pending) < MAX_PENDING:
            self._pending.append((event, time.time()))
        else:
            self._dropped += 1

    def reopen(self) -> None:
        """Open the file anew, as after a rotation. Raises OSError, and goes on with the old one, when it can't."""
        if self._path == "-":
            self._fd = 1
            return
        new = os.open(Path(self._path), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if self._fd < 0:
            self._fd = new
        else:
            # Changed under its number, so that a flush in another thread never writes to a closed file.
            os.dup2(new, self._fd, inheritable=False)
            os.close(new)

    def flush(self) -> None:
        """Write what is pending now, once the log is open."""
        with self._lock:
            if self._fd < 0:
                return
            left, size = len(self._pending), self._batch_size()
            while left > 0:
                portion = [self._pending.popleft() for _ in range(min(left, PORTION))]
                left -= len(portion)
                for batch in _batches([line(event, now) for event, now in portion], size):
                    _write_all(self._fd, batch)
                time.sleep(0)  # lets requests have their turn, where threads are greenlets
            dropped, self._dropped = self._dropped, 0
            if dropped:
                _write_all(self._fd, b"# %d lines were dropped: the log could not be written fast enough\n" % dropped)

    def stop(self) -> None:
        """Write what is left and close the file."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
            self._thread = None
        while self._pending and self._fd >= 0:
            self.flush()
        if self._fd > 1:
            os.close(self._fd)
        self._fd = -1

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_EVERY):
            if self._pending or self._dropped:
                self.flush()

    def _batch_size(self) -> int:
        return select.PIPE_BUF if stat.S_ISFIFO(os.fstat(self._fd).st_mode) else 1 << 16


def _batches(lines: list[str], size: int) -> list[bytes]:
    batches: list[bytes] = []
    batch: list[bytes] = []
    filled = 0
    for text in lines:
        encoded = text.encode("latin-1", "backslashreplace")
        if len(encoded) > size:  # the middle is the target's: the outcome stands at the end
            encoded = encoded[: size // 2 - 3] + b"..." + encoded[-(size // 2) :]
        if filled + len(encoded) > size and batch:
            batches.append(b"".join(batch))
            batch, filled = [], 0
        batch.append(encoded)
        filled += len(encoded)
    return [*batches, b"".join(batch)] if batch else batches


def _write_all(fd: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError:
        # The reader of the log is gone or the disk is full: nothing better can be done with an access log.
        return
