"""A name server for tests, authoritative for all names, over UDP and TCP on a port of 127.0.0.1.

    with NameServer() as server:
        server.set("web.test", "A", "127.0.0.1", "127.0.0.2", ttl=1)
        server.set("_http._tcp.web.test", "SRV", "10 5 8001 web.test.")
        server.fail("web.test", "AAAA")           # SERVFAIL
        assert server.asked("web.test", "A") == 2

A name that nothing was set for does not exist; a type that was not set of a name that was has no records.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from devtools.servers import free_port
from devtools.wait import PATIENCE

#: (name with its dot at the end, type)
Question = tuple[str, str]

SOA = ("test.", 5, "IN", "SOA", "ns.test. admin.test. 1 60 60 60 5")


def question(name: str, kind: str) -> Question:
    return name.rstrip(".").lower() + ".", kind


class NameServer:
    """Answers until the end of the block."""

    def __init__(self) -> None:
        self.port = free_port()
        self.truncates = False  # whether an answer by UDP says that there is more by TCP
        self.silent = False  # whether it hears and says nothing
        self.additional: list[dns.rrset.RRset] = []  # what is told beside each answer
        self.questions: list[tuple[Question, str]] = []  # each with how it came, `udp` or `tcp`
        self._answers: dict[Question, list[dns.rrset.RRset]] = {}
        self._failures: dict[Question, int] = {}
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._tcp = socket.socket()
        self._threads = [threading.Thread(target=serve, daemon=True) for serve in (self._serve_udp, self._serve_tcp)]

    @property
    def address(self) -> str:
        """As in the setting `nameservers`."""
        return f"127.0.0.1:{self.port}"

    def set(self, name: str, kind: str, *records: str, ttl: int = 1, at: str | None = None) -> None:
        """What it answers; without records that the name has none of the type. `at` is an alias's target (CNAME)."""
        owner, _ = asked = question(name, kind)
        self._failures.pop(asked, None)
        chain = [dns.rrset.from_text(owner, ttl, "IN", "CNAME", question(at, kind)[0])] if at else []
        last = question(at, kind)[0] if at else owner
        self._answers[asked] = chain + ([dns.rrset.from_text(last, ttl, "IN", kind, *records)] if records else [])

    def tell_beside(self, name: str, kind: str, *records: str, ttl: int = 1) -> None:
        """What stands in the additional section of each answer."""
        self.additional.append(dns.rrset.from_text(question(name, kind)[0], ttl, "IN", kind, *records))

    def fail(self, name: str, *kinds: str, rcode: int = dns.rcode.SERVFAIL) -> None:
        """Answer with a failure until it is set again."""
        for kind in kinds:
            self._failures[question(name, kind)] = rcode

    def remove(self, name: str) -> None:
        """The name no longer exists."""
        gone = question(name, "")[0]
        self._answers = {asked: answer for asked, answer in self._answers.items() if asked[0] != gone}

    def asked(self, name: str, kind: str, by: str | None = None) -> int:
        """How often it was asked this."""
        return sum(one == question(name, kind) and (by is None or by == how) for one, how in list(self.questions))

    def __enter__(self) -> Self:
        for sock in (self._udp, self._tcp):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", self.port))
        self._tcp.listen()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._udp, self._tcp):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        with suppress(OSError):
            while True:
                wire, peer = self._udp.recvfrom(4096)
                if not wire:
                    return
                answer = self._answer(wire, "udp")
                if answer:
                    self._udp.sendto(answer, peer)

    def _serve_tcp(self) -> None:
        while True:
            try:
                peer, _ = self._tcp.accept()
            except OSError:
                return
            with peer, suppress(OSError):
                peer.settimeout(PATIENCE)
                size = int.from_bytes(peer.recv(2, socket.MSG_WAITALL))
                answer = self._answer(peer.recv(size, socket.MSG_WAITALL), "tcp")
                if answer:
                    peer.sendall(len(answer).to_bytes(2) + answer)

    def _answer(self, wire: bytes, how: str) -> bytes | None:
        query = dns.message.from_wire(wire)
        (one,) = query.question
        asked = question(one.name.to_text(), dns.rdatatype.to_text(one.rdtype))
        self.questions.append((asked, how))
        if self.silent:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        if asked in self._failures:
            response.set_rcode(self._failures[asked])
        elif how == "udp" and self.truncates:
            response.flags |= dns.flags.TC
        else:
            self._fill(response, asked)
        return response.to_wire()

    def _fill(self, response: dns.message.Message, asked: Question) -> None:
        response.answer = list(self._answers.get(asked, []))
        if response.answer:
            response.additional = list(self.additional)
            return
        response.authority = [dns.rrset.from_text(*SOA)]
        if not any(name == asked[0] for name, _ in self._answers):
            response.set_rcode(dns.rcode.NXDOMAIN)
