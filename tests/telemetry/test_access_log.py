"""The access log in files, in pipes and on standard output, with readers of all kinds."""

from __future__ import annotations

import fcntl
import os
import re
import resource
import select
import socket
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import overload

import pytest

from devtools.wait import PATIENCE, eventually
from lbflask.core.log_filters import LogFilter
from lbflask.core.reserves import WINDOW, LossCause, LostLines
from lbflask.telemetry import access_log, nonblocking_writer
from lbflask.telemetry.access_log import AccessLog
from lbflask.telemetry.event_queue import MAX_PENDING, EventQueue
from lbflask.telemetry.events import AttemptEvent, RequestEvent
from tests.telemetry.events import SERVED, event


class Log:
    """A journal whose only reader is an access log."""

    def __init__(self, path: Path | str) -> None:
        self._log = AccessLog(str(path))
        self._queue = EventQueue([self._log])
        self.flush = self._queue.flush

    def __call__(self, one: RequestEvent) -> None:
        self._queue(one)

    @property
    def lost(self) -> int:
        return self._log.lost

    def recent_loss(self, now: float) -> LostLines | None:
        return self._log.recent_loss(now)

    def reopen(self) -> None:
        self._log.open()

    def start(self) -> None:
        self.reopen()
        self._queue.start()

    def stop(self) -> None:
        self._queue.stop()
        self._log.stop()


# Into a file


@contextmanager
def opened(path: Path | str) -> Iterator[Log]:
    """A log whose lines are written when the test says so."""
    log = Log(path)
    log.reopen()
    yield log
    log.stop()


def targets(path: Path) -> list[str]:
    return [one.split('"')[1].split()[1] for one in path.read_text("ascii").splitlines()]


def test_lines_are_written_at_a_flush_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with opened(path) as log:
        for number in range(3):
            log(event(target=f"/{number}"))
        assert path.read_bytes() == b""
        log.flush()
        assert targets(path) == ["/0", "/1", "/2"]
        log.flush()
        assert targets(path) == ["/0", "/1", "/2"]


def test_only_requests_that_the_filter_takes_have_lines(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), log_filter=LogFilter(frozenset({503}), 0.5, except_paths=("/live",)))
    log.open()
    statuses = [(200, 0.1), (503, 0.1), (200, 0.6)]
    for _ in range(2):
        log.consume([(event(target=f"/{status}", status=status, seconds=took), 0.0) for status, took in statuses])
        log.consume([(event(target="/live", status=503), 0.0)])
    assert targets(path) == ["/503", "/200"] * 2
    assert log.lost == 0
    log.dropped(3)
    log.consume([(event(), 0.0)])
    assert log.lost == 3
    assert path.read_text("ascii").splitlines()[-1].startswith("# 3 lines were dropped")
    log.stop()


def test_a_log_that_was_started_writes_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = Log(path)
    log.start()
    log(event(target="/soon"))
    eventually(lambda: targets(path) == ["/soon"], "the line is written")
    log.stop()


def test_a_stop_writes_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = Log(path)
    log.start()
    log(event(target="/last"))
    log.stop()
    assert targets(path) == ["/last"]


def test_a_log_that_was_never_opened_can_be_stopped(tmp_path: Path) -> None:
    log = Log(tmp_path / "access.log")
    log(event())
    log.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_opened_is_an_error_of_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Log(tmp_path / "missing" / "access.log").start()


def test_an_older_log_is_appended_to_and_a_new_one_is_private(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    for target in ("/first", "/second"):
        with opened(path) as log:
            log(event(target=target))
    assert targets(path) == ["/first", "/second"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0


def test_after_a_rotation_lines_go_to_the_new_file(tmp_path: Path) -> None:
    path, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    with opened(path) as log:
        log(event(target="/before"))
        log.flush()
        path.rename(rotated)
        log(event(target="/between"))
        log.flush()
        log.reopen()
        log(event(target="/after"))
    assert (targets(rotated), targets(path)) == (["/before", "/between"], ["/after"])


def test_a_rotation_that_fails_leaves_the_old_file_in_use(tmp_path: Path) -> None:
    path, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    with opened(path) as log:
        path.rename(rotated)
        path.mkdir()
        with pytest.raises(IsADirectoryError):
            log.reopen()
        log(event(target="/after"))
    assert targets(rotated) == ["/after"]


def test_many_rotations_hold_one_file_open(tmp_path: Path) -> None:
    with opened(tmp_path / "access.log") as log:
        before = len(list(Path("/dev/fd").iterdir()))
        for _ in range(20):
            log.reopen()
        assert len(list(Path("/dev/fd").iterdir())) == before


class EndedMeanwhile(Sequence[AttemptEvent]):
    """Attempts of an event whose line is being made just when another request ends."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._told = False

    def __len__(self) -> int:
        if not self._told:
            self._told = True
            self._log(event(target="/third"))
        return 1

    @overload
    def __getitem__(self, index: int) -> AttemptEvent: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[AttemptEvent]: ...
    def __getitem__(self, index: int | slice) -> AttemptEvent | Sequence[AttemptEvent]:
        return [SERVED][index]


def test_a_line_that_is_made_during_a_flush_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with opened(path) as log:
        log(event(target="/first"))
        log(event(target="/second", attempts=EndedMeanwhile(log)))
    assert targets(path) == ["/first", "/second", "/third"]


def test_lines_beyond_what_memory_may_hold_are_dropped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with opened(path) as log:
        told = event()
        for _ in range(MAX_PENDING + 3):
            log(told)
        log.flush()
        log(event(target="/after"))
    *kept, count, last = path.read_text("ascii").splitlines()
    assert len(kept) == MAX_PENDING
    assert count.startswith("# 3 lines were dropped")
    assert '"GET /after HTTP/1.1"' in last


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_lines_that_a_full_disk_does_not_take_are_counted_once_and_logged_at_both_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(access_log, "LOSS_OVER_AFTER", 0.0)
    path = tmp_path / "access.log"
    path.symlink_to("/dev/full")
    with opened(path) as log:
        for number in range(52):
            log(event(target=f"/{number}"))
            log.flush()
        path.unlink()
        log.reopen()
        log(event(target="/after"))
        for _ in range(3):
            log.flush()
        messages = [record.message for record in caplog.records]
        assert log.lost == 52
        assert log.recent_loss(0.0) == LostLines(52, str(path), "No space left on device", LossCause.NO_ROOM)
        assert log.recent_loss(WINDOW + 1.0) is None
    begin, end = messages
    assert begin.endswith("lines are lost: No space left on device")
    assert end.endswith("52 lines were lost")
    count, after = path.read_text("ascii").splitlines()
    assert count.startswith("# 52 lines were dropped")
    assert "/after" in after


def test_a_line_that_another_process_cut_breaks_no_line(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with opened(path) as log:
        log(event(target="/0"))
        log.flush()
        with path.open("ab") as other:
            other.write(b"half of a l")
        log(event(target="/1"))
        log.flush()
    whole, cut, after = path.read_text("ascii").splitlines()
    assert "/0" in whole
    assert cut == "half of a l"
    assert "/1" in after


def test_the_rest_of_a_line_that_a_full_disk_cut_is_lost_at_once(tmp_path: Path) -> None:
    """Else another process would write into the middle of that line once there is room again."""
    path = tmp_path / "access.log"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(path) as log:
        log(event(target="/0"))
        log.flush()
        log(event(target="/1"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, limits[1]))
        try:
            log.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert log.lost == 1
        log(event(target="/2"))
        log.flush()
    _, cut, count, after = path.read_text("ascii").splitlines()
    assert len(cut) == 5
    assert count.startswith("# 1 lines were dropped")
    assert "/2" in after


def test_a_loss_that_lasts_until_the_end_is_logged_with_its_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "pipe"
    pipe = Pipe(path)
    with opened(path) as log:
        pipe.close()
        for _ in range(3):
            log(event())
            log.flush()
    assert [record.message.rpartition(": ")[2] for record in caplog.records] == ["Broken pipe", "3 lines were lost"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_the_end_of_a_loss_that_a_stop_finds_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(access_log, "LOSS_OVER_AFTER", float("inf"))
    path = tmp_path / "access.log"
    path.symlink_to("/dev/full")
    log = AccessLog(str(path))
    log.open()
    log.consume([(event(), 0.0)])
    path.unlink()
    log.open()
    log.consume([(event(), 0.0)])
    monkeypatch.setattr(access_log, "LOSS_OVER_AFTER", 0.0)
    log.stop()
    assert [record.message.rpartition(": ")[2] for record in caplog.records] == [
        "No space left on device",
        "1 lines were lost",
    ]


# Into standard output and pipes


def test_a_dash_is_standard_output_and_stays_open(capfd: pytest.CaptureFixture[str]) -> None:
    with opened("-") as log:
        log(event(target="/out"))
        log.reopen()
    assert '"GET /out HTTP/1.1"' in capfd.readouterr().out
    assert os.fstat(1)


class Pipe:
    """A pipe with a reader that notes the pieces in which the kernel hands over what was written."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(self._end, True)
        if sys.platform == "linux":
            # Room for one write of PIPE_BUF bytes: a larger one is handed over in part.
            fcntl.fcntl(self._end, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
        self.pieces: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)

    def read(self) -> None:
        """Begin; to be called when the log has opened its end."""
        self._reader.start()

    def _read(self) -> None:
        while piece := os.read(self._end, 1 << 20):
            self.pieces.append(piece)

    def close(self) -> None:
        """Wait for the log to close its end."""
        if self._reader.ident is not None:
            self._reader.join(PATIENCE)
            assert not self._reader.is_alive()
        os.close(self._end)


def test_a_pipe_gets_whole_lines_in_pieces_that_the_kernel_keeps_together(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    pipe = Pipe(path)
    with opened(path) as log:
        pipe.read()
        for number in range(1000):
            log(event(target=f"/{number}/" + "x" * (number * 7 % 400)))
    pipe.close()
    assert all(piece.endswith(b"\n") and len(piece) <= select.PIPE_BUF for piece in pipe.pieces)
    assert 10 < len(pipe.pieces) < 1000
    told = b"".join(pipe.pieces).decode("ascii").splitlines()
    assert [one.split('"')[1].split("/")[1] for one in told] == [str(number) for number in range(1000)]


def test_a_line_too_long_for_a_pipe_loses_the_middle_of_its_target(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    pipe = Pipe(path)
    with opened(path) as log:
        pipe.read()
        log(event(target="/before"))
        log(event(target="/begin" + '"' * 8000 + "end", request_id="long-1"))
        log(event(target="/after"))
    pipe.close()
    assert all(piece.endswith(b"\n") and len(piece) <= select.PIPE_BUF for piece in pipe.pieces)
    before, long, after = b"".join(pipe.pieces).decode("ascii").splitlines()
    assert ("/before " in before, "/after " in after) == (True, True)
    assert long.startswith("2")
    assert '"GET /begin' in long
    assert long.endswith("attempts=1 id=long-1")
    assert re.search(r'\.\.\..*end HTTP/1\.1" 200 1234 backend=web-1 ', long)


def test_a_file_gets_a_long_line_whole(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with opened(path) as log:
        log(event(target="/" + '"' * 8000))
    assert path.read_text("ascii").count(r"\x22") == 8000


def test_a_log_without_its_reader_delays_no_request(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    pipe = Pipe(path)
    with opened(path) as log:
        pipe.close()
        log(event(target="/lost"))
        log.flush()
        path.unlink()
        log.reopen()
        log(event(target="/kept"))
    assert "/kept" in path.read_text()
    assert "# 1 lines were dropped" in path.read_text()


def test_a_reader_that_stalls_delays_no_request_and_gets_the_buffered_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nonblocking_writer, "MAX_PENDING_BYTES", 100_000)
    path = tmp_path / "pipe"
    pipe = Pipe(path)
    with opened(path) as log:
        for number in range(2000):
            log(event(target=f"/{number}"))
        log.flush()  # comes back, though nobody reads
        pipe.read()
        eventually(lambda: log.flush() or b"were dropped" in b"".join(pipe.pieces), "all is written")
    pipe.close()
    *told, count = b"".join(pipe.pieces).decode("ascii").splitlines()
    lost = int(count.split()[1])
    assert len(told) + lost == 2000
    assert lost > 0
    assert [one.split('"')[1].split()[1] for one in told] == [f"/{number}" for number in range(len(told))]
    assert len("".join(told)) > 90_000


def test_a_stop_does_not_wait_for_a_reader_that_stalls(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    pipe = Pipe(path)
    with opened(path) as log:
        for number in range(2000):
            log(event(target=f"/{number}"))
    pipe.close()


def test_a_pipe_without_a_reader_is_opened_when_it_has_one(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with opened(path) as log:
        log(event(target="/early"))
        log.flush()
        end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        log.flush()
        assert b"/early" in os.read(end, 4096)
    os.close(end)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere standard output is shared, and only looked at before")
def test_standard_output_stays_blocking_for_all_other_code() -> None:
    reading, writing = os.pipe()
    kept = os.dup(1)
    os.dup2(writing, 1)
    try:
        with opened("-") as log:
            for number in range(2000):
                log(event(target=f"/{number}"))
            log.flush()
            blocking = os.get_blocking(1)
    finally:
        os.dup2(kept, 1)
        for fd in (kept, writing, reading):
            os.close(fd)
    assert blocking


@pytest.mark.parametrize("mine", [True, False])
def test_a_socket_or_a_shared_pipe_that_is_full_is_not_waited_for(mine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if mine:
        ours, theirs = socket.socketpair()
        reading, writing = theirs.detach(), ours.detach()
    else:
        reading, writing = os.pipe()
        opening = os.open
        monkeypatch.setattr(
            os, "open", lambda path, *rest: opening("/missing" if "/proc/self" in path else path, *rest)
        )
    kept = os.dup(1)
    os.dup2(writing, 1)
    try:
        with opened("-") as log:
            for number in range(10_000):
                log(event(target=f"/{number}"))
            log.flush()
            assert os.read(reading, 100).startswith(b"20")
    finally:
        os.dup2(kept, 1)
        for fd in (kept, writing, reading):
            os.close(fd)
