"""Processes that get sockets as systemd passes them (sd_listen_fds(3))."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence

#: Moves the descriptors to the numbers from 3 on, and becomes the command.
_PASS = """
import fcntl, os, sys
count, names = int(sys.argv[1]), sys.argv[2]
given, command = list(map(int, sys.argv[3 : 3 + count])), sys.argv[3 + count :]
copies = [fcntl.fcntl(number, fcntl.F_DUPFD, 100) for number in given]
for number in given:
    os.close(number)
for place, copy in enumerate(copies):
    os.dup2(copy, 3 + place)
    os.close(copy)
os.environ.update(LISTEN_FDS=str(count), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=names)
os.execv(command[0], command)
"""


def activated(command: Sequence[str], sockets: Sequence[socket.socket], names: Sequence[str] = ()) -> list[str]:
    """The command with these sockets, to be started with their descriptors (`pass_fds`)."""
    numbers = [str(one.fileno()) for one in sockets]
    return [sys.executable, "-c", _PASS, str(len(numbers)), ":".join(names), *numbers, *command]
