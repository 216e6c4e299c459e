"""A backend for very large bodies: bytes leave by sendfile(2) and are thrown away as they come, a thread a connection.

`GET /length/N` and `GET /chunked/N` send N bytes; a PUT of either framing is answered with the bytes that arrived. Its
functions serve the client's side as well.

    python -m benchmarks.backends.bulk PORT
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from dataclasses import dataclass

from devtools.environment import HOST
from devtools.wire import HEAD_END, ChunkCounter, Head

CHUNK = 65_536
READ = 1 << 20
#: Linux throws so received bytes away without copying them (tcp(7)).
_DISCARD = socket.MSG_TRUNC


@dataclass(frozen=True, slots=True)
class Source:
    """A file in memory that is sent again and again: `payload` of its `size` bytes are body."""

    file: int
    size: int
    payload: int

    @classmethod
    def of(cls, piece: bytes, payload: int, times: int) -> Source:
        """So many pieces in a row."""
        file = os.memfd_create("bulk")
        os.write(file, piece * times)
        return cls(file, len(piece) * times, payload * times)

    def send(self, sock: socket.socket, count: int) -> None:
        """As many bytes of body, in the order of the file. `count` must be a multiple of a piece's payload."""
        left = count * self.size // self.payload
        at = 0
        while left:
            sent = os.sendfile(sock.fileno(), self.file, at, min(left, self.size - at))
            left -= sent
            at = (at + sent) % self.size


PLAIN = Source.of(bytes(CHUNK), CHUNK, 16)
CHUNKED = Source.of(b"%x\r\n%b\r\n" % (CHUNK, bytes(CHUNK)), CHUNK, 16)


def send_body(sock: socket.socket, count: int, *, chunked: bool) -> None:
    """A body of so many bytes, a multiple of 64 KiB."""
    (CHUNKED if chunked else PLAIN).send(sock, count)
    if chunked:
        sock.sendall(b"0\r\n\r\n")


def framing(count: int, *, chunked: bool) -> bytes:
    """The field that announces the body."""
    return b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: %d\r\n" % count


def read_head(sock: socket.socket) -> tuple[Head, bytes] | None:
    """A head, and what came with it of the body; None at the end of the connection."""
    data = b""
    while HEAD_END not in data:
        more = sock.recv(65_536)
        if not more:
            return None
        data += more
    head, _, rest = data.partition(HEAD_END)
    return Head.parse(head), rest


def discard_body(sock: socket.socket, head: Head, begun: bytes, buffer: memoryview) -> int:
    """Read the body to its end and forget it; how many bytes there were. Raises ConnectionError if it is cut."""
    if head.chunked:
        counter = ChunkCounter()
        counter.feed(memoryview(begun))
        while not counter.complete:
            got = sock.recv_into(buffer)
            if not got:
                raise ConnectionError("the body was cut")
            counter.feed(buffer[:got])
        return counter.count
    left = head.length - len(begun)
    while left:
        got = sock.recv_into(buffer, min(left, len(buffer)), _DISCARD)
        if not got:
            raise ConnectionError("the body was cut")
        left -= got
    return head.length


def _serve(sock: socket.socket) -> None:
    buffer = memoryview(bytearray(READ))
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while (read := read_head(sock)) is not None:
                _answer(sock, *read, buffer)
        except OSError:
            return


def _answer(sock: socket.socket, head: Head, begun: bytes, buffer: memoryview) -> None:
    method, target, _ = head.line
    if method == "GET":
        _, kind, count = target.split("/")
        chunked = kind == "chunked"
        sock.sendall(b"HTTP/1.1 200 OK\r\n" + framing(int(count), chunked=chunked) + b"\r\n")
        send_body(sock, int(count), chunked=chunked)
        return
    count = b"%d" % discard_body(sock, head, begun, buffer)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(count), count))


def main() -> None:
    with socket.create_server((HOST, int(sys.argv[1])), backlog=128) as listener:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=_serve, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    main()
