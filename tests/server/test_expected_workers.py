"""The number of workers, as a process that was forked before its change reads it."""

from __future__ import annotations

import os

from lbflask.server.expected_workers import ExpectedWorkers


def test_a_process_that_was_forked_before_reads_the_new_number() -> None:
    expected = ExpectedWorkers()
    assert expected.number == 0, "unknown"
    expected.set_number(70_000)
    (begin, go), (end, done) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(begin, 1)
        os.write(done, repr(expected).encode())
        os._exit(0)
    expected.set_number(2)
    os.write(go, b"x")
    assert os.read(end, 100) == b"<ExpectedWorkers 2>"
    os.waitpid(pid, 0)
    for fd in (begin, go, end, done):
        os.close(fd)
