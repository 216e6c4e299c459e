"""Probes by HTTP against scripted backends: what is asked, what is made of the answer; and nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from devtools.certificates import Authority, in_days
from devtools.scripted_backend import OK, Peer, ScriptedBackend, answering, answering_and_closing
from devtools.servers import free_port
from devtools.wait import PATIENCE, in_time
from lbflask.core.bounded_expression import BoundedExpression
from lbflask.core.checks import BODY_LIMIT, HealthCheck, StatusSet
from lbflask.core.failure_causes import FailureCause
from lbflask.core.health import Observation
from lbflask.core.model import Backend
from lbflask.upstream.health_probe import MAX_HEAD, Prober
from lbflask.upstream.tls import TLSSettings

#: Few seconds, for what has to run out.
SOON = 0.2

HTTP = HealthCheck("http", timeout=PATIENCE)
REASONED = replace(HTTP, expect_body=BoundedExpression("ready|fine"))


def backend(port: int, scheme: str = "http", host: str = "127.0.0.1") -> Backend:
    return Backend("b", host, port, f"{scheme}://{host}:{port}", 1, scheme)


def observe(target: Backend, check: HealthCheck = HTTP, tls: TLSSettings | None = None) -> Observation:
    """One probe; whatever it leaves behind, or tells the event loop of, fails the test."""
    broken: list[dict[str, Any]] = []

    async def scene() -> Observation:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
        seen = await Prober(tls)(target, check)
        deadline = time.monotonic() + PATIENCE
        address = target.path or (target.host, check.port or target.port)
        while connections_to(address) or len(asyncio.all_tasks()) > 1:
            assert time.monotonic() < deadline, "the probe has left something behind"
            await asyncio.sleep(0.005)
        return seen

    seen = asyncio.run(scene())
    assert not broken
    return seen


def connections_to(address: object) -> list[str]:
    """The descriptors of this process that are connections to the address."""
    return [path.name for path in Path("/proc/self/fd").iterdir() if _peer(int(path.name)) == address]


def _peer(descriptor: int) -> object:
    try:
        copy = os.dup(descriptor)
    except OSError:
        return None
    try:
        with socket.socket(fileno=copy) as sock:
            copy = -1
            return sock.getpeername()
    except OSError:
        return None
    finally:
        if copy >= 0:
            os.close(copy)


def answered(response: bytes, check: HealthCheck = HTTP) -> Observation:
    """What is seen of a backend that gives this answer."""
    with ScriptedBackend(answering(response)) as house:
        return observe(backend(house.port), check)


def response(status: int = 200, body: bytes = b"ok", *fields: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *fields, "", ""])
    return head.encode() + body


def unconnected(seen: Observation) -> bool:
    """Whether there was no connection in time."""
    return seen.reason.startswith("no connection")


def silent(seen: Observation) -> bool:
    """Whether the head of an answer did not come in time."""
    return unconnected(seen) or seen.reason.startswith("no answer")


class TestRequest:
    def test_it_is_plain_and_for_this_connection_alone(self) -> None:
        with ScriptedBackend(answering(OK)) as house:
            assert observe(backend(house.port)) == Observation(True, "status 200")
            assert (
                house.received
                == (
                    f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{house.port}\r\nUser-Agent: lbflask-check\r\nAccept: */*\r\n"
                    "Connection: close\r\n\r\n"
                ).encode()
            )
            assert house.connection(0).ended.wait(PATIENCE)

    def test_it_is_as_the_check_says(self) -> None:
        check = replace(
            HTTP,
            method="POST",
            path="/ready?deep=1",
            host="shop.example",
            headers=(("X-Probe", "yes"), ("user-agent", "ours"), ("X-Probe", "größer")),
        )
        with ScriptedBackend(answering(OK)) as house:
            assert observe(backend(house.port), check).ok
            assert (
                house.received
                == (
                    "POST /ready?deep=1 HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\nContent-Length: 0\r\n"
                    "X-Probe: yes\r\nuser-agent: ours\r\nX-Probe: größer\r\nConnection: close\r\n\r\n"
                ).encode()
            )

    def test_another_port_is_asked_and_named(self) -> None:
        with ScriptedBackend(answering(OK)) as house:
            assert observe(backend(free_port()), replace(HTTP, port=house.port)).ok
            assert f"\r\nHost: 127.0.0.1:{house.port}\r\n".encode() in house.received

    def test_another_port_is_connected_to(self) -> None:
        with ScriptedBackend(answering(OK)) as house:
            assert observe(backend(free_port()), HealthCheck(port=house.port, timeout=PATIENCE)).ok

    def test_a_unix_socket_is_asked_too(self, tmp_path: Path) -> None:
        path = tmp_path / "a.sock"
        with ScriptedBackend(answering(response(503)), path=path) as house:
            target = Backend("a", "localhost", 0, house.url, 1, "unix", str(path))
            assert observe(target) == Observation(False, "status 503, expected 200-399", FailureCause.STATUS)
            assert b"\r\nHost: localhost\r\n" in house.received

    def test_redirects_are_not_followed(self) -> None:
        with ScriptedBackend(answering(response(302, b"", "Location: /elsewhere"))) as house:
            assert observe(backend(house.port)) == Observation(True, "status 302")
            assert len(house.connections) == 1


class TestStatus:
    @pytest.mark.parametrize(
        ("status", "expected", "ok"),
        [
            (200, "200-399", True),
            (399, "200-399", True),
            (400, "200-399", False),
            (503, "200-399", False),
            (204, "200,204", True),
            (201, "200,204", False),
            (418, "200-299,418", True),
            (304, "300-304", True),
        ],
    )
    def test_it_has_to_be_one_of_those_expected(self, status: int, expected: str, ok: bool) -> None:
        raw = f"HTTP/1.1 {status} X\r\n\r\n".encode() if status in (204, 304) else response(status)
        seen = answered(raw, replace(HTTP, expect_status=StatusSet.parse(expected)))
        assert (
            seen == Observation(ok, f"status {status}")
            if ok
            else Observation(False, f"status {status}, expected {expected}", FailureCause.STATUS)
        )

    def test_interim_answers_are_passed_over(self) -> None:
        interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        assert answered(interim + response(503)).reason == "status 503, expected 200-399"

    @pytest.mark.parametrize("status", [100, 102, 103, 104])
    @pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked", "both"])
    def test_interim_answers_frame_no_body(self, status: int, framing: str) -> None:
        fields = "Content-Length: 5\r\nTransfer-Encoding: chunked" if framing == "both" else framing
        interim = f"HTTP/1.1 {status} A\r\n{fields}\r\n\r\n".encode()
        assert answered(interim + response(503)).reason == "status 503, expected 200-399"

    def test_switching_protocols_is_an_answer_though_a_strange_one(self) -> None:
        raw = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nnoise"
        assert answered(raw) == Observation(False, "status 101, expected 200-399", FailureCause.STATUS)

    def test_the_answer_to_head_ends_with_its_head(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
        assert answered(head, replace(HTTP, method="HEAD")) == Observation(True, "status 200")

    def test_http_1_0_will_do(self) -> None:
        with ScriptedBackend(answering_and_closing(b"HTTP/1.0 200 OK\r\n\r\nfine")) as house:
            assert observe(backend(house.port), REASONED).ok


class TestBody:
    @pytest.mark.parametrize(
        "raw",
        [
            response(200, b"all is fine"),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n",
            response(200, b"\xff\xfe ready"),
        ],
    )
    def test_a_match_is_up(self, raw: bytes) -> None:
        assert answered(raw, REASONED) == Observation(True, "status 200, body as expected")

    def test_no_match_is_down(self) -> None:
        seen = answered(response(200, b"starting"), REASONED)
        assert seen == Observation(False, "status 200, but its body has no match for 'ready|fine'", FailureCause.BODY)

    def test_a_wrong_status_is_told_rather_than_the_body(self) -> None:
        assert answered(response(500, b"ready"), REASONED).reason == "status 500, expected 200-399"

    @pytest.mark.parametrize(("before", "ok"), [(BODY_LIMIT - 5, True), (BODY_LIMIT - 4, False), (BODY_LIMIT, False)])
    def test_the_first_256_kib_are_searched_and_no_more(self, before: int, ok: bool) -> None:
        seen = answered(response(200, b"x" * before + b"ready" + b"x" * BODY_LIMIT), REASONED)
        assert seen.ok is ok
        if not ok:
            assert "the first 256 KiB of its body has no match" in seen.reason

    @pytest.mark.parametrize("check", [HTTP, REASONED])
    def test_an_endless_body_is_read_no_further(self, check: HealthCheck) -> None:
        def endless(peer: Peer) -> None:
            peer.read_head()
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                peer.send(b"x" * 10_000)

        with ScriptedBackend(endless) as house:
            assert observe(backend(house.port), check).ok is (check is HTTP)

    @pytest.mark.parametrize("frame", [b"1;" + b"x" * 10_000 + b"\r\ny\r\n", b"0\r\n" + b"X-A: b\r\n" * 1000])
    def test_nor_is_what_frames_it(self, frame: bytes) -> None:
        def endless(peer: Peer) -> None:
            peer.read_head()
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + frame)
            while True:
                peer.send(frame.removeprefix(b"0\r\n"))

        with ScriptedBackend(endless) as house:
            assert observe(backend(house.port), REASONED).reason == (
                "status 200, but its body has no match for 'ready|fine'"
            )

    def test_a_body_that_lasts_until_the_close_is_whole_then(self) -> None:
        with ScriptedBackend(answering_and_closing(b"HTTP/1.1 200 OK\r\n\r\nready")) as house:
            assert observe(backend(house.port), REASONED).ok

    def test_one_that_breaks_off_is_not(self) -> None:
        with ScriptedBackend(answering_and_closing(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nready")) as house:
            seen = observe(backend(house.port), REASONED)
        assert seen == Observation(False, "status 200, but its body broke off", FailureCause.BODY)

    def test_a_body_that_does_not_come_is_down_when_it_was_expected(self) -> None:
        raw = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nready"
        seen = in_time(lambda: answered(raw, replace(REASONED, timeout=SOON)), silent)
        assert seen == Observation(False, "status 200, but its body was not whole within 0.2 s", FailureCause.BODY)

    @pytest.mark.parametrize(("status", "reason"), [(200, "status 200"), (503, "status 503, expected 200-399")])
    def test_without_an_expectation_the_head_decides(self, status: int, reason: str) -> None:
        raw = f"HTTP/1.1 {status} X\r\nContent-Length: 10\r\n\r\n".encode()
        assert in_time(lambda: answered(raw, replace(HTTP, timeout=SOON)), silent).reason == reason

    def test_a_small_body_is_read_before_the_connection_ends(self) -> None:
        """Else the backend would see a reset, and log that."""

        def in_two(peer: Peer) -> None:
            peer.read_head()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            peer.send(b"ok")
            try:
                peer.read_to_end()
            except ConnectionError as error:
                raise AssertionError("not an orderly end") from error

        with ScriptedBackend(in_two) as house:
            assert observe(backend(house.port)).ok
            assert house.connection(0).ended.wait(PATIENCE)


class TestFailure:
    def test_nobody_listens(self) -> None:
        assert observe(backend(free_port())) == Observation(False, "connection refused", FailureCause.REFUSED)

    @pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nX-A: "])
    def test_a_slow_head_is_no_answer(self, begun: bytes) -> None:
        def slow(peer: Peer) -> None:
            peer.read_head()
            peer.send(begun)
            peer.read_to_end()

        with ScriptedBackend(slow) as house:
            seen = in_time(lambda: observe(backend(house.port), replace(HTTP, timeout=SOON)), unconnected)
            assert house.connection(0).ended.wait(PATIENCE), "the probe let go of the connection"
        assert seen == Observation(False, "no answer within 0.2 s", FailureCause.NO_ANSWER)

    def test_a_head_that_comes_in_drops_gets_no_more_time(self) -> None:
        def drop_by_drop(peer: Peer) -> None:
            peer.read_head()
            peer.send(b"HTTP/1.1 200 OK\r\nX-A: ")
            while not peer.ended.wait(0.01):  # until the other side has gone
                peer.send(b"x")

        with ScriptedBackend(drop_by_drop) as house:
            seen = in_time(lambda: observe(backend(house.port), replace(HTTP, timeout=SOON)), unconnected)
        assert seen == Observation(False, "no answer within 0.2 s", FailureCause.NO_ANSWER)

    def test_an_endless_head_is_cut(self) -> None:
        def endless(peer: Peer) -> None:
            peer.read_head()
            peer.send(b"HTTP/1.1 200 OK\r\n")
            for number in range(MAX_HEAD):
                peer.send(b"X-%d: x\r\n" % number)

        with ScriptedBackend(endless) as house:
            seen = observe(backend(house.port))
        assert seen == Observation(False, "the head of its answer is longer than 64 KiB", FailureCause.PROTOCOL)

    def test_a_close_without_an_answer(self) -> None:
        with ScriptedBackend(lambda peer: peer.read_head() and None) as house:
            seen = observe(backend(house.port))
        assert seen == Observation(False, "it closed the connection without an answer", FailureCause.CLOSED)

    def test_a_reset(self) -> None:
        def reset(peer: Peer) -> None:
            peer.read_head()
            peer.reset()

        with ScriptedBackend(reset) as house:
            assert observe(backend(house.port)) == Observation(False, "connection reset by peer", FailureCause.CLOSED)

    @pytest.mark.parametrize("raw", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/9.9.9 200 OK\r\n\r\n"])
    def test_what_is_not_http(self, raw: bytes) -> None:
        seen = answered(raw)
        assert not seen.ok
        assert seen.reason.startswith("its answer is not HTTP: ")
        assert seen.cause is FailureCause.PROTOCOL

    def test_one_that_speaks_first(self) -> None:
        def greet(peer: Peer) -> None:
            peer.send(b"220 mail.example ESMTP\r\n")
            peer.read_to_end()

        with ScriptedBackend(greet) as house:
            assert observe(backend(house.port)).reason.startswith("its answer is not HTTP: ")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def trusting(authority: Authority) -> TLSSettings:
    return TLSSettings(ca_file=authority.ca_file)


@pytest.fixture
def house(authority: Authority) -> Iterator[ScriptedBackend]:
    with ScriptedBackend(answering(response(200, b"ready")), tls=authority.server("127.0.0.1")) as running:
        yield running


class TestTLS:
    def test_http_of_an_https_backend_goes_over_tls(self, house: ScriptedBackend, trusting: TLSSettings) -> None:
        assert observe(backend(house.port, "https"), REASONED, trusting).reason == "status 200, body as expected"

    def test_https_goes_over_tls_whatever_the_backend_serves(
        self, house: ScriptedBackend, trusting: TLSSettings
    ) -> None:
        check = replace(HTTP, kind="https", port=house.port)
        assert observe(backend(free_port()), check, trusting) == Observation(True, "status 200")

    def test_the_expiry_of_its_certificate_is_observed(self, authority: Authority, trusting: TLSSettings) -> None:
        until = in_days(40).replace(microsecond=0)
        with ScriptedBackend(answering(response(200)), tls=authority.server("127.0.0.1", not_after=until)) as other:
            its_own, of_check = backend(other.port, "https"), replace(HTTP, kind="https", port=other.port)
            assert observe(its_own, HTTP, trusting).expires == until.timestamp()
            assert observe(backend(free_port(), "https"), of_check, trusting).expires == 0.0, "of another port"
            assert observe(its_own, HealthCheck(timeout=PATIENCE), trusting).expires == 0.0, "without a handshake"

    def test_tcp_of_an_https_backend_only_connects(self, house: ScriptedBackend) -> None:
        assert observe(backend(house.port, "https"), HealthCheck(timeout=PATIENCE)) == Observation(True, "connected")

    def test_a_certificate_of_a_stranger_is_down(self, house: ScriptedBackend) -> None:
        seen = observe(backend(house.port, "https"))
        assert seen.reason.startswith("its certificate is not accepted: ")
        assert "self-signed certificate" in seen.reason or "issuer" in seen.reason
        assert seen.cause is FailureCause.CERTIFICATE_AUTHORITY

    def test_an_expired_one_is_down(self, authority: Authority, trusting: TLSSettings) -> None:
        with ScriptedBackend(
            answering(OK), tls=authority.server("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC))
        ) as other:
            seen = observe(backend(other.port, "https"), HTTP, trusting)
        assert (seen.ok, seen.cause) == (False, FailureCause.CERTIFICATE_EXPIRED)
        assert "expired" in seen.reason

    def test_one_for_another_name_is_down(self, authority: Authority, trusting: TLSSettings) -> None:
        with ScriptedBackend(answering(OK), tls=authority.server("other.example")) as other:
            seen = observe(backend(other.port, "https"), HTTP, trusting)
            assert seen.reason.startswith("its certificate is not accepted: ")
            assert seen.cause is FailureCause.CERTIFICATE_NAME
            named = replace(trusting, server_name="other.example")
            assert observe(backend(other.port, "https"), HTTP, named).ok

    def test_without_verification_any_will_do(self, house: ScriptedBackend) -> None:
        assert observe(backend(house.port, "https"), HTTP, TLSSettings(verify=False)).ok

    def test_ours_is_shown(self, authority: Authority, trusting: TLSSettings) -> None:
        def ask(context: ssl.SSLContext) -> None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(authority.ca_file)

        pair = authority.pair("balancer.example")
        with ScriptedBackend(answering(OK), tls=authority.server("127.0.0.1", adjust=ask)) as other:
            rules = replace(trusting, certificate=pair.certificate, key=pair.key)
            assert observe(backend(other.port, "https"), HTTP, rules).ok

    def test_a_backend_that_speaks_no_tls_is_down(self, trusting: TLSSettings) -> None:
        def plain(peer: Peer) -> None:
            peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            peer.read_to_end()

        with ScriptedBackend(plain) as other:
            seen = observe(backend(other.port, "https"), HTTP, trusting)
        assert seen.reason.startswith("the TLS handshake failed: ")
        assert seen.cause is FailureCause.TLS

    def test_a_handshake_that_never_ends_is_down_in_time(self, trusting: TLSSettings) -> None:
        with ScriptedBackend(lambda peer: peer.read_to_end() and None) as other:
            check = replace(HTTP, timeout=SOON)
            seen = in_time(lambda: observe(backend(other.port, "https"), check, trusting), unconnected)
            assert other.connection(0).ended.wait(PATIENCE), "the probe let go of the connection"
        assert seen == Observation(False, "no TLS handshake within 0.2 s", FailureCause.TLS)

    def test_one_that_closes_in_the_handshake_is_down(self, trusting: TLSSettings) -> None:
        with ScriptedBackend(lambda peer: peer.read(10) and None) as other:
            seen = observe(backend(other.port, "https"), HTTP, trusting)
        assert not seen.ok
        assert seen.reason in ("it closed the connection during the TLS handshake", "connection reset by peer")

    def test_files_that_are_gone_are_told(self, house: ScriptedBackend) -> None:
        seen = observe(backend(house.port, "https"), HTTP, TLSSettings(ca_file="/nowhere.pem"))
        assert seen == Observation(
            False, "the files of backend_tls cannot be loaded: no such file or directory", FailureCause.TLS_FILES
        )
        assert not house.connections

    def test_a_name_without_a_form_is_told(self, house: ScriptedBackend, trusting: TLSSettings) -> None:
        seen = observe(backend(house.port, "https"), HTTP, replace(trusting, server_name="a..b"))
        assert seen.reason.startswith("its address cannot be used: ")


def test_a_checker_that_was_frozen_takes_the_answer_that_has_come_meanwhile() -> None:
    """The time is over when it goes on, but the backend had answered in time."""
    answered = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(OK)
        answered.set()
        peer.read_to_end()

    async def scene() -> Observation:
        with ScriptedBackend(script) as house:
            probing = asyncio.create_task(Prober()(backend(house.port), replace(HTTP, timeout=SOON)))
            while not house.received.endswith(b"\r\n\r\n") and not probing.done():
                await asyncio.sleep(0)
            assert probing.done() or answered.wait(PATIENCE)
            thawed = time.monotonic() + 2 * SOON
            while time.monotonic() < thawed:
                pass  # the event loop stands still
            return await probing

    assert in_time(lambda: asyncio.run(scene()), silent).ok
