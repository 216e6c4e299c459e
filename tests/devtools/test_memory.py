from __future__ import annotations

import os

import pytest

from devtools.memory import Memory, parse_rollup, read_memory

ROLLUP = """\
55d0-7ffd ---p 00000000 00:00 0 [rollup]
Rss:                9000 kB
Pss:                1234 kB
Pss_Anon:              1 kB
Shared_Clean:        500 kB
Private_Clean:       100 kB
Private_Dirty:       900 kB
Private_Hugetlb:       7 kB
"""


def test_unique_and_proportional_memory_are_read_in_bytes() -> None:
    assert parse_rollup(ROLLUP) == Memory(1000 * 1024, 1234 * 1024)


def test_the_memory_of_a_process_grows_with_what_it_holds() -> None:
    before = read_memory(os.getpid())
    held = bytearray(b"x") * (32 << 20)
    after = read_memory(os.getpid())
    assert after.unique - before.unique > 24 << 20
    assert after.proportional - before.proportional > 24 << 20
    assert len(held) == 32 << 20


def test_a_process_that_has_ended_has_none() -> None:
    child = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    with pytest.raises(OSError, match=r"."):
        read_memory(child)
    os.waitpid(child, 0)
