"""Load on the processors for as long as a run of the tests lasts: what passes beside it does not depend on timings."""

from __future__ import annotations

import subprocess
import sys

SPIN = "while True: pass"


class Busy:
    """So many processes that compute without end, at the priority of everything else, until `stop`."""

    def __init__(self, processes: int) -> None:
        self._processes = [subprocess.Popen([sys.executable, "-SE", "-c", SPIN]) for _ in range(processes)]

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()
