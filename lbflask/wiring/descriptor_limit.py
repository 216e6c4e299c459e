"""Descriptors that the system lets a process have: as many as it needs, or what follows from there being fewer."""

from __future__ import annotations

import resource
import sys

#: Descriptors of a process beside those that are counted: listeners, connections to the store, logs, names being
#: resolved.
OTHER_FILES = 64


def room_for(most: int, each: int = 1) -> int:
    """How many things may be open at once, `most` at most and one at least, where each takes `each` descriptors.

    Raises the soft limit of the process to what that needs, as far as its hard limit allows.
    """
    wanted = most * each + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return most if soft == resource.RLIM_INFINITY else max(1, min(most, (soft - OTHER_FILES) // each))


def limit() -> int:
    """Descriptors that the process may have now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
