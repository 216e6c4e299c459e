"""The memory of processes, from /proc/PID/smaps_rollup (proc_pid_smaps(5))."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"^(Pss|Private_Clean|Private_Dirty): +(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a process: those of pages that no other process has (unique set size), and with its share of pages
    that several processes have (proportional set size).
    """

    unique: int
    proportional: int


def parse_rollup(text: str) -> Memory:
    """The memory in the text of a smaps_rollup."""
    sizes = {name: int(size) * 1024 for name, size in _LINE.findall(text)}
    return Memory(sizes["Private_Clean"] + sizes["Private_Dirty"], sizes["Pss"])


def read_memory(pid: int) -> Memory:
    """The memory of a process. Raises OSError when it has ended."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    if not text:
        raise ProcessLookupError(pid)  # it has ended, and its parent has not noticed
    return parse_rollup(text)
