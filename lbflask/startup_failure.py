"""Ends a start that cannot succeed: one line with the reason, and an exit code that stops process managers."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

#: gunicorn's APP_LOAD_ERROR: a worker that exits with it ends its master.
EXIT_CODE = 4
#: Seconds until workers that were forked together are loading, and until their master has stopped them.
_SIBLINGS_START = 0.5
_STOP_TIMEOUT = 10.0


def refuse(reason: object) -> NoReturn:
    """Exit with the reason as one line on standard error, or on standard output if that is closed."""
    sys.stderr.write(f"lbflask: {reason}\n")
    sys.stderr.flush()
    sys.exit(EXIT_CODE)


def refuse_as_one(reason: object) -> NoReturn:
    """As `refuse`, in the workers of a master without lbflask's hooks: only the first worker prints and exits with the
    code, while its siblings wait to be stopped.

    gunicorn's master ends with an unhandled exception if a second worker exits with the code while it stops.
    """
    parent = os.getppid()
    try:
        siblings = Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()
    except OSError:
        siblings = []
    if siblings and siblings[0] != str(os.getpid()):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(_STOP_TIMEOUT)
        sys.exit(0)
    time.sleep(_SIBLINGS_START)
    refuse(reason)
