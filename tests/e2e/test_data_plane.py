"""Long exchanges and their bounds, as clients and operators meet them: tunnels, streams, uploads, early ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from devtools.cluster import Cluster
from devtools.raw_client import ConnectionCut, RawClient, RawResponse
from devtools.scripted_backend import OK, Peer, ScriptedBackend
from devtools.servers import Gunicorn
from devtools.wait import PATIENCE, eventually, in_time
from tests.support.programmed import Programme, ProgrammedBackend, Received, next_of, unchunked

pytestmark = pytest.mark.e2e

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x-echo\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x-echo\r\n\r\n"
POST_CHUNKS = b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"


class DataPlaneCluster(Cluster):
    """An instance with its access log, before two servers of one programmed backend."""

    def __init__(
        self, backend: ProgrammedBackend, servers: tuple[ScriptedBackend, ...], log: Path, **settings: Any
    ) -> None:
        super().__init__(backends=[server.url for server in servers], access_log=log, **settings)
        self.backend, self.servers, self.log = backend, servers, log

    def connect(self) -> RawClient:
        return RawClient(self.balancer.port)

    def logged(self, target: str, status: str = "") -> str:
        """The line of the access log on the only request for this target (with this status), once it is there."""

        def lines() -> list[str]:
            lines = self.log.read_text().splitlines()
            return [line for line in lines if f" {target} " in line and f'" {status}' in line]

        (line,) = eventually(lines, f"{target} is logged")
        return line

    def serves(self) -> None:
        """Each backend gets requests, and all of them are answered."""

        def ask(client: RawClient) -> list[int]:
            self.backend.programme = Programme()
            return [client.ask(GET).status for _ in range(4)]

        with self.connect() as client:  # half a second for each may be too little on a busy machine
            assert in_time(lambda: ask(client), late=lambda statuses: 504 in statuses) == [200] * 4
        assert len(self.backend.requests) == 4


@contextmanager
def started(directory: Path, store: str, name: str, **settings: Any) -> Iterator[DataPlaneCluster]:
    backend, log = ProgrammedBackend(), directory / f"{name}.log"
    with (
        ScriptedBackend(backend.play) as one,
        ScriptedBackend(backend.play) as two,
        DataPlaneCluster(
            backend, (one, two), log, redis_url=store, namespace=f"data-plane-{name}", timeouts__graceful=1, **settings
        ) as cluster,
    ):
        yield cluster
        assert cluster.balancer.stop() == 0


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data-plane")


@pytest.fixture(scope="module")
def _one(directory: Path, store: str) -> Iterator[DataPlaneCluster]:
    with started(directory, store, "one", workers=1, limits__tunnels=1) as running:
        yield running


@pytest.fixture(scope="module")
def _hasty(directory: Path, store: str) -> Iterator[DataPlaneCluster]:
    with started(directory, store, "hasty", workers=1, timeouts__request=0.5, timeouts__tunnel_idle=3) as running:
        yield running


@pytest.fixture(scope="module")
def _two(directory: Path, store: str) -> Iterator[DataPlaneCluster]:
    with started(directory, store, "two", workers=2, limits__tunnels=0) as running:
        with ExitStack() as stack:

            def both_listen() -> bool:
                stack.enter_context(running.connect())
                return all(held(running.balancer))

            eventually(both_listen, "each worker has taken a connection")
        yield running


def held(balancer: Gunicorn) -> list[int]:
    """How many connections of clients each worker holds."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {line[9] for line in lines if line[1].endswith(f":{balancer.port:04X}") and line[3] == "01"}
    counts = []
    for worker in balancer.workers():
        links = []
        for descriptor in Path(f"/proc/{worker}/fd").iterdir():
            try:
                links.append(str(descriptor.readlink()))
            except OSError:
                continue  # closed meanwhile
        counts.append(sum(link.removeprefix("socket:[").rstrip("]") in inodes for link in links))
    return counts


def as_new(running: DataPlaneCluster) -> Iterator[DataPlaneCluster]:
    running.backend.programme = programme = Programme()
    yield running
    assert programme.failures == []


@pytest.fixture
def one(_one: DataPlaneCluster) -> Iterator[DataPlaneCluster]:
    """One worker, that holds one tunnel at most."""
    yield from as_new(_one)


@pytest.fixture
def hasty(_hasty: DataPlaneCluster) -> Iterator[DataPlaneCluster]:
    """One with half a second for a request as a whole, and three of silence in a tunnel."""
    yield from as_new(_hasty)


@pytest.fixture
def two(_two: DataPlaneCluster) -> Iterator[DataPlaneCluster]:
    """Two workers, that forward no upgrade."""
    yield from as_new(_two)


def echoes(peer: Peer, _: Received) -> None:
    """An answer: switch, and send back each line."""
    peer.send(SWITCHED)
    while line := peer.read_until(b"\n"):
        peer.send(line)
    peer.close()


def to(target: str, request: bytes = GET) -> bytes:
    """The request, for another target."""
    method, _, rest = request.split(b" ", 2)
    return b" ".join([method, target.encode(), rest])


def begun(client: RawClient, request: bytes) -> RawResponse:
    """The head of the answer. With half a second for a request as a whole, it may come too late on a busy machine: ask
    again then.
    """

    def head() -> RawResponse:
        client.send(request)
        head = client.head()
        if head.status == 504:
            client.read(int(head.values(b"content-length")[0]))
        return head

    return in_time(head, late=lambda head: head.status == 504)


@contextmanager
def tunnel(running: DataPlaneCluster, target: str) -> Iterator[RawClient]:
    """A client whose connection became a tunnel to a backend that echoes."""
    running.backend.answer = echoes
    with running.connect() as client:
        assert begun(client, to(target, UPGRADE)).status == 101
        yield client


def said_and_heard(client: RawClient, word: bytes) -> bool:
    client.send(word)
    return client.read_until(b"\n") == word


# Tunnels


def test_a_tunnel_beyond_the_limit_is_refused_until_there_is_room(one: DataPlaneCluster) -> None:
    with tunnel(one, "/first") as first:
        with one.connect() as second:
            answer = second.ask(to("/second", UPGRADE))
            assert (answer.status, len(answer.values(b"retry-after"))) == (503, 1)
            assert len(one.backend.requests) == 1
            one.serves()  # what is no tunnel has room
        assert said_and_heard(first, b"hello\n")
        assert one.balancer.health()[1]["worker"]["tunnels"] == 1
    assert "1 tunnels are open" in one.logged("/second")
    one.logged("/first")
    with tunnel(one, "/third") as third:
        assert said_and_heard(third, b"hello\n")
    one.logged("/third")


def test_a_tunnel_is_logged_when_it_ends_with_what_went_to_the_client(one: DataPlaneCluster) -> None:
    with tunnel(one, "/counted") as client:
        client.send(b"x" * 99_999 + b"\n")
        client.read_until(b"\n")
        client.finish()
        assert client.rest() == b""
    line = one.logged("/counted")
    assert '"GET /counted HTTP/1.1" 101 100000 backend=127.0.0.1:' in line
    assert "cut=" not in line


def test_without_room_for_tunnels_no_upgrade_is_forwarded(two: DataPlaneCluster) -> None:
    """RFC 9110 §7.8: a server may ignore the field; the request is an ordinary one."""
    with two.connect() as client:
        assert client.ask(UPGRADE).body == b"ok"
    assert b"upgrade" not in two.backend.request.names
    assert b"Upgrade" not in b"".join(two.backend.request.values(b"connection"))


def test_a_tunnel_is_no_request_that_takes_too_long(hasty: DataPlaneCluster) -> None:
    with tunnel(hasty, "/lasts") as client:
        until = time.monotonic() + 0.8
        while time.monotonic() < until:
            assert said_and_heard(client, b"hello\n")


def test_a_silent_tunnel_is_closed_and_the_log_says_why(hasty: DataPlaneCluster) -> None:
    with tunnel(hasty, "/silent") as client, pytest.raises(ConnectionCut):
        client.read(1)
    assert hasty.logged("/silent", "101").endswith('cut="nothing was said for 3 s"')


# The time for a request as a whole


def test_a_response_that_trickles_for_ever_is_cut(hasty: DataPlaneCluster) -> None:
    over = threading.Event()

    def trickles(peer: Peer, _: Received) -> None:
        peer.send(CHUNKS)
        while not over.wait(0.02):
            peer.send(b"1\r\nx\r\n")

    hasty.backend.answer = trickles
    try:
        with hasty.connect() as client:
            assert begun(client, to("/trickles")).status == 200
            with pytest.raises(ConnectionCut) as cut:
                client.rest()
        assert cut.value.reset
        assert b"\r\n0\r\n" not in cut.value.got
        line = hasty.logged("/trickles", "200")
        # Seen between two pieces, or while waiting for one.
        assert "time for the whole request" in line
    finally:
        over.set()
    hasty.serves()


def test_a_response_that_nobody_takes_is_cut(hasty: DataPlaneCluster) -> None:
    """Sooner than a client's silence alone would end it."""
    ended = Queue[bytes]()

    def sends_for_ever(peer: Peer, _: Received) -> None:
        peer.send(CHUNKS)
        try:
            while True:
                peer.send(PIECE)
        finally:
            ended.put(b"")

    hasty.backend.answer = sends_for_ever
    with hasty.connect() as client:
        assert begun(client, to("/untaken")).status == 200
        next_of(ended)
        line = hasty.logged("/untaken", "200")
        assert "time for the whole request" in line
        with pytest.raises(ConnectionCut) as cut:
            client.rest()
    assert cut.value.reset


def test_a_client_that_sends_a_byte_now_and_then_runs_out_of_time(hasty: DataPlaneCluster) -> None:
    """Each of them comes soon enough; all of them would not. The fault is not the backend's."""
    hasty.backend.takes_all()
    with hasty.connect() as client:
        client.send(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        client.trickle(b"x")
        answer = client.answer()
        assert (answer.status, answer.values(b"connection")) == (408, [b"close"])
    assert "the request took too long to arrive" in hasty.logged("/slow")
    assert len(hasty.backend.requests) == 1
    hasty.serves()


def test_a_backend_that_says_nothing_runs_out_of_time(hasty: DataPlaneCluster) -> None:
    """However long it would get for its first byte; nobody else is asked, for the time is over."""
    hasty.backend.takes_all()
    with hasty.connect() as client:
        answer = client.ask(to("/nothing"))
        assert (answer.status, answer.values(b"retry-after")) == (504, [])
    assert " attempts=1 " in hasty.logged("/nothing")
    eventually(lambda: len(hasty.backend.requests) == 1, "the request has come")


# Many clients


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "all at once"])
def test_connections_are_shared_evenly_by_the_workers(together: bool, two: DataPlaneCluster) -> None:
    """Who keeps a connection stays with its worker: a worker with too many would stay behind for good. On a busy
    machine a worker may stand still for so long that others take its share, but not each time.
    """
    count = 32

    def least() -> int:
        eventually(lambda: sum(held(two.balancer)) == 0, "those of others are closed")
        with ExitStack() as stack:
            clients = [stack.enter_context(two.connect()) for _ in range(count)] if together else []
            for number in range(count):
                client = clients[number] if together else stack.enter_context(two.connect())
                assert client.ask(GET).body == b"ok"
            counts = eventually(lambda: sum(now := held(two.balancer)) == count and now, "all are held")
        return min(counts)

    assert any(least() >= count / 3 for _ in range(5))


def test_a_worker_with_requests_in_flight_gets_fewer_connections(two: DataPlaneCluster) -> None:
    """By the number of connections alone, half of them would go to the one with all the work."""
    released = threading.Event()

    def waits(peer: Peer, request: Received) -> None:
        if request.target == b"/waits":
            released.wait(PATIENCE)
        peer.send(OK)

    two.backend.answer = waits
    with ExitStack() as stack:
        stack.callback(released.set)
        held_before = [0, 0]

        def the_second_has_more() -> bool:
            """After one more client, whose next request waits for long if the first worker has got it."""
            client = stack.enter_context(two.connect())
            assert client.ask(GET).body == b"ok"
            first, second = held(two.balancer)
            if first > held_before[0]:
                client.send(to("/waits"))
            held_before[:] = first, second
            return second >= first + 8

        eventually(lambda: sum(held(two.balancer)) == 0, "those of other tests are closed")
        eventually(the_second_has_more, "the worker without requests has got most of the connections")


def test_a_long_body_does_not_keep_others_waiting(one: DataPlaneCluster) -> None:
    """It ends only when they have been served, by the same worker."""
    served = threading.Event()

    def answer(peer: Peer, request: Received) -> None:
        if request.target != b"/long":
            peer.send(OK)
            return
        peer.send(CHUNKS)
        while not served.is_set():
            peer.send(PIECE)
        peer.send(b"0\r\n\r\n")

    one.backend.answer = answer
    with one.connect() as long, one.connect() as short:
        long.send(to("/long"))
        long.head()
        ended = Queue[bytes]()
        reader = threading.Thread(target=lambda: ended.put(_until_the_end(long)), daemon=True)
        reader.start()
        try:
            for _ in range(20):
                assert short.ask(GET).body == b"ok"
            assert ended.empty()
        finally:
            served.set()
        assert next_of(ended) == b"0\r\n\r\n"


def _until_the_end(client: RawClient) -> bytes:
    while (line := client.read_until(b"\r\n")) != b"0\r\n":
        client.read(int(line, 16) + 2)
    return line + client.read(2)


def test_an_echo_runs_both_ways_at_once(one: DataPlaneCluster) -> None:
    """More than all buffers on the way hold: nobody waits for the other side to have said all."""

    def echo(peer: Peer, _: Received) -> None:
        peer.send(CHUNKS)
        while (line := peer.read_until(b"\r\n")) != b"0\r\n":
            peer.send(line + peer.read(int(line, 16) + 2))
        peer.send(line + peer.read_until(b"\r\n"))

    one.backend.answer = echo
    body = b"".join(b"%06d," % number for number in range(1 << 20))
    size = 50_000
    said = [body[at : at + size] for at in range(0, len(body), size)]
    with one.connect() as client:

        def send() -> None:
            client.send(POST_CHUNKS)
            for piece in said:
                client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            client.send(b"0\r\n\r\n")

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        answer = client.answer()
        sender.join(PATIENCE)
    assert (answer.status, answer.body == body) == (200, True)


# Clients that go


@pytest.mark.parametrize(
    ("target", "request_"),
    [("/waits", GET), ("/uploads", POST_CHUNKS + b"5\r\nhello\r\n0\r\n\r\n")],
    ids=["without a body", "with one"],
)
@pytest.mark.parametrize("goes", [RawClient.finish, lambda client: client.sock.close()], ids=["half", "all"])
def test_a_client_that_goes_ends_the_backends_work_and_nobody_is_blamed(
    target: str, request_: bytes, goes: Callable[[RawClient], None], one: DataPlaneCluster
) -> None:
    target += "-half" if goes is RawClient.finish else "-all"
    came, ended = Queue[bytes](), Queue[bytes]()

    def answer(peer: Peer, request: Received) -> None:
        came.put(peer.read_body(request.head))
        try:
            ended.put(peer.read_to_end())
        except OSError:
            ended.put(b"")
            raise

    one.backend.answer = answer
    with one.connect() as client:
        client.send(to(target, request_))
        next_of(came)
        goes(client)
        assert next_of(ended) == b""
        line = one.logged(target)
    assert f'{target} HTTP/1.1" 499 ' in line
    assert " attempts=1 " in line
    assert line.endswith('cut="the client hung up"')
    assert len(one.backend.requests) == 1
    assert one.balancer.healths() == dict.fromkeys(one.balancer.healths(), "unknown")
    one.serves()


def test_an_upload_that_breaks_off_is_the_clients_fault(one: DataPlaneCluster) -> None:
    taken = one.backend.takes_all()
    with one.connect() as client:
        client.send(to("/broken", POST_CHUNKS) + b"5\r\nbreak\r\n5\r\nwo")
        eventually(lambda: b"break" in b"".join(server.received for server in one.servers), "the first piece arrives")
    with pytest.raises(ValueError, match="invalid literal"):
        unchunked(next_of(taken))
    line = one.logged("/broken")
    assert '/broken HTTP/1.1" 400 ' in line
    assert " attempts=1 " in line
    one.serves()
