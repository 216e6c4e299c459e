"""The sockets that systemd passes, by number and by name."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from lbflask.config.field_types import socket_address
from lbflask.config.passed_sockets import PassedSocket, check_form, named_by, objection
from tests.support.socket_activation import activated

WEB, MAIL, NEWS = (PassedSocket(number, name, ("h", number)) for number, name in ((3, "web"), (4, "x"), (5, "x")))
LOG = PassedSocket(6, "", None)
PASSED = (WEB, MAIL, NEWS, LOG)


@pytest.mark.parametrize("bind", ["fd://3", "fd://1000", "systemd:web", "systemd:lbflask.socket", "systemd:a-b@1"])
def test_sockets_have_numbers_and_names(bind: str) -> None:
    check_form(bind)


@pytest.mark.parametrize(
    "bind", ["fd://", "fd://03", "fd://x", "fd:3", "fd://10000", "systemd:", "systemd:a:b", "systemd:a b"]
)
def test_what_is_neither_is_refused(bind: str) -> None:
    with pytest.raises(ValueError, match=r"must be fd://3 or the number"):
        check_form(bind)


@pytest.mark.parametrize("bind", ["fd://1", "fd://2"])
def test_the_standard_streams_are_no_listeners(bind: str) -> None:
    with pytest.raises(ValueError, match=r"the first socket as fd://3"):
        check_form(bind)


@pytest.mark.parametrize(
    ("bind", "found"),
    [("fd://3", [WEB]), ("systemd:web", [WEB]), ("systemd:x", [MAIL, NEWS]), ("systemd:", []), ("fd://9", [])],
)
def test_a_number_names_one_and_a_name_may_be_that_of_several(bind: str, found: list[PassedSocket]) -> None:
    assert named_by(bind, PASSED[:3]) == found


@pytest.mark.parametrize(
    ("bind", "passed", "expected"),
    [
        ("fd://3", PASSED, ""),
        ("fd://3", (), "systemd has passed no socket to this process"),
        ("systemd:none", (WEB, LOG), "no such socket; there are fd://3 (systemd:web), fd://6"),
        ("systemd:x", PASSED, "2 sockets have this name: write one of fd://4, fd://5"),
        ("fd://6", PASSED, "write ListenStream= and Accept=no"),
    ],
)
def test_a_socket_that_cannot_serve_is_told_with_the_reason(
    bind: str, passed: tuple[PassedSocket, ...], expected: str
) -> None:
    assert expected in objection(bind, passed)
    assert bool(objection(bind, passed)) is bool(expected)


def test_they_are_unknown_to_other_processes() -> None:
    assert socket_address("fd://3") is None


def test_a_process_finds_those_that_are_for_it() -> None:
    program = (
        "from lbflask.config.passed_sockets import passed_sockets; print(*passed_sockets(), sep=chr(10)); "
        "print(*(one.address for one in passed_sockets()))"
    )
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket() as silent,
    ):
        sockets = [tcp, datagrams, silent]
        command = activated([sys.executable, "-c", program], sockets, ["web", "log"])
        numbers = [one.fileno() for one in sockets]
        done = subprocess.run(command, pass_fds=numbers, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == [
            "fd://3 (systemd:web)",
            "fd://4 (systemd:log)",
            "fd://5",
            f"{tcp.getsockname()} None None",
        ]
