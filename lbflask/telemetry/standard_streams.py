"""Standard input, output and error of a process that was started without one of them (`2>&-`)."""

from __future__ import annotations

import os
import sys


def open_standard_streams() -> None:
    """Make sure that descriptors 0 to 2 are open; to be called before the process opens others.

    Otherwise a socket or file would get the free number, and with it everything that is printed. A closed descriptor is
    opened on /dev/null. Messages for a closed standard error go to standard output if that is open.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one. Children inherit it.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - open as long as the process
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = sys.stdout


def was_closed(number: int) -> bool:
    """Whether the process was started without standard output (1) or standard error (2)."""
    return (sys.__stdout__, sys.__stderr__)[number - 1] is None
