from __future__ import annotations

import codecs
import fcntl
import os
import re
import select
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, overload

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.telemetry.access_log import MAX_PENDING, AccessLog, line
from lbflask.telemetry.events import AttemptEvent, RequestEvent
from tests.support.wait import eventually

SERVED = AttemptEvent("web-1", 0.0123)
REFUSED = AttemptEvent("web-2", 0.001, Fault(Blame.BACKEND, Stage.CONNECT, 502, "refused"))
NOON = 1_700_000_000.25


def event(**changes: Any) -> RequestEvent:
    settings: dict[str, Any] = {
        "client": "203.0.113.9",
        "method": "GET",
        "target": "/a?b",
        "protocol": "HTTP/1.1",
        "pool": "default",
        "status": 200,
        "sent": 1234,
        "seconds": 0.0156,
        "attempts": [SERVED],
        "request_id": "abc-1",
    }
    return RequestEvent(**{**settings, **changes})


# A line


def test_a_line_says_first_what_everybody_looks_for() -> None:
    assert line(event(), NOON) == (
        '2023-11-14T22:13:20.250Z 203.0.113.9 "GET /a?b HTTP/1.1" 200 1234 '
        "backend=web-1 upstream=12.3ms total=15.6ms attempts=1 id=abc-1\n"
    )


def test_the_failed_attempts_before_the_one_that_served_are_told() -> None:
    told = line(event(attempts=[REFUSED, SERVED]), NOON)
    assert " backend=web-1 upstream=12.3ms " in told
    assert told.endswith(" attempts=2 id=abc-1 tried=web-2:connect,web-1:ok\n")


def test_a_request_that_no_backend_served_names_none_as_its_server() -> None:
    told = line(event(status=502, attempts=[REFUSED]), NOON)
    assert " 502 " in told
    assert " backend=- upstream=- " in told
    assert told.endswith(" attempts=1 id=abc-1 tried=web-2:connect\n")


def test_a_request_that_was_refused_at_once_has_no_attempts() -> None:
    assert " backend=- upstream=- total=15.6ms attempts=0 " in line(event(status=400, attempts=[]), NOON)


def test_a_failure_that_is_no_fault_is_told_as_one() -> None:
    assert line(event(attempts=[AttemptEvent("web-1", 0.1, OSError("?"))]), NOON).endswith(" tried=web-1:fault\n")


def test_a_response_that_broke_off_says_why() -> None:
    assert line(event(cut='the "client"\nhung up'), NOON).endswith(r' cut="the \x22client\x22\x0ahung up"' + "\n")


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ('/a"b', r"/a\x22b"),
        (r"/a\b", r"/a\x5cb"),
        ("/a\nb\r\t\x00\x1b", r"/a\x0ab\x0d\x09\x00\x1b"),
        ("/\x7f\x80\xe9\xff", r"/\x7f\x80\xe9\xff"),
        ("/%22 ok", "/%22 ok"),
    ],
)
def test_quotes_controls_and_foreign_bytes_of_a_target_are_escaped(target: str, told: str) -> None:
    assert f'"GET {told} HTTP/1.1"' in line(event(target=target), NOON)


@given(st.text(st.characters(max_codepoint=0xFF)), st.text(st.characters(max_codepoint=0xFF), min_size=1))
def test_no_target_and_no_reason_can_break_a_line_or_forge_one(target: str, cut: str) -> None:
    told = line(event(target=target, cut=cut), NOON)
    assert told.isascii()
    assert told[:-1].isprintable()
    found = re.fullmatch(r'\S+ \S+ "GET ([^"]*) HTTP/1\.1" 200 1234 [^"]* id=abc-1 cut="([^"]*)"\n', told)
    assert found
    # Nothing is lost: the escapes give back what came.
    assert [codecs.decode(part, "unicode_escape") for part in found.groups()] == [target, cut]


@given(st.floats(0, 4e9))
def test_the_moment_is_that_of_the_event_to_the_millisecond(now: float) -> None:
    moment = line(event(), now).split()[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)
    late = now - datetime.fromisoformat(moment).timestamp()
    assert -1e-6 < late < 0.001 + 1e-6


# Into a file


@contextmanager
def opened(path: Path | str) -> Iterator[AccessLog]:
    """A log whose lines are written when the test says so."""
    log = AccessLog(str(path))
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


def test_a_log_that_was_started_writes_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    log.start()
    log(event(target="/soon"))
    eventually(lambda: targets(path) == ["/soon"], "the line is written")
    log.stop()


def test_a_stop_writes_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    log.start()
    log(event(target="/last"))
    log.stop()
    assert targets(path) == ["/last"]


def test_a_log_that_was_never_opened_can_be_stopped(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "access.log"))
    log(event())
    log.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_opened_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AccessLog(str(tmp_path / "missing" / "access.log")).start()


def test_an_older_log_is_added_to_and_a_new_one_is_not_for_everybody_to_read(tmp_path: Path) -> None:
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

    def __init__(self, log: AccessLog) -> None:
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
            self._reader.join(10)
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


def test_a_log_whose_reader_has_gone_harms_nobody(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    pipe = Pipe(path)
    with opened(path) as log:
        pipe.close()
        log(event(target="/lost"))
        log.flush()
        path.unlink()
        log.reopen()
        log(event(target="/kept"))
    assert targets(path) == ["/kept"]
