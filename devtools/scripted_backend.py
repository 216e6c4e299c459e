"""A backend that runs a script for each connection: on a real socket, byte for byte, on its own thread.

    with ScriptedBackend(answering(OK)) as backend:
        ...
        assert backend.connections[0].received == b"GET / HTTP/1.1\\r\\n..."

A script is a function of the Peer, one connection. When it returns, the connection is closed. An exception of a script
fails the test at the end of the `with` block, except OSError: the other side has closed the connection.
"""

from __future__ import annotations

import errno
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from devtools.wait import PATIENCE, eventually
from lbflask.core.model import Address

Script = Callable[["Peer"], None]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """The backend's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._unread = b""
        self.received = b""  #: every byte that the script has received
        self.ended = threading.Event()  #: the script has ended
        self._waiting = False
        sock.settimeout(PATIENCE)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def secure(self, context: ssl.SSLContext) -> None:
        """Do the server side of a TLS handshake."""
        self._sock = context.wrap_socket(self._sock, server_side=True, suppress_ragged_eofs=False)

    @property
    def tls(self) -> ssl.SSLSocket:
        """The socket of a connection under TLS."""
        assert isinstance(self._sock, ssl.SSLSocket)
        return self._sock

    def send_close_notify(self) -> None:
        """Send close_notify, without waiting for that of the other side."""
        self.tls.settimeout(0)
        try:
            self.tls.unwrap()
        except OSError:
            pass

    def read_until(self, mark: bytes) -> bytes:
        """Receive up to and including the mark; less only at the end of the stream."""
        while mark not in self._unread and self._more():
            pass
        end = self._unread.find(mark)
        return self._take(len(self._unread) if end < 0 else end + len(mark))

    def read_head(self) -> bytes:
        """The next request head with its empty line; empty when the other side has closed."""
        return self.read_until(b"\r\n\r\n")

    def read(self, count: int) -> bytes:
        """Receive so many bytes; fewer only at the end of the stream."""
        while len(self._unread) < count and self._more():
            pass
        return self._take(count)

    def read_byte(self) -> bytes:
        """Receive the next byte and no more, since TLS may follow it; empty at the end of the stream."""
        if self._unread:
            return self._take(1)
        byte = self._sock.recv(1)
        self.received += byte
        return byte

    def read_body(self, head: bytes) -> bytes:
        """Receive the body that belongs to the head, with the framing of chunks."""
        lowered = head.lower()
        if b"\r\ntransfer-encoding: chunked\r\n" in lowered:
            return self._read_chunks()
        _, named, rest = lowered.partition(b"\r\ncontent-length: ")
        return self.read(int(rest.split(b"\r\n")[0])) if named else b""

    def _read_chunks(self) -> bytes:
        """Chunks up to and with the end of the trailers; less only at the end of the stream (RFC 9112 §7.1)."""
        read = b""
        while True:
            line = self.read_until(b"\r\n")
            read += line
            if not line.endswith(b"\r\n"):
                return read
            size = int(line.split(b";")[0], 16)
            if not size:
                break
            data = self.read(size + 2)
            read += data
            if len(data) < size + 2:
                return read
            assert data.endswith(b"\r\n"), f"a chunk is longer than its size: {data!r}"
        while (line := self.read_until(b"\r\n")) not in (b"\r\n", b""):
            read += line
        return read + line

    def read_request(self) -> bytes:
        """The next request, head and body; empty when the other side has closed."""
        head = self.read_head()
        return head + self.read_body(head)

    def read_some(self) -> bytes:
        """Receive what is available, waiting if necessary; empty at the end of the stream."""
        if not self._unread:
            self._more()
        return self._take(len(self._unread))

    def read_to_end(self) -> bytes:
        """All that comes until the other side closes."""
        while self._more():
            pass
        return self._take(len(self._unread))

    def send(self, data: bytes) -> None:
        """Send all of it at once."""
        self._sock.sendall(data)

    def fill(self) -> None:
        """Send until all buffers are full, the receiver's too."""
        self._sock.setblocking(False)
        while select.select([], [self._sock], [], 0.2)[1]:
            self._sock.send(b"x" * 65_536)
        self._sock.settimeout(PATIENCE)

    def finish(self) -> None:
        """Shut down sending; receiving goes on."""
        self._sock.shutdown(socket.SHUT_WR)

    @staticmethod
    def wait(event: threading.Event) -> None:
        """Pause until the test sets the event."""
        assert event.wait(PATIENCE), "the test never set the event"

    def reset(self) -> None:
        """Close with a reset instead of an orderly end."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close in order."""
        self._sock.close()

    def interrupt(self) -> None:
        """End a read of the script, from another thread."""
        try:
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # not the TLS layer's, which the script may be in
        except OSError:
            pass

    def settled(self) -> bool:
        """Whether the script has ended, or has received all that has arrived and waits for more."""
        if self.ended.is_set():
            return True
        try:
            return not _readable(self._sock) and self._waiting
        except (OSError, ValueError):  # closed meanwhile
            return False

    def _more(self) -> bool:
        self._waiting = True
        self._await_bytes()
        self._waiting = False  # before the bytes leave the socket, so that `settled` cannot miss them
        data = self._sock.recv(65_536)
        self._unread += data
        self.received += data
        return bool(data)

    def _await_bytes(self) -> None:
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            return
        if self._sock.fileno() < 0:
            raise OSError(errno.EBADF, "the script has closed the connection")
        if not select.select([self._sock], [], [], PATIENCE)[0]:
            raise TimeoutError

    def _take(self, count: int) -> bytes:
        taken, self._unread = self._unread[:count], self._unread[count:]
        return taken


class ScriptedBackend:
    """Listens on a port of 127.0.0.1, under TLS with `tls`, or at a `path`. The n-th connection runs the n-th script,
    later ones the last.
    """

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None, path: Path | None = None) -> None:
        self._scripts = scripts
        self._tls = tls
        if path is not None:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen()
            self.port = 0
            self.address = Address("unix", "localhost", 0, str(path))
            self.url = f"unix:{path}"
        else:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.port = self._listener.getsockname()[1]
            self.address = Address("https" if tls else "http", "127.0.0.1", self.port)
            self.url = f"{self.address.scheme}://127.0.0.1:{self.port}"
        self.connections: list[Peer] = []
        self._listening = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._failures: list[Exception] = []

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop()
        if self._failures and kind is None:
            raise self._failures[0]

    @property
    def received(self) -> bytes:
        """The bytes received over all connections, in the order in which these were opened."""
        return b"".join(peer.received for peer in self.connections)

    def connection(self, number: int) -> Peer:
        """The n-th connection, waiting for it if need be."""
        return eventually(lambda: self.connections[number : number + 1], f"connection {number} to the backend")[0]

    def settled(self) -> bool:
        """Whether the scripts have received all that was sent: their records are complete."""
        return not _readable(self._listener) and self._listening and all(peer.settled() for peer in self.connections)

    def stop(self) -> None:
        """Stop listening, and end all scripts."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._threads[0].join(PATIENCE)
        self._listener.close()
        for peer in self.connections:
            peer.interrupt()
        for thread in self._threads[1:]:
            thread.join(PATIENCE)

    def _accept(self) -> None:
        while True:
            self._listening = True
            select.select([self._listener], [], [])
            self._listening = False  # before the connection leaves the queue, so that `settled` cannot miss it
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            script = self._scripts[min(len(self.connections), len(self._scripts) - 1)]
            peer = Peer(sock)
            self.connections.append(peer)
            thread = threading.Thread(target=self._play, args=(script, peer), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _play(self, script: Script, peer: Peer) -> None:
        try:
            if self._tls is not None:
                peer.secure(self._tls)
            script(peer)
        except OSError:
            pass
        except Exception as failure:
            self._failures.append(failure)
        finally:
            peer.close()
            peer.ended.set()


def _readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def answering(*responses: bytes) -> Script:
    """A script: each response to a request in turn, and then nothing until the other side closes."""

    def play(peer: Peer) -> None:
        for response in responses:
            if not peer.read_request():
                return
            peer.send(response)
        peer.read_to_end()

    return play


def answering_always(response: bytes = OK) -> Script:
    """A script: the same response to each request."""

    def play(peer: Peer) -> None:
        while peer.read_request():
            peer.send(response)

    return play


def answering_and_closing(response: bytes) -> Script:
    """A script: the response to one request, and then the end of the connection."""

    def play(peer: Peer) -> None:
        peer.read_request()
        peer.send(response)

    return play
