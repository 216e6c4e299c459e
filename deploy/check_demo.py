"""`make run` answers three requests, each from another backend; for deploy/test-images."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from urllib.request import urlopen

#: Seconds until the demo answers, and until it has ended.
PATIENCE = 60.0


def ask() -> str:
    """The answer of the balancer; empty while it does not listen."""
    try:
        with urlopen("http://localhost:8080", timeout=5) as response:
            return str(response.read().decode())
    except OSError:
        return ""


demo = subprocess.Popen(["make", "--silent", "run"], start_new_session=True)
try:
    deadline = time.monotonic() + PATIENCE
    while not ask() and demo.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    answers = [ask() for _ in range(3)]
    print("".join(answers), end="")
    os.killpg(demo.pid, signal.SIGINT)
    demo.wait(PATIENCE)
finally:
    if demo.poll() is None:
        os.killpg(demo.pid, signal.SIGKILL)
if not (all(answers) and len(set(answers)) == 3):
    sys.exit(f"not three answers of three backends: {answers}")
print("ok: three requests were answered by three backends")
