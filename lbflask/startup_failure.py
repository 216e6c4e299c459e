"""How a start ends that cannot succeed: one line that says why, and an exit code that no process manager mistakes."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

#: gunicorn's code for an application that cannot be loaded (APP_LOAD_ERROR): a worker that ends with it ends gunicorn.
EXIT_CODE = 4
#: Seconds in which workers that were forked together have begun to load, and in which their master stops them.
_OTHERS_WITHIN = 0.5
_STOPPED_WITHIN = 10.0


def refuse(reason: object) -> NoReturn:
    """End this process with the reason as one line on standard error, or on standard output where that is closed."""
    sys.stderr.write(f"lbflask: {reason}\n")
    sys.stderr.flush()
    sys.exit(EXIT_CODE)


def refuse_as_one(reason: object) -> NoReturn:
    """The same for workers of a master that we do not know: the first of them says so, and ends when the others wait.

    gunicorn's master ends by an unhandled exception if a second worker ends with the same code while it stops.
    """
    parent = os.getppid()
    try:
        siblings = Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()
    except OSError:
        siblings = []
    if siblings and siblings[0] != str(os.getpid()):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(_STOPPED_WITHIN)
        sys.exit(0)
    time.sleep(_OTHERS_WITHIN)
    refuse(reason)
