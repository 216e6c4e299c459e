"""The limit of file descriptors: raised to what the process needs, or the lower limit that follows from it."""

from __future__ import annotations

import resource
import sys

#: Descriptors that are not counted one by one: listeners, connections to the store, logs, name lookups.
OTHER_FILES = 64


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
