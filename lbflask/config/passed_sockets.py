"""The sockets that systemd opens and passes to this process (sd_listen_fds(3)), and which of them a `bind` names.

gunicorn's master has them, and the processes that it forks. To all others they are unknown: a configuration that names
them is valid there, too.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest

#: The variable with the process that the sockets are for.
OWNER = "LISTEN_PID"
#: The number of the first one.
FIRST = 3
#: More sockets than any unit has; descriptors beyond are not looked at.
MOST = 1024

#: A name of FileDescriptorName= in a unit; by default it is that of the unit, such as `lbflask.socket`.
_form = re.compile(r"fd://([1-9][0-9]{0,3})|systemd:[!-9;-~]{1,255}").fullmatch


@dataclass(frozen=True, slots=True)
class PassedSocket:
    """A socket by its descriptor. `address` is that of `getsockname`, host and port or a path; None for what accepts
    no streams, and for a socket without a path.
    """

    number: int
    name: str
    address: tuple[str, int] | str | None

    def __str__(self) -> str:
        return f"fd://{self.number}" + (f" (systemd:{self.name})" if self.name else "")


def is_passed(bind: str) -> bool:
    """Whether the address of a listener is that of a socket which systemd passes."""
    return bind.startswith(("fd://", "systemd:"))


def check_form(bind: str) -> None:
    """Raises ValueError, which states what is expected, for one that can name no socket."""
    found = _form(bind)
    if found is None:
        raise ValueError("must be fd://3 or the number of a later socket, or systemd: and the name of one")
    if found[1] and int(found[1]) < FIRST:
        raise ValueError(f"systemd passes the first socket as fd://{FIRST}")


@cache
def passed_sockets() -> tuple[PassedSocket, ...]:
    """Those of this process, as they are at the first call. Forked processes have the same."""
    return tuple(_read(os.environ))


def address_of(bind: str) -> tuple[str, int] | str | None:
    """The address of the socket that `bind` names; None if it is unknown here."""
    found = named_by(bind, passed_sockets())
    return found[0].address if len(found) == 1 else None


def named_by(bind: str, passed: tuple[PassedSocket, ...]) -> list[PassedSocket]:
    """The sockets with this number or name."""
    return [one for one in passed if bind in (f"fd://{one.number}", f"systemd:{one.name}")]


def objection(bind: str, passed: tuple[PassedSocket, ...]) -> str:
    """Why `bind` names none of the sockets that a listener can have; empty if it names one."""
    found = named_by(bind, passed)
    if not passed:
        return "systemd has passed no socket to this process: start it by a socket unit, or write host:port"
    if not found:
        return f"systemd has passed no such socket; there are {', '.join(map(str, passed))}"
    if len(found) > 1:
        numbers = ", ".join(f"fd://{one.number}" for one in found)
        return f"{len(found)} sockets have this name: write one of {numbers}, or FileDescriptorName= into their units"
    if found[0].address is None:
        return "is no socket that accepts streams at an address: write ListenStream= and Accept=no into its unit"
    return ""


def _read(environ: Mapping[str, str]) -> Iterator[PassedSocket]:
    """The master that SIGUSR2 starts has the sockets of the old one, whose number the environment still has."""
    owner, count = environ.get(OWNER), environ.get("LISTEN_FDS", "")
    ours = owner and owner in (str(os.getpid()), environ.get("GUNICORN_PID"))
    if not (ours and count.isascii() and count.isdigit()):
        return
    numbers = range(FIRST, FIRST + (min(int(count), MOST) if len(count) < 9 else MOST))
    names = environ.get("LISTEN_FDNAMES", "").split(":")[: len(numbers)]
    for number, name in zip_longest(numbers, names, fillvalue=""):
        yield PassedSocket(int(number), name, _address(int(number)))


def _address(number: int) -> tuple[str, int] | str | None:
    try:
        passed = socket.fromfd(number, -1, -1)
    except OSError:
        return None
    with passed:
        if passed.type != socket.SOCK_STREAM or not passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return None
        name = passed.getsockname()
    if isinstance(name, tuple):
        return str(name[0]), int(name[1])
    return name if isinstance(name, str) and name else None
