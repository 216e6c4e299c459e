"""The access log: one line a request. Lines are gathered and written in batches, so no request waits for the log."""

from __future__ import annotations

import os
import stat
import threading
import time
from pathlib import Path

from lbflask.telemetry.events import AttemptEvent, RequestEvent

#: How long a line may wait for company, in seconds.
FLUSH_EVERY = 0.2
#: Lines are dropped, and counted, beyond this: a log that can't be written must not eat the memory.
MAX_PENDING = 100_000

_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x22, 0x5C, *range(0x7F, 0x100))}


def line(event: RequestEvent, now: float) -> str:
    """The event, told at `now` (seconds since the epoch): what everybody looks for first, then `key=value`."""
    attempts = event.attempts
    last = attempts[-1] if attempts else None
    served = last is not None and last.fault is None
    backend = last.backend if last is not None and served else "-"
    upstream = f"{last.seconds * 1000:.1f}ms" if last is not None and served else "-"
    tail = f" tried={','.join(_tried(attempt) for attempt in attempts)}" if len(attempts) > 1 or not served else ""
    if event.cut:
        tail += f' cut="{event.cut.translate(_ESCAPES)}"'
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    return (
        f"{moment}.{int(now % 1 * 1000):03d}Z {event.client} "
        f'"{event.method} {event.target.translate(_ESCAPES)} {event.protocol}" {event.status} {event.sent} '
        f"backend={backend} upstream={upstream} total={event.seconds * 1000:.1f}ms attempts={len(attempts)} "
        f"id={event.request_id}{tail}\n"
    )


def _tried(attempt: AttemptEvent) -> str:
    if attempt.fault is None:
        return f"{attempt.backend}:ok"
    return f"{attempt.backend}:{getattr(attempt.fault, 'stage', 'fault')}"


class AccessLog:
    """Writes request events to a file, or to standard output when `path` is `-`.

    Each write is whole lines; into a pipe, at most PIPE_BUF bytes of them, which the kernel keeps together
    (pipe(7)), so lines of several workers never mix. `reopen` follows a rotated file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._pending: list[str] = []
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
            self._pending.append(line(event, time.time()))
        else:
            self._dropped += 1

    def reopen(self) -> None:
        """Open the file anew, as after a rotation."""
        old = self._fd
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = 1 if self._path == "-" else os.open(Path(self._path), flags, 0o640)
        if old > 1:
            os.close(old)

    def flush(self) -> None:
        """Write what is pending."""
        with self._lock:
            lines, self._pending = self._pending, []
            dropped, self._dropped = self._dropped, 0
            if dropped:
                lines.append(f"# {dropped} lines were dropped: the log could not be written fast enough\n")
            for batch in _batches(lines, self._batch_size()):
                _write_all(self._fd, batch)

    def stop(self) -> None:
        """Write what is left and close the file."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
            self._thread = None
        self.flush()
        if self._fd > 1:
            os.close(self._fd)
        self._fd = -1

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_EVERY):
            if self._pending or self._dropped:
                self.flush()

    def _batch_size(self) -> int:
        return 4096 if stat.S_ISFIFO(os.fstat(self._fd).st_mode) else 1 << 16


def _batches(lines: list[str], size: int) -> list[bytes]:
    batches: list[bytes] = []
    batch = b""
    for text in lines:
        encoded = text.encode("latin-1", "backslashreplace")
        if batch and len(batch) + len(encoded) > size:
            batches.append(batch)
            batch = b""
        batch += encoded
    return [*batches, batch] if batch else batches


def _write_all(fd: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError:
        # The reader of the log is gone or the disk is full: nothing better can be done with an access log.
        return
