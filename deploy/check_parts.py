"""What the checks of deploy/test-images share: a request, and a wait for a condition."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from urllib.request import Request, urlopen

#: Seconds for a condition to hold.
PATIENCE = 90.0


def get(port: int, path: str = "/", token: str = "") -> str:
    """The body of a response with status 200. Raises OSError, also for another status."""
    fields = {"Authorization": f"Bearer {token}"} if token else {}
    with urlopen(Request(f"http://127.0.0.1:{port}{path}", headers=fields), timeout=10) as response:
        return str(response.read().decode())


def wait(condition: Callable[[], object], expected: str) -> None:
    """Wait until the condition holds, and report it. What it raises while parts are missing counts as not yet."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if condition():
                print(f"ok: {expected}")
                return
        except (OSError, ValueError, LookupError):
            pass
        time.sleep(0.2)
    sys.exit(f"after {PATIENCE:g} s still not so: {expected}")
