"""The limit of file descriptors: raised to what the process needs, or the lower limit that follows from it."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

#: Descriptors that are not counted one by one: listeners, connections to the store, logs, name lookups.
OTHER_FILES = 64
DESCRIPTORS = Path("/proc/self/fd")


def room_for(wanted: int, each: int = 1) -> int:
    """How many of the `wanted` objects may be open at once, at least one, where each needs `each` descriptors.

    Raises the soft limit of the process as far as needed, and as its hard limit allows.
    """
    needed = wanted * each + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, (soft - OTHER_FILES) // each))


def limit() -> int:
    """The present soft limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def used_and_limit() -> tuple[int, int] | None:
    """The descriptors that this process has open, and their limit; None where there is no limit, or no /proc."""
    try:
        return None if limit() == sys.maxsize else (used(), limit())
    except OSError:
        return None


def used() -> int:
    """The descriptors that this process has open. Raises OSError where the system has no /proc."""
    counted = DESCRIPTORS.stat().st_size  # by the kernel, since Linux 6.2
    return counted or len(os.listdir(DESCRIPTORS)) - 1  # noqa: PTH208 - a Path of each would cost as much as all else
